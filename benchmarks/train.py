"""Learning: rows a second by size of batch beside bare SGD, and stored labels caught up with.

Floor: SGDClassifier.partial_fit on the same rows, scaled and ready. The stage reads a table whose
batches came one a minute, scores each before it learns it, and stores versions; what a day of it
takes is extrapolated from what was measured.
"""

import json
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import _timing, stored_features, trained
from benchmarks.feature_rows import HORIZON_MS
from quotewatch.learning.inputs import Inputs
from quotewatch.learning.model import scaled
from quotewatch.learning.trainer import learn
from quotewatch.logs import configure_logs
from quotewatch.stages.train import TrainStage

_HERE = "benchmarks.train"
_BATCHES = {200: 100, 1_000: 50, 10_000: 8, 100_000: 1}  # rows -> batches a pass
_PASSES = 5
_ROUNDS = 2  # of fresh processes
_PRODUCTS, _RATE = 20, 200.0  # ten rows a second of each
_ROWS = 1_000_000
_DAY_ROWS = round(_RATE * 86_400)
_BUDGET_SECONDS = 600.0

Found = dict[str, float]


def main() -> None:
    """Measure in fresh processes, and print the tables."""
    _timing.print_table(
        "Learning a batch, CPU, best of many", [_batch_line(rows) for rows in _BATCHES]
    )
    with tempfile.TemporaryDirectory() as folder:
        stored_features.put(Path(folder), _PRODUCTS, _RATE, _ROWS, labels=True)
        found = _timing.measure(_HERE, "stage", folder)
    rate = found["rows"] / found["wall"]
    _timing.print_table(
        f"The whole stage: labels of {_PRODUCTS} products at {_RATE / _PRODUCTS:g} rows/s each,"
        " a batch a minute, caught up with in one call",
        [
            {
                "rows": int(found["rows"]),
                "batches": int(found["batches"]),
                "seconds": found["wall"],
                "CPU s": found["cpu"],
                "rows/s": round(rate),
                "times live": rate / _RATE,
                "ms a batch": found["wall"] / found["batches"] * 1e3,
            }
        ],
    )
    print(
        f"  extrapolated: a day of it, {_DAY_ROWS / 1e6:.1f} M rows in 1440 batches, takes"
        f" {_DAY_ROWS / rate / 3_600:.3f} h ({_DAY_ROWS / rate:.0f} s)"
    )


def _batch_line(rows: int) -> dict[str, object]:
    found = [_timing.measure(_HERE, "batch", str(rows)) for _ in range(_ROUNDS)]
    ours, floor = (min(each[name] for each in found) for name in ("ours", "floor"))
    return {
        "rows a batch": rows,
        "ms": ours * 1e3,
        "rows/s": round(rows / ours),
        "floor ms": floor * 1e3,
        "floor rows/s": round(rows / floor),
        "of floor": ours / floor,
    }


def _batch(rows: int) -> Found:
    """Return the seconds that a batch of so many rows takes."""
    _timing.pin()
    from sklearn.linear_model import SGDClassifier  # type: ignore[import-untyped]  # noqa: PLC0415

    lesson = trained.lesson(max(2 * rows, trained.ROWS))
    model = trained.learnt(lesson)
    inputs = Inputs(lesson.inputs.matrix[:rows], lesson.inputs.usable[:rows])
    labels, batches = lesson.labels[:rows], range(_BATCHES[rows])
    ready = scaled(model, inputs.matrix[inputs.usable])
    taught = labels[inputs.usable]
    # The same loss and steps as ours, no weights.
    bare = SGDClassifier(
        loss="log_loss", learning_rate="invscaling", eta0=0.3, alpha=1e-5, random_state=0
    )
    bare.partial_fit(ready, taught, classes=np.array([0, 1]))

    def ours() -> None:
        now = model
        for _ in batches:
            now = learn(now, inputs, labels, now.position + 1)

    def floor() -> None:
        for _ in batches:
            bare.partial_fit(ready, taught)

    return {
        name: _timing.best_cpu_seconds(lambda work=work: work, _PASSES) / len(batches)  # type: ignore[misc]
        for name, work in (("ours", ours), ("floor", floor))
    }


def _stage(data: Path) -> Found:
    """Return what it takes to learn all that is stored, from nothing."""
    with closing(stored_features.opened(data)) as resources:
        stage = TrainStage(
            resources.tables, resources.objects, resources.recorder, resources.clock,
            (HORIZON_MS,), budget_seconds=_BUDGET_SECONDS,
        )  # fmt: skip
        wall, cpu = time.perf_counter(), time.process_time()
        report = stage.run_once()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    found = report.horizons[str(HORIZON_MS)]
    complete = found.finished and found.ready and found.rows > 0.9 * _ROWS
    if report.failed or not complete:
        raise _timing.MeasureError(f"not all was learnt: {replace(found, scores={})}")
    return {"wall": wall, "cpu": cpu, "rows": found.rows, "batches": found.batches}


if __name__ == "__main__":
    configure_logs(level=50)
    print(
        json.dumps(
            _batch(int(sys.argv[2])) if sys.argv[1] == "batch" else _stage(Path(sys.argv[2]))
        )
    )
