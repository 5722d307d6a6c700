"""The gateway as a process under load: what is dropped, what it costs, how long a message takes.

Send to bus: from the stamp a message was sent with to the moment the bus had its frame, so half a
window of waiting is part of it. END_TO_END_SECONDS shortens the minute.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks._timing import ROOT, print_table
from benchmarks.level2_batch import PRODUCTS
from quotewatch.bus.sqlite import SqliteBus
from quotewatch.frames import decode

_RATES = (5_000, 20_000)
_SECONDS = float(os.environ.get("END_TO_END_SECONDS", "60"))
_WARM_SECONDS = 3.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used so far."""

    at: float
    cpu_seconds: float
    resident_mb: float


def main() -> None:
    """Run each rate and print a line of it."""
    print_table(
        f"End to end over a local WebSocket, {len(PRODUCTS)} products, {_SECONDS:g} s,"
        " windows 250 ms and 2 s",
        [_run(rate) for rate in _RATES],
    )


def _run(rate: int) -> Mapping[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        feed = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load_feed", str(rate), str(_SECONDS)],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        lines = _facts(feed)
        gateway = _start_gateway(data, next(lines)["port"])
        time.sleep(_WARM_SECONDS)
        first = last = _usage(gateway.pid)
        while feed.poll() is None:
            last = _usage(gateway.pid)
            time.sleep(0.2)
        sent = next(lines)["sent"]
        gateway.terminate()
        gateway.wait(timeout=30)
        return _line(rate, sent, first, last, data)


def _facts(feed: "subprocess.Popen[str]") -> Iterator[dict[str, int]]:
    assert feed.stdout is not None  # noqa: S101 - it was asked for
    for line in feed.stdout:
        yield json.loads(line)


def _start_gateway(data: Path, port: int) -> "subprocess.Popen[bytes]":
    settings = {
        "QUOTEWATCH_DATA_DIR": str(data),
        "QUOTEWATCH_FEED_URL": f"ws://127.0.0.1:{port}",
        "QUOTEWATCH_PRODUCTS": ",".join(PRODUCTS),
        "QUOTEWATCH_PRODUCTS_PER_CONNECTION": str(len(PRODUCTS)),
        "QUOTEWATCH_HTTP_PORT": "0",
    }
    with (data / "gateway.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "ingest_gateway"],
            cwd=ROOT,
            env=os.environ | settings,
            stderr=log,
        )


def _usage(pid: int) -> Usage:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    cpu = (int(fields[11]) + int(fields[12])) / _TICKS
    return Usage(time.monotonic(), cpu, pages * _PAGE / 1e6)


def _line(rate: int, sent: int, first: Usage, last: Usage, data: Path) -> Mapping[str, object]:
    bus = SqliteBus(data / "bus.db")
    try:
        kept, _ = _latencies(bus, "raw_orderbook")
        _, latencies = _latencies(bus, "features")
        lost = _event_rows(bus, "drop") + _event_rows(bus, "invalid")
    finally:
        bus.close()
    p50, p99 = (pc.quantile(latencies, share)[0].as_py() for share in (0.5, 0.99))
    return {
        "messages/s": rate,
        "sent": sent,
        "missing": sent + len(PRODUCTS) - kept,
        "dropped": lost,
        "CPU %": 100 * (last.cpu_seconds - first.cpu_seconds) / (last.at - first.at),
        "p50 ms": p50,
        "p99 ms": p99,
        "MB at start": round(first.resident_mb),
        "MB at end": round(last.resident_mb),
    }


def _latencies(bus: SqliteBus, stream: str) -> "tuple[int, pa.ChunkedArray[pa.DoubleScalar]]":
    """Return the rows of a stream on the bus, and their milliseconds from send to bus."""
    rows, chunks = 0, []
    warm_ns: int | None = None
    for waiting in bus.browse(f"{stream}.write"):
        frame = decode(waiting.message).rows
        rows += frame.num_rows
        warm_ns = warm_ns or waiting.published_ns + int(_WARM_SECONDS * 1e9)
        if waiting.published_ns < warm_ns:
            continue  # connecting and a hundred snapshots are another measure
        sent_us = frame.column("exchange_time").cast(pa.int64())
        late_us = pc.subtract(pa.scalar(waiting.published_ns // 1_000, pa.int64()), sent_us)
        chunks.append(pc.divide(late_us.cast(pa.float64()), 1_000.0))
    return rows, pa.chunked_array(chunks, pa.float64())


def _event_rows(bus: SqliteBus, kind: str) -> int:
    frames = (decode(waiting.message).rows for waiting in bus.browse("events.write"))
    return sum(rows.column("kind").to_pylist().count(kind) for rows in frames)


if __name__ == "__main__":
    main()
