"""`maintain` over four tables, two of which cannot be read at first; a commit takes 0.2 s."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from quotewatch.stages.accounting import Account, Counted
from quotewatch.stages.maintain import MaintainStage
from quotewatch.tables import commit as commits
from quotewatch.tables.commit import SNAPSHOTS_KEPT, Committer
from tests.bus.clocks import HandClock
from tests.metrics.exact.known import Known, calls, recorder_of
from tests.metrics.exported import one
from tests.tables.desk import DAY_SECONDS, NOON_NS, NOON_S, frames, store_each
from tests.tables.frames import Desk, Faults

OWNERS = ("maintain",)
COMMIT = 0.2  # seconds
YESTERDAY_S = NOON_S - DAY_SECONDS
FILES = {"features": SNAPSHOTS_KEPT + 2, "events": 3, "raw_orderbook": 4, "raw_trades": 2}
ORPHANS = {"features": (5, 7), "events": (11,), "raw_orderbook": (13,)}  # bytes


def known_run(folder: Path) -> Known:
    known, recorder = Known(), recorder_of("maintain")
    clock = HandClock(start_ns=NOON_NS)
    with closing(Desk(folder, clock=clock)) as desk:
        furnish(desk)
        Faults(desk.tables).on_commit = lambda: clock.sleep(COMMIT)
        committer = Committer(desk.tables, clock=clock, sleep=clock.sleep, recorder=recorder)
        stage = MaintainStage(committer, recorder, clock, orphan_hours=24)
        counted = Counted(stage, Account("maintain", recorder, clock))
        with damaged(desk, "raw_orderbook"), damaged(desk, "raw_trades"):
            counted.run_once()  # the others: one lets go of snapshots, both are merged
        counted.run_once()
    bytes_swept = [size for sizes in ORPHANS.values() for size in sizes]
    known.note(
        "maintain",
        recorder,
        calls("maintain", ok=1, failed=1, seconds=2 * COMMIT, succeeded_ns=clock.now_ns())
        | {
            "maintain_snapshots_expired_total": one(2),
            "maintain_files_compacted_total": one(sum(FILES.values())),
            "maintain_files_swept_total": one(len(bytes_swept)),
            "maintain_bytes_swept_total": one(sum(bytes_swept)),
            "maintain_failures_total": one(2),
        },
    )
    return known


def furnish(desk: Desk) -> None:
    """Store a file a frame, and leave files beside them that belong to nobody."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commits, "SNAPSHOTS_KEPT", 1_000)
        for name, count in FILES.items():
            store_each(desk.committer, frames(name, count, at_s=YESTERDAY_S))
    for name, sizes in ORPHANS.items():
        for size in sizes:
            orphan = Path(desk.table(name).location(), "data", f"orphan-{size}.parquet")
            orphan.write_bytes(b"x" * size)
            os.utime(orphan, (YESTERDAY_S - 1, YESTERDAY_S - 1))


@contextmanager
def damaged(desk: Desk, name: str) -> Iterator[None]:
    """Spoil a table's metadata for a while."""
    metadata = Path(desk.table(name).metadata_location)
    text = metadata.read_text()
    metadata.write_text("no json")
    yield
    metadata.write_text(text)
