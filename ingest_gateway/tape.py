"""What the gateway writes down between two frames, column by column, and how it becomes rows.

The loop appends plain values to flat lists and keeps no decoded object: that alone would cost more
than decoding. Casting text to decimals happens once a frame, in Arrow, off the loop.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from quotewatch.frames import NARROW_DECIMAL
from quotewatch.streams import DECIMAL, TIME

Column = list[Any]

# Flat rows: so many values a row, in this order.
BOOK_ROW = ("symbol", "book", "kind", "end", "exchange_us", "received_us", "conn", "feed_seq",
            "arrival")  # fmt: skip
TRADE_ROW = ("symbol", "trade_id", "price", "size", "taker_side", "sequence", "exchange_us",
             "received_us", "live", "conn", "arrival")  # fmt: skip
FEATURE_ROW = ("symbol", "book", "exchange_us", "received_us", "conn", "arrival",
               "best_bid", "best_ask", "mid", "spread_bps", "imbalance", "depth", "microprice_bps",
               "bid", "bid_size", "ask", "ask_size",
               "volatility", "trade_imbalance", "order_flow_imbalance")  # fmt: skip
EVENT_ROW = ("kind", "at_us", "received_us", "conn", "symbol", "book", "stream", "from_id",
             "to_id", "count", "reason", "arrival")  # fmt: skip

_NAMES = {
    "raw_orderbook": BOOK_ROW,
    "raw_trades": TRADE_ROW,
    "features": FEATURE_ROW,
    "events": EVENT_ROW,
}


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one stream in one window, still as flat lists; `build` makes Arrow of them."""

    stream: str
    rows: Column
    changes: Column
    symbols: tuple[str, ...]
    count: int
    first_received_us: int
    last_received_us: int

    @property
    def held_bytes(self) -> int:
        """Estimate the memory the page holds: a value is a reference and often a short text."""
        return _BYTES_HELD_PER_VALUE * (len(self.rows) + len(self.changes))

    def products(self) -> list[str]:
        """Name the products that the rows are of; the journal is of none."""
        if self.stream == "events":
            return []
        names = _NAMES[self.stream]
        codes = set(self.rows[names.index("symbol") :: len(names)])
        return [self.symbols[code] for code in sorted(codes)]

    def build(self) -> pa.RecordBatch:
        """Turn the page into the columns of its stream, as narrow as the values allow."""
        return _BUILDERS[self.stream](self)


class Tape:
    """The open pages of all streams of one epoch."""

    __slots__ = (
        "arrival",
        "changes",
        "counts",
        "events",
        "features",
        "orderbook",
        "symbols",
        "trades",
    )

    def __init__(self) -> None:
        self.arrival = -1  # the number of the newest message
        self.counts: Counter[str] = Counter()  # messages by type
        self.symbols: list[str] = []
        self.orderbook: Column = []
        self.changes: Column = []  # side, price, size; an orderbook row ends at `end` of them
        self.trades: Column = []
        self.features: Column = []
        self.events: Column = []

    def rows_of(self, stream: str) -> int:
        """How many rows of the stream wait for their frame."""
        column, names = self._column(stream)
        return len(column) // len(names)

    def encoded_size(self, stream: str) -> int:
        """Guess the bytes that the open page would make, from above what captures show."""
        column, _ = self._column(stream)
        changes = len(self.changes) if stream == "raw_orderbook" else 0
        return len(column) * _BYTES_PER_VALUE + changes * _BYTES_PER_CHANGE_VALUE

    def take(self, stream: str) -> Page:
        """Close the open page of the stream and begin the next."""
        column, names = self._column(stream)
        received = names.index("received_us")
        stride = len(names)
        times = column[received::stride]
        changes: Column = []
        if stream == "raw_orderbook":
            changes = self.changes[:]
            self.changes.clear()
        page = Page(
            stream, column[:], changes, tuple(self.symbols), len(times), min(times), max(times)
        )
        column.clear()
        return page

    def _column(self, stream: str) -> tuple[Column, tuple[str, ...]]:
        match stream:
            case "raw_orderbook":
                return self.orderbook, BOOK_ROW
            case "raw_trades":
                return self.trades, TRADE_ROW
            case "features":
                return self.features, FEATURE_ROW
            case _:
                return self.events, EVENT_ROW


_BYTES_HELD_PER_VALUE = 40
_BYTES_PER_VALUE = 2  # measured 0.6 to 1.9 over both dialects
_BYTES_PER_CHANGE_VALUE = 3  # measured 1.8 to 2.9


def _columns(page: Page, names: Sequence[str]) -> dict[str, Column]:
    return {name: page.rows[at :: len(names)] for at, name in enumerate(names)}


def _decimals(texts: Column) -> "pa.Array[Any]":
    """Cast validated number texts: eight decimals where they fit, else the full width."""
    strings = pa.array(texts, pa.string())
    try:
        return strings.cast(NARROW_DECIMAL)
    except pa.ArrowInvalid:
        return strings.cast(DECIMAL)


def _times(values: Column) -> "pa.Array[Any]":
    return pa.array(values, pa.int64()).cast(TIME)


