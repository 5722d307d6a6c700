"""From the exchange's send to a row that every query finds, on one machine: p50 and p99.

The demo as it is: simulated exchange, gateway (frames of 2 s, features of 100 ms), `write` every
2 s, `reconcile` and `maintain` beside them. A row's send is the moment its message was given to
the socket; its end is the first look, every 10 ms, at which the catalog names its snapshot. The
first and last seconds are left out. --seconds, --rate, --products (how many).
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from benchmarks import _timing
from benchmarks.sightings import LOOK_SECONDS, Sightings
from quotewatch.coinbase.values import time_us
from quotewatch.local.exchange.listings import NAMED_PRODUCTS
from quotewatch.local.exchange.truth import TruthLine

_WARM_SECONDS = 5.0
_LAST_SECONDS = 8.0  # what came then may have been stored by the end of the demo, not by `write`
_LONGEST_SECONDS = 110.0
_KEYS = {"raw_orderbook": "exchange_time", "raw_trades": "trade_id", "features": "exchange_time"}

Key = tuple[str, int]


class _Message(msgspec.Struct):
    type: str
    product_id: str = ""
    time: str = ""
    trade_id: int = 0


def main(options: Sequence[str] = ()) -> None:
    """Run the demo, watch its catalog, and print what was found."""
    asked = _parse(options)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        sightings = Sightings(data / "catalog.db")
        _watch(asked, data, sightings)
        sent = _sent(data / "truth.jsonl")
        moments = sorted(sent["raw_orderbook"].values())
        span = (moments[0] + _WARM_SECONDS, moments[-1] - _LAST_SECONDS)
        lines = [_line(name, sightings, sent[name], span) for name in _KEYS]
    _timing.print_table(
        f"Send to queryable, seconds; {asked.products} products, {asked.rate:g} messages/s,"
        f" {asked.seconds:g} s, {os.cpu_count()} cores",
        lines,
    )


def _watch(asked: argparse.Namespace, data: Path, sightings: Sightings) -> None:
    products = ",".join(NAMED_PRODUCTS[: asked.products])
    log = data / "demo.out"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("QUOTEWATCH_")}
    with log.open("wb") as output:
        demo = subprocess.Popen(
            [
                sys.executable, "-m", "quotewatch", "demo", f"--data={data}",
                f"--seconds={asked.seconds}", f"--rate={asked.rate}", f"--products={products}",
            ],
            cwd=_timing.ROOT, stdout=output, stderr=output, env=environment,
        )  # fmt: skip
        try:
            while demo.poll() is None:
                sightings.look()
                time.sleep(LOOK_SECONDS)
        finally:
            demo.terminate()
            demo.wait()
    if demo.returncode:
        raise _timing.MeasureError(log.read_text(errors="replace")[-2_000:])


def _sent(truth: Path) -> Mapping[str, Mapping[Key, float]]:
    """Read when each message left, by what its row can be known by."""
    books: dict[Key, float] = {}
    trades: dict[Key, float] = {}
    for moment, message in _messages(truth):
        if message.type == "l2update":
            books.setdefault((message.product_id, time_us(message.time)), moment)
        elif message.type == "match":
            trades.setdefault((message.product_id, message.trade_id), moment)
    return {"raw_orderbook": books, "features": books, "raw_trades": trades}


def _messages(truth: Path) -> Iterator[tuple[float, _Message]]:
    lines, messages = msgspec.json.Decoder(TruthLine), msgspec.json.Decoder(_Message)
    with truth.open("rb") as file:
        for raw in file:
            line = lines.decode(raw)
            if line.sent and line.message.startswith(('{"type":"l2', '{"type":"match')):
                yield line.t, messages.decode(line.message)


def _line(
    name: str, sightings: Sightings, sent: Mapping[Key, float], span: tuple[float, float]
) -> dict[str, object]:
    rows, seen = sightings.rows(name, ("symbol", _KEYS[name], "received_at"))
    keys: Any = rows.column(_KEYS[name]).cast(pa.int64()).to_pylist()
    received: Any = rows.column("received_at").cast(pa.int64()).to_pylist()
    symbols: Any = rows.column("symbol").to_pylist()
    sent_at = map(sent.get, zip(symbols, keys, strict=True))
    found = [
        (seen_at - moment, received_us / 1e6 - moment)
        for moment, seen_at, received_us in zip(sent_at, seen, received, strict=True)
        if moment is not None and span[0] <= moment <= span[1]
    ]
    if not found:
        raise _timing.MeasureError(f"{name}: no row could be told apart; run it for longer")
    delays, on_the_way = np.array(found).T
    expected = sum(span[0] <= moment <= span[1] for moment in sent.values())
    return {
        "table": name,
        "messages sent": expected,
        "rows measured": len(found),
        "p50 s": float(np.quantile(delays, 0.5)),
        "p99 s": float(np.quantile(delays, 0.99)),
        "most s": float(delays.max()),
        "send to received, p99 ms": float(np.quantile(on_the_way, 0.99)) * 1e3,
    }


def _parse(options: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="freshness")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=1_000.0, help="messages a second")
    parser.add_argument("--products", type=int, default=20)
    asked = parser.parse_args(options)
    if asked.seconds > _LONGEST_SECONDS:
        parser.error(f"--seconds: at most {_LONGEST_SECONDS:g}; later, `maintain` merges files")
    return asked


if __name__ == "__main__":
    main(sys.argv[1:])
