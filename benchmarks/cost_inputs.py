"""What the cost of a month is reckoned from: bytes a row on the bus and in tables, work a call.

Frames and files are made of the real captures after the books' first snapshots, in production's
windows, written once a minute. Calls are counted while made-up products are stored, labelled and
learnt, minute by minute, on the SQLite catalog. deploy/cost/facts.py holds what came out.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pyiceberg.catalog import load_catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io.pyarrow import PyArrowFile

from benchmarks import _timing
from benchmarks.feature_rows import MINUTE, FeatureRows
from benchmarks.gateway import Gateway
from benchmarks.stored_rows import Rows
from benchmarks.workloads import SOURCES, Source, load, missing
from quotewatch.frames import FrameEncoder
from quotewatch.resources import Resources
from quotewatch.settings import Settings
from quotewatch.stages import label, maintain, reconcile, train, write
from quotewatch.streams import CAPTURED

_SIZES = (1, 5, 20, 80, 320)
_WINDOW_US = dict.fromkeys(CAPTURED, 2_000_000) | {"features": 250_000}
_WRITE_US = 60_000_000
# Products, book messages and trades a second, minutes.
_LOADS = ((1, 18.0, 2.2, 20), (20, 322.0, 14.0, 20), (100, 3_780.0, 120.0, 10))
_COUNTED = {
    "loads": (SqlCatalog, "load_table"), "commits": (SqlCatalog, "commit_table"),
    "reads": (PyArrowFile, "open"), "looks": (PyArrowFile, "exists"),
    "writes": (PyArrowFile, "create"),
}  # fmt: skip
_EACH = {"write": 1, "label": 1, "train": 5, "reconcile": 5, "maintain": 10}  # minutes


def main() -> None:
    """Measure all three, and print the tables."""
    recorded = [each for each in SOURCES.values() if each.capture]
    here = [each for each in recorded if not missing(each)]
    for source in recorded:
        if source not in here:
            print(f"{source.name} ({source.title}) skipped: {missing(source)}")
    _timing.print_table(
        "Bytes of a frame, by its rows", [line for each in here for line in _frames(each)]
    )
    _timing.print_table(
        "Bytes a row in Parquet, a commit a minute, first snapshots left out",
        [line for each in here for line in _stored(each)],
    )
    _timing.print_table(
        "A call, the second half of the run", [line for each in _LOADS for line in _calls(*each)]
    )


# On the bus


def _frames(source: Source) -> Iterator[dict[str, object]]:
    for stream in ("raw_orderbook", "raw_trades", "features"):
        sizes = {f"{rows} rows": _frame_bytes(source, stream, rows) for rows in _SIZES}
        yield {"capture": source.name, "stream": stream, **sizes}


def _frame_bytes(source: Source, stream: str, rows: int) -> float | None:
    """Return the mean size of frames with so many rows."""
    gateway, workload = _opened(source), load(source.name)
    sizes = []
    for raw, received_us in workload.messages:
        gateway.reader.read(raw, received_us)
        if gateway.tape.rows_of(stream) >= rows:
            sizes.append(len(gateway.frame(stream).data))
    return sum(sizes) / len(sizes) if sizes else None


def _opened(source: Source) -> Gateway:
    """Return a gateway that has its books, and nothing else."""
    gateway = Gateway(source)
    gateway.read(load(source.name).opening)
    for stream in CAPTURED:
        if gateway.tape.rows_of(stream):
            gateway.frame(stream)
    return gateway


# In the tables


def _stored(source: Source) -> Iterator[dict[str, object]]:
    with tempfile.TemporaryDirectory() as folder, closing(_resources(folder)) as resources:
        _feed(source, resources)
        label.build(resources).run_once()
        catalog = load_catalog(
            "quotewatch", type="sql", uri=f"sqlite:///{folder}/catalog.db", warehouse=folder
        )
        for name in ("raw_orderbook", "raw_trades", "features", "labels"):
            tasks = list(catalog.load_table(("quotewatch", name)).scan().plan_files())
            rows = sum(each.file.record_count for each in tasks)
            size = sum(each.file.file_size_in_bytes for each in tasks)
            yield {
                "capture": source.name,
                "table": name,
                "rows": rows,
                "bytes a row": size / rows if rows else None,
            }
        catalog.close()


def _resources(folder: str) -> Resources:
    resources = Resources(Settings.model_construct(data_dir=Path(folder)))
    resources.create_names()
    return resources


def _feed(source: Source, resources: Resources) -> None:
    gateway, workload, stage = _opened(source), load(source.name), write.build(resources)
    began_us = workload.messages[0][1]
    due = {stream: began_us + window for stream, window in _WINDOW_US.items()}
    write_us = began_us + _WRITE_US

    def close(stream: str) -> None:
        if gateway.tape.rows_of(stream):
            resources.bus.publish(stream, [gateway.frame(stream)])

    for raw, received_us in workload.messages:
        for stream, at_us in due.items():
            if received_us >= at_us:
                due[stream] = received_us + _WINDOW_US[stream]
                close(stream)
        if received_us >= write_us:
            write_us = received_us + _WRITE_US
            stage.run_once()
        gateway.reader.read(raw, received_us)
    for stream in CAPTURED:
        close(stream)
    stage.run_once()


# Calls


def _calls(products: int, rate: float, trades: float, minutes: int) -> Iterator[dict[str, object]]:
    found: dict[str, list[Counter[str]]] = {name: [] for name in _EACH}
    with tempfile.TemporaryDirectory() as folder, closing(_resources(folder)) as resources:
        built = (write, label, train, reconcile, maintain)
        stages: dict[str, Any] = {
            name: module.build(resources) for name, module in zip(_EACH, built, strict=True)
        }
        market = _market(resources, products, rate, trades)
        for minute in range(1, minutes + 1):
            next(market)
            for name, each in _EACH.items():
                if not minute % each:
                    found[name].append(_counted(stages[name].run_once))
    for name, calls in found.items():
        later = calls[len(calls) // 2 :]
        total: Counter[str] = sum(later, Counter())
        counts = {key: total[key] / len(later) for key in (*_COUNTED, "CPU ms")}
        yield {"stage": name, "products": products, "rows/s": rate, **counts}


def _market(resources: Resources, products: int, rate: float, trades: float) -> Iterator[None]:
    """Publish a minute of frames at a time."""
    encoder, features = FrameEncoder(), FeatureRows(products, rate).frames(10**9)
    raw: Mapping[str, tuple[Rows, float]] = {
        "raw_orderbook": (Rows("raw_orderbook"), rate), "raw_trades": (Rows("raw_trades"), trades),
    }  # fmt: skip
    while True:
        for arrived in islice(features, MINUTE):
            resources.bus.publish("features", [encoder.encode(arrived.frame)])
        for stream, (rows, each_second) in raw.items():
            for message in rows.frames(round(each_second * 60), max(1, round(each_second * 2))):
                resources.bus.publish(stream, [message])
        yield


def _counted(call: Callable[[], Any]) -> Counter[str]:
    """Count what a call asks of the catalog and of files, and the time of its processor."""
    counts: Counter[str] = Counter()
    patches = [patch.object(owner, name, _counting(counts, key, getattr(owner, name)))
               for key, (owner, name) in _COUNTED.items()]  # fmt: skip
    for each in patches:
        each.start()
    began = time.process_time()
    report = call()
    counts["CPU ms"] = round((time.process_time() - began) * 1_000)
    for each in patches:
        each.stop()
    if report.failed:
        raise _timing.MeasureError(str(report))
    return counts


def _counting(counts: Counter[str], key: str, original: Any) -> Any:  # noqa: ANN401 - any method
    def counting(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        counts[key] += 1
        return original(*arguments, **named)

    return counting


if __name__ == "__main__":
    main()
