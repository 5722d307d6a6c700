"""What every process does beside its work: export to Cloud Monitoring, on good days and bad."""

import grpc  # type: ignore[import-untyped]  # grpcio carries no types

from quotewatch.metrics.recorder import Recorder
from tests.metrics.desk import open_desk
from tests.metrics.exported import Exported, by, exported, one

SECOND_TRY_SECONDS = 0.4  # after it the call that was not answered is made again


def export_all(recorder: Recorder, owner: str) -> Exported:
    """Export five times, a minute apart; return what the recorder says then.

    All is taken; all but four series; nothing, since nobody answers; nothing, since we may not; and
    all, once somebody answers.
    """
    with open_desk() as desk:
        exporter = desk.exporter(recorder, owner)
        desk.export(exporter)
        desk.fake.refuse("metrics_export")
        desk.export(exporter)
        desk.fake.heal()
        desk.fake.fail(grpc.StatusCode.UNAVAILABLE, 3)
        desk.export(exporter)
        desk.fake.deny()
        desk.export(exporter)
        desk.fake.heal()
        desk.fake.fail(grpc.StatusCode.UNAVAILABLE)
        desk.export(exporter)
        return exported(recorder)


def counted(series: int) -> Exported:
    """Return what that counts, told how many series there were before.

    The first export adds its duration, and every first reason a series more. Refused are the
    duration and the three results.
    """
    return {
        "metrics_exports_total": by("result", {"ok": 2, "partial": 1, "failed": 2}),
        "metrics_points_lost_total": by(
            "reason", {"refused": 4, "unavailable": series + 2, "denied": series + 3}
        ),
        "metrics_export_seconds": one(SECOND_TRY_SECONDS),
    }
