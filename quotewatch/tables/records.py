"""Stored rows as the records the live path works with: Arrow columns in, records out. Pure.

Numbers are plain texts, as the feed spells them; times are microseconds since 1970.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from quotewatch.coinbase.values import price_key
from quotewatch.market.features import Windowed
from quotewatch.market.replay import BookRow, FeatureRow, TradeRow
from quotewatch.streams import FEATURES, LINEAGE, RAW_ORDERBOOK, RAW_TRADES

NO_ARRIVAL = -1  # of a trade that was fetched over REST: it came with no message
_BATCH_ROWS = 4_096  # turned into objects at a time: an hour of them would fill the memory
_as_float32 = struct.Struct("<f")


@dataclass(frozen=True, slots=True)
class BookRecord(BookRow):
    """One stored row of raw_orderbook; `made` where the reader put a book together itself."""

    received_us: int
    epoch: str
    conn: int
    made: bool = False


@dataclass(frozen=True, slots=True)
class TradeRecord(TradeRow):
    """One stored row of raw_trades; `arrival` is NO_ARRIVAL where REST brought it."""

    trade_id: int
    price: str
    received_us: int
    epoch: str
    source: str


class StoredTop(NamedTuple):
    """What the features table keeps of a Top; the sizes of the best levels it does not."""

    best_bid: str
    best_ask: str
    mid: float
    spread_bps: float
    imbalance: float
    depth: float
    microprice_bps: float


@dataclass(frozen=True, slots=True)
class FeatureRecord:
    """One stored row of features, read like a FeatureRow."""

    symbol: str
    book: int
    exchange_us: int
    arrival: int
    top: StoredTop
    windowed: Windowed
    received_us: int
    epoch: str

    def equals(self, row: FeatureRow) -> bool:
        """Say whether a computed row is this one, bit for bit in the columns' own widths."""
        if (self.symbol, self.book, self.exchange_us, self.arrival) != (
            row.symbol, row.book, row.exchange_us, row.arrival,
        ):  # fmt: skip
            return False
        for name in ("best_bid", "best_ask"):
            if price_key(getattr(self.top, name)) != price_key(getattr(row.top, name)):
                return False
        ours = {**self.top._asdict(), **self.windowed._asdict()}
        theirs = {**row.top._asdict(), **row.windowed._asdict()}
        return all(ours[name] == _stored(name, theirs[name]) for name in _FLOATS)


_FLOATS = tuple(field.name for field in FEATURES.schema if pa.types.is_floating(field.type))
_NARROW = {field.name for field in FEATURES.schema if field.type == pa.float32()}


def _stored(name: str, value: float | None) -> float | None:
    if value is None or name not in _NARROW:
        return value
    narrow: float = _as_float32.unpack(_as_float32.pack(value))[0]
    return narrow


# From columns


@dataclass(frozen=True, slots=True)
class Kind:
    """How the rows of one table become records."""

    table: str
    columns: tuple[str, ...]
    records: Callable[[pa.Table], Iterator[Any]]


def books(rows: pa.Table) -> Iterator[BookRecord]:
    """Yield the records of raw_orderbook rows."""
    for part in _parts(rows):
        columns = [
            _values(part, "symbol"),
            _values(part, "book"),
            [kind == "snapshot" for kind in _values(part, "kind")],
            _changes(part),
            _microseconds(part, "exchange_time"),
            _values(part, "arrival"),
            _microseconds(part, "received_at"),
            _values(part, "epoch"),
            _values(part, "conn"),
        ]
        yield from map(BookRecord, *columns)


def trades(rows: pa.Table) -> Iterator[TradeRecord]:
    """Yield the records of raw_trades rows."""
    for part in _parts(rows):
        columns = [
            _values(part, "symbol"),
            [side == "buy" for side in _values(part, "taker_side")],
            plain_texts(part.column("size")),
            _microseconds(part, "exchange_time"),
            _values(part, "live"),
            [NO_ARRIVAL if each is None else each for each in _values(part, "arrival")],
            _values(part, "trade_id"),
            plain_texts(part.column("price")),
            _microseconds(part, "received_at"),
            _values(part, "epoch"),
            _values(part, "source"),
        ]
        yield from map(TradeRecord, *columns)


def features(rows: pa.Table) -> Iterator[FeatureRecord]:
    """Yield the records of features rows."""
    for part in _parts(rows):
        best = [plain_texts(part.column(name)) for name in StoredTop._fields[:2]]
        tops = map(StoredTop, *best, *(_values(part, name) for name in StoredTop._fields[2:]))
        windowed = map(Windowed, *(_values(part, name) for name in Windowed._fields))
        columns = [
            _values(part, "symbol"),
            _values(part, "book"),
            _microseconds(part, "exchange_time"),
            _values(part, "arrival"),
            tops,
            windowed,
            _microseconds(part, "received_at"),
            _values(part, "epoch"),
        ]
        yield from map(FeatureRecord, *columns)


_LINEAGE = tuple(LINEAGE.names)
_COMMON = ("symbol", "exchange_time", "received_at", "arrival", *_LINEAGE)

BOOKS = Kind(RAW_ORDERBOOK.name, ("book", "kind", "changes", "conn", *_COMMON), books)
TRADES = Kind(
    RAW_TRADES.name,
    ("trade_id", "price", "size", "taker_side", "source", "live", *_COMMON),
    trades,
)
FEATURE_ROWS = Kind(
    FEATURES.name, ("book", *StoredTop._fields, *Windowed._fields, *_COMMON), features
)


def plain_texts(decimals: Any) -> list[str]:  # noqa: ANN401 - the stubs do not know its type
    """Spell decimals plainly. In Arrow: a full book has 46 000 levels, a Decimal each is slow."""
    texts: Any = decimals.cast(pa.string())
    tiny = pc.match_substring(texts, "E")  # below a millionth, and zero: 0E-18
    trimmed = pc.ascii_rtrim(pc.ascii_rtrim(texts, "0"), ".")  # all others have 18 decimals
    return [
        format(Decimal(text), "f").rstrip("0").rstrip(".") or "0" if "E" in text else text
        for text in pc.if_else(tiny, texts, trimmed).to_pylist()
    ]


def _parts(rows: pa.Table) -> Iterator[pa.RecordBatch]:
    return iter(rows.to_batches(max_chunksize=_BATCH_ROWS))


def _changes(part: pa.RecordBatch) -> list[list[tuple[str, str, str]]]:
    lists: Any = part.column("changes")
    flat = lists.flatten()
    sides = flat.field("side").to_pylist()
    prices, sizes = plain_texts(flat.field("price")), plain_texts(flat.field("size"))
    changes = list(zip(sides, prices, sizes, strict=True))
    ends = pc.cumulative_sum(lists.value_lengths()).to_pylist()
    return [changes[begin:end] for begin, end in pairwise([0, *ends])]


def _values(part: pa.RecordBatch, name: str) -> list[Any]:
    return part.column(name).to_pylist()


def _microseconds(part: pa.RecordBatch, name: str) -> list[Any]:
    return part.column(name).cast(pa.int64()).to_pylist()
