"""Labelling: the pure labeller and the whole stage beside a plain merge in numpy.

Floor: arrays that are ready, sorted by book and time, the last row up to each horizon found by
binary search, and compared. It says nothing about what is certain, reads and stores nothing.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks import _timing, stored_features
from benchmarks.feature_rows import HORIZON_MS, FeatureRows, known, plain
from quotewatch.logs import configure_logs
from quotewatch.market import labels

_HERE = "benchmarks.label"
_PRODUCTS, _RATE = 50, 500.0
_ROWS = 200_000
_STORED = (200_000, 1_000_000)
_PASSES = 7
_ROUNDS = 3  # of fresh processes
_US_PER_MS = 1_000
_MOVE = 10_000

Found = dict[str, float]


def main() -> None:
    """Measure both in fresh processes, and print the tables."""
    pure = [_timing.measure(_HERE, "pure", str(_ROWS)) for _ in range(_ROUNDS)]
    floor, ours = (min(each[name] for each in pure) for name in ("floor", "ours"))
    _timing.print_table(
        f"Labels of {_ROWS} rows of {_PRODUCTS} products in memory, CPU, best of many",
        [
            {"what": name, "ms": seconds * 1e3, "rows/s": round(_ROWS / seconds),
             "of floor": seconds / floor}
            for name, seconds in (("numpy merge (floor)", floor), ("labels.label", ours))
        ],
    )  # fmt: skip
    _timing.print_table(
        f"The whole stage: stored features ({_RATE:g} rows/s, a commit a minute) to stored labels,"
        " once",
        [_stage_line(rows) for rows in _STORED],
    )


def _stage_line(rows: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        stored_features.put(Path(folder), _PRODUCTS, _RATE, rows, labels=False)
        found = _timing.measure(_HERE, "stage", folder)
    if found["labelled"] < 0.9 * rows:
        raise _timing.MeasureError(f"{found['labelled']} of {rows} rows were labelled")
    floor = _timing.measure(_HERE, "floor", str(rows))["floor"]
    return {
        "rows": rows,
        "labelled": int(found["labelled"]),
        "commits": int(found["commits"]),
        "seconds": found["wall"],
        "CPU s": found["cpu"],
        "rows/s": round(rows / found["wall"]),
        "floor ms": floor * 1e3,
        "of floor": found["wall"] / floor,
        "peak MB": round(found["peak MB"]),
        "MB before": round(found["MB before"]),
    }


# In memory


def _pure(count: int, *, ours: bool) -> Found:
    rows = plain(FeatureRows(_PRODUCTS, _RATE).batch(count))
    asked, facts, horizon_us = np.arange(count), known(rows), HORIZON_MS * _US_PER_MS
    merged = _merge(rows, horizon_us)
    found = {"floor": _best(lambda: _merge(rows, horizon_us))}
    if ours:
        outcome = labels.label(rows, asked, horizon_us, facts)
        decided = outcome.states == labels.State.LABELLED
        if not np.array_equal(outcome.labels[decided], merged[decided]):
            raise _timing.MeasureError("the floor says other labels")
        if decided.mean() < 0.9:
            raise _timing.MeasureError(f"{decided.mean():.0%} of the rows have a label")
        found["ours"] = _best(lambda: labels.label(rows, asked, horizon_us, facts))
    return found


def _merge(rows: labels.Rows, horizon_us: int) -> npt.NDArray[np.int32]:
    order = np.lexsort((rows.arrivals, rows.times, rows.books))
    books, times, prices = rows.books[order], rows.times[order], rows.prices[order]
    start, width = times.min(), times.max() - times.min() + horizon_us + 1
    keys = books * width + (times - start)
    then = prices[np.searchsorted(keys, keys + horizon_us, "right") - 1]
    moved = np.empty(order.size, np.int32)
    moved[order] = np.abs(then - prices) * _MOVE > prices
    return moved


def _best(work: Callable[[], object]) -> float:
    return _timing.best_cpu_seconds(lambda: work, _PASSES)


# From table to table


def _stage(data: Path) -> Found:
    with closing(stored_features.opened(data)) as resources:
        resources.tables.load("features")
        before = _peak_mb()
        wall, cpu = time.perf_counter(), time.process_time()
        report = stored_features.label_all(resources)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "wall": wall, "cpu": cpu, "peak MB": _peak_mb(), "MB before": before,
        "labelled": report.labelled, "commits": report.batches,
    }  # fmt: skip


def _peak_mb() -> float:
    """Return the most memory this process ever had; what its parent had does not count."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1_024 / 1e6
    raise _timing.MeasureError("the system does not say how much memory was used")


def _measure(way: str, argument: str) -> Found:
    configure_logs(level=50)
    if way == "stage":
        return _stage(Path(argument))
    _timing.pin()
    return _pure(int(argument), ours=way == "pure")


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], sys.argv[2])))
