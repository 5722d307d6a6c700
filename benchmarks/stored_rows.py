"""Made-up rows of trades and books as a gateway encodes them: 20 products, a walk of prices."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quotewatch.frames import NARROW_DECIMAL, Frame, FrameEncoder, FrameId
from quotewatch.message import Message
from quotewatch.streams import RAW_TRADES, STREAMS, TIME

EPOCH = "18e9f11d4503c651-851830cc"
PRODUCTS = tuple(f"{base}-USD" for base in "ABCDEFGHIJKLMNOPQRST")
FRAME_ROWS = 1_000
_LEVELS = 5
_FIRST_US = 1_795_219_200_000_000
_US_A_ROW = 500
_EIGHT = 100_000_000

Numbers = npt.NDArray[np.int64]


class Rows:
    """An endless market, cut into frames: the same seed makes the same rows."""

    def __init__(self, stream: str, seed: int = 1) -> None:
        self._stream = stream
        self._random = np.random.default_rng(seed)
        self._done = 0
        self._seq = 0
        self._prices = self._random.integers(1_000, 9_000_000, len(PRODUCTS)) * (_EIGHT // 100)
        self._ids = np.full(len(PRODUCTS), 1_000_000, np.int64)
        self._encoder = FrameEncoder()

    def batch(self, count: int) -> pa.RecordBatch:
        """Make the next rows."""
        codes = self._random.integers(0, len(PRODUCTS), count)
        arrivals = np.arange(self._done, self._done + count, dtype=np.int64)
        self._done += count
        times = _FIRST_US + arrivals * _US_A_ROW
        columns = {
            "symbol": _words(codes, PRODUCTS),
            "exchange_time": pa.array(times).cast(TIME),
            "received_at": pa.array(times + self._random.integers(900, 9_000, count)).cast(TIME),
            "conn": pa.array(np.zeros(count, np.int32)),
            "arrival": pa.array(arrivals),
        }
        columns |= self._trades(codes) if self._stream == RAW_TRADES.name else self._book(codes)
        order = STREAMS[self._stream].schema.names
        # In the order of a gateway; what the stream does not have is for the caller.
        names = sorted(columns, key=lambda name: order.index(name) if name in order else len(order))
        return pa.RecordBatch.from_arrays([columns[name] for name in names], names=names)

    def frames(self, rows: int, each: int = FRAME_ROWS) -> Iterator[Message]:
        """Make so many rows, as messages of the bus."""
        for first in range(0, rows, each):
            batch = self.batch(min(each, rows - first))
            identity = FrameId(self._stream, EPOCH, self._seq)
            self._seq += 1
            yield self._encoder.encode(Frame(identity, "bench", batch, 1, 2))

    def _trades(self, codes: Numbers) -> dict[str, Any]:
        count = codes.size
        return {
            "trade_id": pa.array(self._next_ids(codes)),
            "price": _decimals(self._walk(codes)),
            "size": _decimals(self._random.integers(1, 50_000_000, count)),
            "taker_side": _words(self._random.integers(0, 2, count), ("buy", "sell")),
            "source": _words(np.zeros(count, np.int64), ("ws",)),
            "live": pa.array(np.ones(count, np.bool_)),
            "sequence": pa.array(np.arange(self._done, self._done + count) * 7),
        }

    def _book(self, codes: Numbers) -> dict[str, Any]:
        count = codes.size
        prices = np.repeat(self._walk(codes), _LEVELS)
        steps = self._random.integers(-200, 200, count * _LEVELS) * (_EIGHT // 100)
        sizes = self._random.integers(1, 500_000_000, count * _LEVELS)
        sizes[self._random.random(sizes.size) < 0.3] = 0  # levels that go
        element = pa.StructArray.from_arrays(
            [
                _words(self._random.integers(0, 2, sizes.size), ("bid", "ask")),
                _decimals(np.maximum(prices + steps, _EIGHT // 100)),
                _decimals(sizes),
            ],
            names=["side", "price", "size"],
        )
        offsets: Any = pa.array(np.arange(0, sizes.size + 1, _LEVELS, dtype=np.int32))
        return {
            "book": pa.array(np.ones(count, np.int32)),
            "kind": _words(np.zeros(count, np.int64), ("update",)),
            "changes": pa.ListArray.from_arrays(offsets, element),
            "feed_seq": pa.nulls(count, pa.int64()),
        }

    def _walk(self, codes: Numbers) -> Numbers:
        moves = self._random.integers(-3, 4, codes.size) * (_EIGHT // 100)
        order = np.argsort(codes, kind="stable")
        sums = np.cumsum(moves[order])
        starts = np.searchsorted(codes[order], np.arange(len(PRODUCTS)))
        before = np.concatenate(([0], sums))[starts]
        walked = np.empty(codes.size, np.int64)
        walked[order] = self._prices[codes[order]] + sums - before[codes[order]]
        return np.maximum(walked, _EIGHT // 100)

    def _next_ids(self, codes: Numbers) -> Numbers:
        order = np.argsort(codes, kind="stable")
        counts = np.bincount(codes, minlength=len(PRODUCTS))
        starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
        ids = np.empty(codes.size, np.int64)
        ids[order] = self._ids[codes[order]] + np.arange(codes.size) - starts[codes[order]]
        self._ids += counts
        return ids


def _words(codes: Numbers, words: tuple[str, ...]) -> Any:  # noqa: ANN401 - the stubs differ
    indices: Any = pa.array(codes.astype(np.int8))
    return pa.DictionaryArray.from_arrays(indices, pa.array(words, pa.string()))


def _decimals(units: Numbers) -> Any:  # noqa: ANN401 - the stubs differ
    """Make decimals of 1e-8 from whole numbers, two words each."""
    words = np.stack((units, units >> 63), axis=1)
    return pa.Array.from_buffers(NARROW_DECIMAL, units.size, [None, pa.py_buffer(words.tobytes())])