def _codes(codes: Column, words: Sequence[str]) -> "pa.Array[Any]":
    kind = pa.int8() if len(words) <= 127 else pa.int32()  # noqa: PLR2004
    return pa.DictionaryArray.from_arrays(pa.array(codes, kind), pa.array(words, pa.string()))


def _words(values: Column) -> "pa.DictionaryArray[Any, Any]":
    return pa.array(values, pa.string()).dictionary_encode()


_SIDES = {"buy": "bid", "sell": "ask", "bid": "bid", "offer": "ask"}


def _changes(page: Page, ends: Column) -> "pa.Array[Any]":
    """Build list<struct<side, price, size>> from the flat changes."""
    wire = _words(page.changes[0::3])
    sides = pa.DictionaryArray.from_arrays(
        wire.indices,
        pa.array([_SIDES[str(word)] for word in wire.dictionary.to_pylist()], pa.string()),
    )
    fields = {
        "side": sides,
        "price": _decimals(page.changes[1::3]),
        "size": _decimals(page.changes[2::3]),
    }
    element = pa.StructArray.from_arrays(
        list(fields.values()),
        fields=[pa.field(name, array.type, nullable=False) for name, array in fields.items()],
    )
    kind = pa.list_(pa.field("element", element.type, nullable=False))
    offsets = pa.array([0, *(end // 3 for end in ends)], pa.int32())
    return pa.ListArray.from_arrays(offsets, element, type=kind)


def _batch(columns: "dict[str, pa.Array[Any]]") -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _orderbook(page: Page) -> pa.RecordBatch:
    column = _columns(page, BOOK_ROW)
    return _batch(
        {
            "symbol": _codes(column["symbol"], page.symbols),
            "book": pa.array(column["book"], pa.int32()),
            "kind": _codes(column["kind"], ("update", "snapshot")),
            "changes": _changes(page, column["end"]),
            "received_at": _times(column["received_us"]),
            "conn": pa.array(column["conn"], pa.int32()),
            "arrival": pa.array(column["arrival"], pa.int64()),
            "exchange_time": _times(column["exchange_us"]),
            "feed_seq": pa.array(column["feed_seq"], pa.int64()),
        }
    )


def _trades(page: Page) -> pa.RecordBatch:
    column = _columns(page, TRADE_ROW)
    return _batch(
        {
            "symbol": _codes(column["symbol"], page.symbols),
            "trade_id": pa.array(column["trade_id"], pa.int64()),
            "price": _decimals(column["price"]),
            "size": _decimals(column["size"]),
            "taker_side": _codes(column["taker_side"], ("buy", "sell")),
            "exchange_time": _times(column["exchange_us"]),
            "received_at": _times(column["received_us"]),
            "source": _codes([0] * page.count, ("ws",)),
            "live": pa.array(column["live"], pa.bool_()),
            "conn": pa.array(column["conn"], pa.int32()),
            "arrival": pa.array(column["arrival"], pa.int64()),
            "sequence": pa.array(column["sequence"], pa.int64()),
        }
    )


def _features(page: Page) -> pa.RecordBatch:
    column = _columns(page, FEATURE_ROW)
    columns: dict[str, pa.Array[Any]] = {
        "symbol": _codes(column["symbol"], page.symbols),
        "book": pa.array(column["book"], pa.int32()),
        "exchange_time": _times(column["exchange_us"]),
        "received_at": _times(column["received_us"]),
        "conn": pa.array(column["conn"], pa.int32()),
        "arrival": pa.array(column["arrival"], pa.int64()),
        "best_bid": _decimals(column["best_bid"]),
        "best_ask": _decimals(column["best_ask"]),
    }
    for name, kind in _FEATURE_KINDS.items():
        columns[name] = pa.array(column[name], kind)
    return _batch(columns)


_FEATURE_KINDS: dict[str, pa.DataType] = {
    "mid": pa.float64(),
    "spread_bps": pa.float32(),
    "imbalance": pa.float32(),
    "depth": pa.float64(),
    "microprice_bps": pa.float32(),
    "order_flow_imbalance": pa.float64(),
    "volatility": pa.float32(),
    "trade_imbalance": pa.float32(),
}


def _events(page: Page) -> pa.RecordBatch:
    column = _columns(page, EVENT_ROW)
    return _batch(
        {
            "kind": _words(column["kind"]),
            "received_at": _times(column["received_us"]),
            "conn": pa.array(column["conn"], pa.int32()),
            "arrival": pa.array(column["arrival"], pa.int64()),
            "at": _times(column["at_us"]),
            "symbol": _words(column["symbol"]),
            "book": pa.array(column["book"], pa.int32()),
            "stream": _words(column["stream"]),
            "from_id": pa.array(column["from_id"], pa.int64()),
            "to_id": pa.array(column["to_id"], pa.int64()),
            "count": pa.array(column["count"], pa.int64()),
            "reason": _words(column["reason"]),
        }
    )


_BUILDERS: dict[str, Callable[[Page], pa.RecordBatch]] = {
    "raw_orderbook": _orderbook,
    "raw_trades": _trades,
    "features": _features,
    "events": _events,
}
