"""What the soak publishes: frames whose rows can all be told apart, good, repeated and unreadable.

One life of a gateway each: an epoch and products of its own, so that a row says where it belongs.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.stored_rows import Rows
from quotewatch.clock import new_epoch
from quotewatch.frames import NARROW_DECIMAL, Frame, FrameEncoder, FrameId
from quotewatch.message import Message
from quotewatch.streams import FEATURES, RAW_ORDERBOOK, RAW_TRADES, TIME

STREAMS = (RAW_ORDERBOOK.name, RAW_TRADES.name, FEATURES.name)
FRAME_ROWS = 100
SHUFFLED = 12  # frames among which the order is lost

TWICE = 0.03
BY_TWO_GATEWAYS = 0.05  # of the frames of trades: the same trades under another epoch
UNREADABLE = 0.02
SOON_READABLE = 0.5  # of those: the frame itself comes as well
NAMELESS = 0.2  # of those that stay unreadable: not even their attributes can be read

GOOD, BROKEN, LOST_NAME = "good", "broken", "nameless"
_DAY_US = 86_400_000_000
_JUNK = b"these bytes are no frame "


@dataclass(frozen=True, slots=True)
class Sent:
    """One message and all that a proof has to know about it."""

    message: Message
    stream: str
    kind: str
    epoch: str
    seq: int
    first_arrival: int
    trades: Mapping[str, tuple[int, int]]  # product -> first and last id; without holes

    def plain(self) -> dict[str, Any]:
        """Return it as the log has it, without the message."""
        return {
            "stream": self.stream,
            "kind": self.kind,
            "epoch": self.epoch,
            "seq": self.seq,
            "arrival": self.first_arrival,
            "trades": self.trades,
        }


class Life:
    """What one gateway sends between two deaths."""

    def __init__(self, number: int, seed: int, now_ns: int) -> None:
        self._number = number
        self._epoch = new_epoch(now_ns)
        self._twin = f"{self._epoch}-twin"
        self._now_us = now_ns // 1_000
        self._random = random.Random(f"{seed} {number}")
        self._rows = {name: Rows(name, seed + number) for name in STREAMS}
        self._seq = dict.fromkeys((*STREAMS, self._twin), 0)
        self._encoder = FrameEncoder()

    def messages(self) -> Iterator[Sent]:
        """Yield without end, in an order of its own."""
        waiting: list[Sent] = []
        while True:
            waiting += self._next(self._random.choice(STREAMS))
            while len(waiting) > SHUFFLED:
                yield waiting.pop(self._random.randrange(len(waiting)))

    def _next(self, stream: str) -> list[Sent]:
        batch = self._batch(stream)
        whole = self._frame(stream, self._epoch, batch)
        chance = self._random.random()
        if chance < UNREADABLE:
            return self._unreadable(whole)
        if chance < UNREADABLE + TWICE:
            return [whole, whole]
        if stream == RAW_TRADES.name and chance < UNREADABLE + TWICE + BY_TWO_GATEWAYS:
            return [whole, self._frame(stream, self._twin, batch)]
        return [whole]

    def _unreadable(self, whole: Sent) -> list[Sent]:
        junk = _JUNK + self._random.randbytes(16)
        broken = replace(whole, kind=BROKEN, message=Message(junk, whole.message.attributes))
        if self._random.random() < SOON_READABLE:
            return [broken, whole]
        if self._random.random() < NAMELESS:
            return [replace(broken, kind=LOST_NAME, message=Message(junk, {}))]
        return [broken]

    def _frame(self, stream: str, epoch: str, batch: pa.RecordBatch) -> Sent:
        line = epoch if epoch == self._twin else stream
        seq, self._seq[line] = self._seq[line], self._seq[line] + 1
        frame = Frame(FrameId(stream, epoch, seq), "soak", batch, 1, 2)
        arrival: Any = batch.column("arrival")[0].as_py()
        trades = _trades_in(batch) if stream == RAW_TRADES.name else {}
        return Sent(self._encoder.encode(frame), stream, GOOD, epoch, seq, arrival, trades)

    def _batch(self, stream: str) -> pa.RecordBatch:
        """Make rows of today, or of a day that is over: those are compacted at once."""
        batch = self._rows[stream].batch(FRAME_ROWS)
        columns: dict[str, Any] = dict(zip(batch.schema.names, batch.columns, strict=True))
        words = [f"{self._number}{word}" for word in columns["symbol"].dictionary.to_pylist()]
        columns["symbol"] = pa.DictionaryArray.from_arrays(
            columns["symbol"].indices, pa.array(words)
        )
        begin = self._now_us - (_DAY_US if self._random.random() < 0.3 else 0)
        times = pa.array(begin + np.arange(FRAME_ROWS)).cast(TIME)
        columns |= {"exchange_time": times, "received_at": times}
        if stream == FEATURES.name:
            columns |= _features(columns.pop("changes"))
        return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _features(changes: Any) -> dict[str, Any]:  # noqa: ANN401 - the stubs differ
    """Make features of any value from the numbers of a book."""
    flat = changes.flatten()
    prices = flat.field("price").slice(0, FRAME_ROWS).cast(NARROW_DECIMAL)
    values = np.arange(FRAME_ROWS, dtype=np.float64)
    doubles = ("mid", "depth", "order_flow_imbalance")
    floats = ("spread_bps", "imbalance", "microprice_bps", "volatility", "trade_imbalance")
    return {
        "best_bid": prices,
        "best_ask": prices,
        **{name: pa.array(values) for name in doubles},
        **{name: pa.array(values.astype(np.float32)) for name in floats},
    }


def _trades_in(batch: pa.RecordBatch) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    symbols: list[Any] = batch.column("symbol").to_pylist()
    ids: list[Any] = batch.column("trade_id").to_pylist()
    for symbol, number in zip(symbols, ids, strict=True):
        first, last = found.get(symbol, (number, number))
        found[symbol] = (min(first, number), max(last, number))
    return found
