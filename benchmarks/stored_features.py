"""Put made-up features into a table, a commit a minute of theirs as `write` does; label them too.

In a process of its own, so that its memory is not that of whoever is measured.
"""

import json
import sys
from contextlib import closing
from itertools import islice
from pathlib import Path

from benchmarks import _timing
from benchmarks.feature_rows import HORIZON_MS, MINUTE, FeatureRows
from quotewatch.logs import configure_logs
from quotewatch.resources import Resources
from quotewatch.settings import Settings
from quotewatch.stages.label import HorizonReport, LabelStage
from quotewatch.streams import FEATURES
from quotewatch.tables.intake import Intake

_BUDGET_SECONDS = 600.0


def put(data: Path, products: int, rows_a_second: float, rows: int, *, labels: bool) -> None:
    """Store so many rows; with `labels` each minute is labelled when it is there."""
    _timing.measure(
        "benchmarks.stored_features", str(data), str(products), str(rows_a_second), str(rows),
        str(int(labels)),
    )  # fmt: skip


def opened(data: Path) -> Resources:
    """Open what a stage stands on."""
    return Resources(Settings.model_construct(data_dir=data))


def label_all(resources: Resources) -> HorizonReport:
    """Label what can be labelled, however long it takes."""
    stage = LabelStage(
        resources.committer, resources.recorder, resources.clock, (HORIZON_MS,),
        budget_seconds=_BUDGET_SECONDS,
    )  # fmt: skip
    report = stage.run_once()
    found = report.horizons[str(HORIZON_MS)]
    if report.failed or not found.finished:
        raise _timing.MeasureError(f"not all was labelled: {report.plain()}")
    return found


def _put(data: Path, market: FeatureRows, rows: int, *, labels: bool) -> None:
    with closing(opened(data)) as resources:
        intake = Intake(resources.committer, FEATURES.name)
        frames = market.frames(rows)
        while minute := list(islice(frames, MINUTE)):
            intake.store(minute)
            if labels:
                label_all(resources)


if __name__ == "__main__":
    configure_logs(level=50)
    _put(
        Path(sys.argv[1]),
        FeatureRows(int(sys.argv[2]), float(sys.argv[3])),
        int(sys.argv[4]),
        labels=sys.argv[5] == "1",
    )
    print(json.dumps({}))
