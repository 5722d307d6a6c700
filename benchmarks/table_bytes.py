"""What the rows of real captures weigh in the tables, beside the raw JSON and its gzip.

The captures go through the gateway's reader in production's windows and through the write stage
once a minute of their time; then `maintain` merges their days, which are over. Parquet files alone:
metadata does not grow with the rows.
"""

import gzip
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pyiceberg.catalog import load_catalog
from pyiceberg.catalog.sql import SqlCatalog

from benchmarks import _timing
from benchmarks.gateway import Gateway
from benchmarks.workloads import SOURCES, Message, Source, load, missing
from quotewatch.clock import SystemClock
from quotewatch.resources import Resources
from quotewatch.settings import Settings
from quotewatch.stages.maintain import MaintainStage
from quotewatch.stages.write import WriteStage
from quotewatch.stages.write import build as build_write
from quotewatch.streams import CAPTURED

_WINDOW_US = dict.fromkeys(CAPTURED, 2_000_000) | {"features": 250_000}
_WRITE_US = 60_000_000
_RAW = ("raw_orderbook", "raw_trades", "events")  # features can be computed again from these


@dataclass(frozen=True, slots=True)
class _Weight:
    rows: int
    files: int
    bytes: int


def main() -> None:
    """Store every capture this machine has, and print the table."""
    lines: list[dict[str, object]] = []
    for source in SOURCES.values():
        reason = missing(source)
        if source.capture is None:
            continue
        if reason:
            print(f"{source.name} ({source.title}) skipped: {reason}")
            continue
        lines += _lines(source)
        print(f"  {source.name} ({source.title}) measured", flush=True)
    _timing.print_table("Bytes in the tables, one commit a minute; then compacted", lines)


def _lines(source: Source) -> Iterator[dict[str, object]]:
    workload = load(source.name)
    messages = workload.opening + workload.messages
    text = b"\n".join(raw for raw, _ in messages)
    packed = len(gzip.compress(text, 6))
    before, after = _stored(source, messages)
    for name in (*CAPTURED, " + ".join(_RAW)):
        parts = _RAW if "+" in name else (name,)
        rows = sum(after[part].rows for part in parts)
        small = sum(before[part].bytes for part in parts)
        size = sum(after[part].bytes for part in parts)
        yield {
            "capture": source.name,
            "table": name,
            "rows": rows,
            "files": sum(before[part].files for part in parts),
            "bytes a row": small / rows if rows else None,
            "compacted files": sum(after[part].files for part in parts),
            "compacted a row": size / rows if rows else None,
            "of raw JSON": size / len(text),
            "of its gzip": size / packed,
        }
    for what, size in ((f"raw JSON, {len(messages)} messages", len(text)), ("its gzip", packed)):
        yield {
            "capture": source.name,
            "table": what,
            "bytes a row": size / len(messages),
            "of raw JSON": size / len(text),
            "of its gzip": size / packed,
        }


def _stored(
    source: Source, messages: list[Message]
) -> tuple[Mapping[str, _Weight], Mapping[str, _Weight]]:
    """Store a capture; weigh the tables as written and as merged."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.model_construct(data_dir=Path(folder))
        with closing(Resources(settings)) as resources:
            resources.create_names()
            _feed(resources, build_write(resources), Gateway(source), messages)
            before = _weights(Path(folder))
            maintain = MaintainStage(
                resources.committer, resources.recorder, SystemClock(), orphan_hours=24
            )
            report = maintain.run_once()
            if report.failed:
                raise _timing.MeasureError(str(report))
            return before, _weights(Path(folder))


def _feed(
    resources: Resources, stage: WriteStage, gateway: Gateway, messages: list[Message]
) -> None:
    due = {stream: messages[0][1] + window for stream, window in _WINDOW_US.items()}
    write_at = messages[0][1] + _WRITE_US
    for raw, received_us in messages:
        for stream, at_us in due.items():
            if received_us >= at_us:
                due[stream] = received_us + _WINDOW_US[stream]
                _close(resources, gateway, stream)
        if received_us >= write_at:
            write_at = received_us + _WRITE_US
            _write(stage)
        gateway.reader.read(raw, received_us)
    for stream in CAPTURED:
        _close(resources, gateway, stream)
    _write(stage)


def _close(resources: Resources, gateway: Gateway, stream: str) -> None:
    if gateway.tape.rows_of(stream):
        resources.bus.publish(stream, [gateway.frame(stream)])


def _write(stage: WriteStage) -> None:
    report = stage.run_once()
    if not report.drained:
        raise _timing.MeasureError(str(report))


def _weights(data: Path) -> dict[str, _Weight]:
    """Ask the tables with pyiceberg alone; one that was never made weighs nothing."""
    catalog = load_catalog(
        "quotewatch", type="sql", uri=f"sqlite:///{data / 'catalog.db'}", warehouse=str(data)
    )
    found = {}
    for name in CAPTURED:
        files = [each.file for each in catalog.load_table(("quotewatch", name)).scan().plan_files()]
        found[name] = _Weight(
            sum(each.record_count for each in files),
            len(files),
            sum(each.file_size_in_bytes for each in files),
        )
    if isinstance(catalog, SqlCatalog):
        catalog.close()
    return found


if __name__ == "__main__":
    main()
