"""A thousand commits to one table: what the last one takes beside the tenth, `maintain` running.

Frames of 1 000 trades of today, each pulled, committed and acked by itself; `maintain` runs after
every tenth and sweeps what is a second old, which is safe only where nobody else writes.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks import _timing
from benchmarks.stored_rows import EPOCH, FRAME_ROWS, Rows
from quotewatch.clock import SystemClock
from quotewatch.frames import Frame, FrameEncoder, FrameId
from quotewatch.logs import configure_logs
from quotewatch.message import Message
from quotewatch.quarantine import Quarantine
from quotewatch.resources import Resources
from quotewatch.settings import Settings
from quotewatch.stages.maintain import MaintainStage
from quotewatch.stages.write import WriteStage
from quotewatch.streams import RAW_TRADES, TIME
from quotewatch.tables.commit import ledger_bytes

_STREAM = RAW_TRADES.name
_COMMITS, _MAINTAIN_EVERY = 1_000, 10
_PLACES, _AROUND = (10, 100, 1_000), 5
_AIM = 1.5
_SECOND_IN_HOURS = 1 / 3_600
_WAYS = ("maintained", "left alone")


@dataclass
class _Run:
    """Milliseconds of each commit, and what lay on disk after some."""

    commits: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    maintains: list[float] = field(default_factory=list)
    disk: dict[int, dict[str, int]] = field(default_factory=dict)


def main() -> None:
    """Let the table grow with and without `maintain`, each in a process of its own."""
    lines: list[dict[str, object]] = []
    for way in _WAYS:
        found = _timing.measure("benchmarks.table_growth", way)
        lines += _lines(way, found)
        if found["maintains"]:
            print(
                f"  maintain took {median(found['maintains']):.0f} ms (median),"
                f" {max(found['maintains']):.0f} ms (most)",
                flush=True,
            )
    _timing.print_table(f"Commits of {FRAME_ROWS} trades: ms, median of those around", lines)


def _lines(way: str, found: dict[str, Any]) -> Iterator[dict[str, object]]:
    times: Sequence[float] = found["commits"]
    at = {place: _median_around(times, place) for place in _PLACES}
    cpu = {place: _median_around(found["cpu"], place) for place in _PLACES}
    for place in _PLACES:
        yield {
            "table": way,
            "commit": place,
            "ms": at[place],
            "of the 10th": at[place] / at[_PLACES[0]],
            "CPU ms": cpu[place],
            "CPU of the 10th": cpu[place] / cpu[_PLACES[0]],
            "aim": _AIM if way == _WAYS[0] and place == _PLACES[-1] else None,
            "most ms so far": max(times[:place]),
            **found["disk"][str(place)],
        }


def _median_around(times: Sequence[float], place: int) -> float:
    """Return the median of a commit and its neighbours; the last has them on one side only."""
    return median(times[max(0, place - 1 - _AROUND) : place + _AROUND])


def _measure(way: str) -> None:
    configure_logs(level=50)
    run = _Run()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.model_construct(data_dir=Path(folder))
        with closing(Resources(settings)) as resources:
            resources.create_names()
            _grow(resources, run, maintained=way == _WAYS[0])
    print(json.dumps(asdict(run)))


def _grow(resources: Resources, run: _Run, *, maintained: bool) -> None:
    clock = SystemClock()
    stage = WriteStage(
        resources.bus, resources.committer, Quarantine(resources.objects), resources.recorder,
        clock, streams=(_STREAM,),
    )  # fmt: skip
    maintain = MaintainStage(
        resources.committer,
        resources.recorder,
        clock,
        orphan_hours=_SECOND_IN_HOURS,
        names=(_STREAM,),
    )
    frames = _frames_of_today(clock.now_ns() // 1_000)
    for number in range(1, _COMMITS + 1):
        resources.bus.publish(_STREAM, [next(frames)])
        began, cpu = time.perf_counter(), time.process_time()
        report = stage.run_once()
        run.commits.append((time.perf_counter() - began) * 1e3)
        run.cpu.append((time.process_time() - cpu) * 1e3)
        if report.streams[_STREAM].inserted != FRAME_ROWS:
            raise _timing.MeasureError(f"commit {number}: {report}")
        if maintained and number % _MAINTAIN_EVERY == 0:
            began = time.perf_counter()
            kept = maintain.run_once()
            run.maintains.append((time.perf_counter() - began) * 1e3)
            if kept.failed:
                raise _timing.MeasureError(f"after commit {number}: {kept}")
        if number in _PLACES:
            run.disk[number] = _on_disk(resources)


def _frames_of_today(now_us: int) -> Iterator[Message]:
    """Yield frames of a day that is not over, as they come while a table grows."""
    rows, encoder, seq = Rows(_STREAM), FrameEncoder(), 0
    while True:
        batch = rows.batch(FRAME_ROWS)
        columns: dict[str, Any] = dict(zip(batch.schema.names, batch.columns, strict=True))
        first: Any = pc.min(columns["exchange_time"].cast(pa.int64()))
        for name in ("exchange_time", "received_at"):
            since: Any = pc.subtract(columns[name].cast(pa.int64()), first)
            columns[name] = pc.add(since, pa.scalar(now_us + seq * 1_000)).cast(TIME)
        shifted = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
        yield encoder.encode(Frame(FrameId(_STREAM, EPOCH, seq), "bench", shifted, 1, 2))
        seq += 1


def _on_disk(resources: Resources) -> dict[str, int]:
    table = resources.tables.load(_STREAM)
    folder = Path(table.location().removeprefix("file://"))
    newest = Path(table.metadata_location.removeprefix("file://"))
    return {
        "data files": sum(1 for _ in table.scan().plan_files()),
        "metadata KB": _size(folder / "metadata") // 1_000,
        "of it the newest JSON": newest.stat().st_size // 1_000,
        "ledger bytes": ledger_bytes(table),
    }


def _size(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())


if __name__ == "__main__":
    _measure(sys.argv[1])
