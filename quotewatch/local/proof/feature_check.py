"""Features that are there against what the raw rows lead to, bit for bit. Pure.

Worth asking only where the raw streams are complete: a missing row changes all that follow.
"""

import heapq
import struct
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from quotewatch.frames import Frame
from quotewatch.local.proof.evidence import frames_of
from quotewatch.local.proof.row_keys import plain_text
from quotewatch.local.proof.sources import Source
from quotewatch.local.proof.stored_rows import book_rows, trade_rows
from quotewatch.market import replay
from quotewatch.market.labels import NEVER

_NULL = struct.pack("<d", float("nan"))


class FeatureCheck(NamedTuple):
    """Rows that should be there and are not, are there too often, or should not be."""

    missing: int
    duplicates: int
    unexpected: int


def check_features(
    source: Source, epochs: Sequence[str], crashed: Collection[str] = ()
) -> FeatureCheck:
    """Recompute every row of features and compare; of crashed epochs what every stream reaches."""
    missing = duplicates = unexpected = 0
    for epoch in epochs:
        until = _reached(source, epoch) if epoch in crashed else NEVER
        stored = Counter(_stored(source, epoch, until))
        wanted = Counter(_recomputed(source, epoch, until))
        missing += (wanted - stored).total()
        for key, surplus in (stored - wanted).items():
            if key in wanted:
                duplicates += surplus
            else:
                unexpected += surplus
    return FeatureCheck(missing, duplicates, unexpected)


def _reached(source: Source, epoch: str) -> int:
    """Return the last arrival of the stream that came least far: a kill loses open windows."""
    lasts = []
    for stream in ("raw_orderbook", "raw_trades", "features"):
        arrivals = (frame.rows.column("arrival") for frame in frames_of(source, stream, epoch))
        lasts.append(max((pc.max(each).as_py() for each in arrivals if len(each)), default=-1))
    return min(lasts)


def _recomputed(source: Source, epoch: str, until: int) -> Iterator[bytes]:
    books = (
        replay.BookRow(row.symbol, row.book, row.kind == "snapshot", row.changes, row.exchange_us,
                       row.arrival)
        for frame in frames_of(source, "raw_orderbook", epoch)
        for row in book_rows(frame)
    )  # fmt: skip
    trades = (
        replay.TradeRow(row.symbol, row.taker_side == "buy", row.size, row.exchange_us, row.live,
                        row.arrival)
        for frame in frames_of(source, "raw_trades", epoch)
        for row in trade_rows(frame)
        if row.arrival is not None  # REST rows never enter a window
    )  # fmt: skip
    rows: Iterable[replay.BookRow | replay.TradeRow] = heapq.merge(books, trades, key=_arrival)
    for row in replay.recompute(rows):
        if row.arrival > until:
            continue
        top, windowed = row.top, row.windowed
        yield _key(
            row.symbol, row.book, row.exchange_us, row.arrival,
            plain_text(top.best_bid), plain_text(top.best_ask),
            [top.mid, top.depth, windowed.order_flow_imbalance],
            [top.spread_bps, top.imbalance, top.microprice_bps, windowed.volatility,
             windowed.trade_imbalance],
        )  # fmt: skip


def _arrival(row: replay.BookRow | replay.TradeRow) -> int:
    return row.arrival


_DOUBLES = ("mid", "depth", "order_flow_imbalance")
_SINGLES = ("spread_bps", "imbalance", "microprice_bps", "volatility", "trade_imbalance")


def _stored(source: Source, epoch: str, until: int) -> Iterator[bytes]:
    for frame in frames_of(source, "features", epoch):
        yield from _stored_in(frame, until)


def _stored_in(frame: Frame, until: int) -> Iterator[bytes]:
    times: list[Any] = frame.rows.column("exchange_time").cast(pa.int64()).to_pylist()
    for row, exchange_us in zip(frame.rows.to_pylist(), times, strict=True):
        if row["arrival"] > until:
            continue
        yield _key(
            row["symbol"], row["book"], exchange_us, row["arrival"],
            plain_text(row["best_bid"]), plain_text(row["best_ask"]),
            [row[name] for name in _DOUBLES], [row[name] for name in _SINGLES],
        )  # fmt: skip


def _key(
    symbol: str,
    book: int,
    exchange_us: int,
    arrival: int,
    bid: str,
    ask: str,
    doubles: Sequence[float | None],
    singles: Sequence[float | None],
) -> bytes:
    digest = blake2b(f"{symbol} {book} {exchange_us} {arrival} {bid} {ask}".encode())
    for pack, values in ((_DOUBLE, doubles), (_SINGLE, singles)):
        for value in values:
            digest.update(_NULL if value is None else pack(value))
    return digest.digest()


Pack = Callable[[float], bytes]
_DOUBLE: Pack = struct.Struct("<d").pack
_SINGLE: Pack = struct.Struct("<f").pack  # rounds to the nearest, as the column does
