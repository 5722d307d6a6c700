"""Made-up rows of features as a gateway carries them: quiet and restless times by turns.

In restless times spreads are wide and mids move: there is something to learn, with both labels.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.stored_rows import EPOCH
from quotewatch.clock import US_PER_SECOND
from quotewatch.frames import NARROW_DECIMAL, Frame, FrameEncoder, FrameId
from quotewatch.market import labels
from quotewatch.message import Message
from quotewatch.streams import FEATURES, TIME
from quotewatch.tables.gathering import Arrived

HORIZON_MS = 500
WINDOW_SECONDS = 0.25  # of a frame
MINUTE = 240  # frames

_FIRST_US = 1_795_219_200_000_000
_CONNS = 2
_CENT = 1_000_000  # in units of 1e-8
_NS_PER_US = 1_000

Numbers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class FeatureRows:
    """An endless market of so many products at so many rows a second in all."""

    def __init__(self, products: int, rows_a_second: float, seed: int = 1) -> None:
        self._symbols = pa.array([f"P{number:02}-USD" for number in range(products)], pa.string())
        self._random = np.random.default_rng(seed)
        self._step_us = US_PER_SECOND / rows_a_second
        self._cents = self._random.integers(5_000, 5_000_000, products)
        self._tick = np.maximum(self._cents // 10_000, 1)  # about 0.01 %
        self._done = 0
        self._seq = 0
        self.frame_rows = round(rows_a_second * WINDOW_SECONDS)

    def batch(self, count: int) -> pa.RecordBatch:
        """Make the next rows."""
        codes = self._random.integers(0, len(self._cents), count)
        arrivals = np.arange(self._done, self._done + count, dtype=np.int64)
        self._done += count
        times = _FIRST_US + (arrivals * self._step_us).astype(np.int64)
        restless = np.sin(times / (20 * US_PER_SECOND) + codes) > 0.6
        cents = self._walk(codes, restless)
        half = np.maximum(self._tick[codes] * (1 + 2 * restless), 1)
        columns: dict[str, Any] = {
            "symbol": self._words(codes),
            "book": pa.array(
                np.ones(count, np.int32)
            ),  # no ends: there is no journal to tell of them
            "exchange_time": pa.array(times).cast(TIME),
            "received_at": pa.array(times + self._random.integers(900, 9_000, count)).cast(TIME),
            "conn": pa.array((codes % _CONNS).astype(np.int32)),
            "arrival": pa.array(arrivals),
            "best_bid": _decimals((cents - half) * _CENT),
            "best_ask": _decimals((cents + half) * _CENT),
        }
        columns |= self._said(cents / 100, half / cents * 2e4, restless)
        names = FEATURES.schema.names
        return pa.RecordBatch.from_arrays([columns[name] for name in names], names=names)

    def frames(self, rows: int) -> Iterator[Arrived]:
        """Make so many rows as frames of a window, each with when the bus would have had it."""
        for first in range(0, rows, self.frame_rows):
            batch = self.batch(min(self.frame_rows, rows - first))
            received_ns = np.asarray(batch.column("received_at").cast(pa.int64())) * _NS_PER_US
            identity = FrameId(FEATURES.name, EPOCH, self._seq)
            self._seq += 1
            newest = int(received_ns.max())
            frame = Frame(identity, "bench", batch, int(received_ns.min()), newest)
            yield Arrived(frame, newest)

    def _said(self, mids: Floats, spreads: Floats, restless: Flags) -> dict[str, Any]:
        """Say of each row what a model is asked; trades are rare, some windows are empty."""
        random, count = self._random, mids.size
        volatility = random.gamma(2.0, 0.2 + 0.6 * restless)
        return {
            "mid": pa.array(mids),
            "spread_bps": pa.array(spreads.astype(np.float32)),
            "imbalance": pa.array(random.uniform(-1, 1, count).astype(np.float32)),
            "depth": pa.array(random.gamma(2.0, 50.0, count)),
            "microprice_bps": pa.array(random.normal(0, 1, count).astype(np.float32)),
            "order_flow_imbalance": pa.array(random.normal(0, 20, count)),
            "volatility": pa.array(volatility.astype(np.float32), mask=random.random(count) < 0.01),
            "trade_imbalance": pa.array(
                random.uniform(-1, 1, count).astype(np.float32), mask=random.random(count) < 0.6
            ),
        }

    def _walk(self, codes: Numbers, restless: Flags) -> Numbers:
        """Move each product's price on, row by row of it."""
        moving = self._random.random(codes.size) < 0.02 + 0.25 * restless
        moves = self._random.choice((-2, 2), codes.size) * moving * self._tick[codes]
        order = np.argsort(codes, kind="stable")
        sums = np.concatenate(([0], np.cumsum(moves[order])))
        starts = np.searchsorted(codes[order], np.arange(self._cents.size + 1))
        walked = np.empty(codes.size, np.int64)
        walked[order] = sums[1:] - sums[starts[codes[order]]]
        cents: Numbers = np.maximum(self._cents[codes] + walked, 100 * self._tick[codes])
        self._cents = np.maximum(self._cents + np.diff(sums[starts]), 100 * self._tick)
        return cents

    def _words(self, codes: Numbers) -> Any:  # noqa: ANN401 - the stubs know no kind of both
        indices: Any = pa.array(codes.astype(np.int8))
        return pa.DictionaryArray.from_arrays(indices, self._symbols)


def frames_of(rows: int, count: int) -> list[Message]:
    """Make so many messages with so many rows each, of 50 products."""
    market, encoder = FeatureRows(50, 500.0, seed=2), FrameEncoder()
    return [
        encoder.encode(Frame(FrameId(FEATURES.name, EPOCH, seq), "bench", market.batch(rows), 1, 2))
        for seq in range(count)
    ]


def plain(rows: pa.RecordBatch) -> labels.Rows:
    """Return rows of a market as the labeller takes them."""
    symbols: Any = rows.column("symbol")
    cents = np.rint(np.asarray(rows.column("mid")) * 100).astype(np.int64)
    return labels.Rows(
        np.asarray(symbols.indices.to_numpy(), np.int64),
        _numbers(rows, "conn"),
        _numbers(rows, "exchange_time"),
        _numbers(rows, "arrival"),
        cents * 2 * _CENT,
    )


def known(rows: labels.Rows) -> labels.Known:
    """Say that all of them are there, and nothing more: the last moments wait."""
    return labels.Known(features_until=int(rows.arrivals.max()))


def labelled(rows: pa.RecordBatch) -> tuple[pa.RecordBatch, npt.NDArray[np.int32]]:
    """Return the rows that have a label, and the labels."""
    numbers = plain(rows)
    asked = np.arange(rows.num_rows)
    outcome = labels.label(numbers, asked, HORIZON_MS * 1_000, known(numbers))
    there = np.flatnonzero(outcome.states == labels.State.LABELLED)
    places: Any = pa.array(there)
    return rows.take(places), outcome.labels[there]


def _numbers(rows: pa.RecordBatch, name: str) -> Numbers:
    return np.asarray(rows.column(name).cast(pa.int64()), np.int64)


def _decimals(units: Numbers) -> Any:  # noqa: ANN401 - the stubs differ
    """Make decimals of 1e-8 from whole numbers."""
    whole: Any = pa.array(units).cast(pa.decimal128(38, 0))
    return pa.Array.from_buffers(NARROW_DECIMAL, units.size, whole.buffers())
