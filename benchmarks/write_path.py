"""From frames on the bus to acked rows in a table, beside pyarrow.parquet.write_table of the same.

`WriteStage.run_once` over frames of 1 000 rows on the SQLite bus: pull, decode, ledger, dedupe,
sort, write, commit, ack. Floor: the same rows, ready in memory, into one Parquet file with zstd.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import _timing, peers_of_tables
from benchmarks.stored_rows import FRAME_ROWS, Rows
from quotewatch import draining
from quotewatch.clock import SystemClock
from quotewatch.logs import configure_logs
from quotewatch.message import Message
from quotewatch.quarantine import Quarantine
from quotewatch.resources import Resources
from quotewatch.settings import Settings
from quotewatch.stages.write import WriteStage
from quotewatch.streams import RAW_ORDERBOOK, RAW_TRADES, TABLES
from quotewatch.tables.gathering import Arrived, rows_of
from quotewatch.tables.intake import frame_of

_HERE = "benchmarks.write_path"
_STREAMS = (RAW_TRADES.name, RAW_ORDERBOOK.name)
_ROUNDS = {10_000: 9, 100_000: 7, 1_000_000: 3}
_AIMED_ROWS, _AIM = 100_000, 1.5
_CONFIGURED, _ONE = "as configured", "in one commit"


@dataclass
class _Best:
    wall: float = float("inf")
    cpu: float = float("inf")

    def take(self, work: Callable[[], object]) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        self.wall = min(self.wall, time.perf_counter() - wall)
        self.cpu = min(self.cpu, time.process_time() - cpu)


def main() -> None:
    """Measure every stream and size in fresh processes, and print the tables."""
    lines: list[dict[str, object]] = []
    peers: list[dict[str, object]] = []
    for stream in _STREAMS:
        for rows, rounds in _ROUNDS.items():
            ways = (_CONFIGURED, _ONE) if rows > draining.COMMIT_ROWS else (_CONFIGURED,)
            for way in ways:
                found = _timing.measure(_HERE, stream, str(rows), str(rounds), way)
                lines.append(_line(stream, rows, way, found))
                print(f"  {stream} {rows} {way} measured", flush=True)
            peers.append(_beside(stream, rows, rounds, lines[-len(ways)]["rows/s"]))
    _timing.print_table(
        f"pull -> commit -> ack, beside the floor (a commit ends at {draining.COMMIT_ROWS} rows or"
        f" {draining.COMMIT_BYTES // 1_000_000} MB)",
        lines,
    )
    _timing.print_table("Rows a second into an Iceberg table, wall time", peers)


def _line(stream: str, rows: int, way: str, found: dict[str, float]) -> dict[str, object]:
    return {
        "table": stream,
        "rows": rows,
        "limits": way,
        "commits": int(found["commits"]),
        "rows/s": round(rows / found["wall"]),
        "ms": found["wall"] * 1e3,
        "floor ms": found["floor wall"] * 1e3,
        "of floor": found["wall"] / found["floor wall"],
        "CPU of floor": found["cpu"] / found["floor cpu"],
        "aim": _AIM if rows == _AIMED_ROWS else None,
    }


def _beside(stream: str, rows: int, rounds: int, ours: object) -> dict[str, object]:
    """Let the peers write the same rows."""
    line: dict[str, object] = {"table": stream, "rows": rows, "quotewatch": ours}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.arrow"
        frames = list(Rows(stream).frames(rows))
        table = _plain(stream, frames)
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        del frames, table
        for peer in peers_of_tables.FOLDERS:
            found = peers_of_tables.measure(peer, file, rounds)
            if isinstance(found, str):
                print(f"  {found}", flush=True)
                line[peer] = None
            else:
                line[peer] = round(rows / found["wall"])
    return line


def _plain(stream: str, frames: list[Message]) -> pa.Table:
    """Return the rows as a reader sees them: words as words, decimals at their width."""
    gathered = rows_of(stream, [Arrived(frame_of(each), 0) for each in frames])
    return gathered.cast(TABLES[stream].schema).combine_chunks()


def _measure(stream: str, rows: str, rounds: str, way: str) -> None:
    configure_logs(level=50)
    if way == _ONE:
        limits: Any = draining
        limits.COMMIT_ROWS = limits.COMMIT_BYTES = sys.maxsize
    market, count = Rows(stream), int(rows)
    ours, floor = _Best(), _Best()
    commits: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        with closing(Resources(Settings.model_construct(data_dir=data))) as resources:
            resources.create_names()
            stage = _stage(resources, stream)
            for done in range(int(rounds) + 1):
                frames = list(market.frames(count))
                resources.bus.publish(stream, frames)
                plain = _plain(stream, frames)
                if not done:  # the first one makes the table
                    stage.run_once()
                    continue
                floor.take(
                    lambda plain=plain: pq.write_table(  # type: ignore[misc]
                        plain, data / "floor.parquet", compression="zstd"
                    )
                )
                ours.take(lambda: commits.append(_drained(stage, stream, count)))
    print(json.dumps({"wall": ours.wall, "cpu": ours.cpu, "commits": commits[-1],
                      "floor wall": floor.wall, "floor cpu": floor.cpu}))  # fmt: skip


def _drained(stage: WriteStage, stream: str, rows: int) -> int:
    """Run it; return how many commits it took, once all rows are stored and acked."""
    report = stage.run_once().streams[stream]
    if report.inserted != rows or report.acked * FRAME_ROWS != rows or report.error:
        raise _timing.MeasureError(f"not all {rows} rows were stored: {report}")
    return report.commits


def _stage(resources: Resources, stream: str) -> WriteStage:
    return WriteStage(
        resources.bus, resources.committer, Quarantine(resources.objects), resources.recorder,
        SystemClock(), budget_seconds=600.0, streams=(stream,),
    )  # fmt: skip


if __name__ == "__main__":
    _measure(*sys.argv[1:5])
