"""A closed window of one stream: flat lists of plain values in, Arrow columns out.

Casting happens here, once a page and off the reading loop; columns are as narrow as the values of
the page allow.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from quotewatch.coinbase.values import LongSize, number_text
from quotewatch.frames import NARROW_DECIMAL
from quotewatch.market.features import Top, Windowed
from quotewatch.streams import DECIMAL, TIME

Column = list[Any]

# Flat rows: so many values a row, in this order.
BOOK_ROW = ("symbol", "book", "kind", "end", "exchange_us", "received_us", "conn", "feed_seq",
            "arrival")  # fmt: skip
TRADE_ROW = ("symbol", "trade_id", "price", "size", "taker_side", "sequence", "exchange_us",
             "received_us", "live", "conn", "arrival")  # fmt: skip
FEATURE_ROW = ("symbol", "book", "exchange_us", "received_us", "conn", "arrival", "depth",
               "top", "windowed")  # fmt: skip
EVENT_ROW = ("kind", "at_us", "received_us", "conn", "symbol", "book", "stream", "from_id",
             "to_id", "count", "reason", "arrival")  # fmt: skip

ROWS = {
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
    long_numbers: bool
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
        names = ROWS[self.stream]
        codes = set(self.rows[names.index("symbol") :: len(names)])
        return [self.symbols[code] for code in sorted(codes)]

    def build(self) -> pa.RecordBatch:
        """Turn the page into the columns of its stream, as narrow as the values allow."""
        return _BUILDERS[self.stream](self)


_BYTES_HELD_PER_VALUE = 90


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
    indices: Any = pa.array(codes, kind)
    return pa.DictionaryArray.from_arrays(indices, pa.array(words, pa.string()))


def _words(values: Column) -> "pa.DictionaryArray[Any, Any]":
    return pa.array(values, pa.string()).dictionary_encode()


def _changes(page: Page, ends: Column) -> "pa.Array[Any]":
    """Build list<struct<side, price, size>> from the flat changes."""
    keys, sizes = page.changes[0::2], page.changes[1::2]
    asks: pa.Array[Any]
    if len(keys) < _FEW or (page.long_numbers and {*map(type, keys), *map(type, sizes)} != {float}):
        prices = _decimals([number_text(-key if key < 0 else key) for key in keys])
        amounts = _decimals(
            [size.text if isinstance(size, LongSize) else number_text(size) for size in sizes]
        )
        asks = pa.array([int(key < 0) for key in keys], pa.int8())
    else:
        signed = pa.array(keys, pa.float64())
        prices, amounts = _exact(pc.abs(signed)), _exact(pa.array(sizes, pa.float64()))
        asks = pc.less(signed, pa.scalar(0.0)).cast(pa.int8())
    sides = pa.DictionaryArray.from_arrays(asks, _SIDES)
    fields = {"side": sides, "price": prices, "size": amounts}
    element = pa.StructArray.from_arrays(
        list(fields.values()),
        fields=[pa.field(name, array.type, nullable=False) for name, array in fields.items()],
    )
    kind = pa.list_(pa.field("element", element.type, nullable=False))
    offsets = pa.array([0, *(end // 2 for end in ends)], pa.int32())
    return pa.ListArray.from_arrays(offsets, element, type=kind)


_SIDES = pa.array(["bid", "ask"], pa.string())
_SCALE = pa.scalar(1e8)
_FEW = 150  # numbers whose texts cost less than ten calls of Arrow
_MOST_EXACT = pa.scalar(
    1e7
)  # below it, a float that came from eight decimals is one whole number of 1e-8


def _exact(values: "pa.Array[Any]") -> "pa.Array[Any]":
    """Turn floats of up to fifteen digits back into the decimals that they were spelled as."""
    units = pc.round(pc.multiply(values, _SCALE))
    # Two decimals of so few digits are never the same float: what comes back unchanged was exact.
    odd = pc.or_(
        pc.not_equal(pc.divide(units, _SCALE), values), pc.greater_equal(values, _MOST_EXACT)
    )
    if not pc.any(odd).as_py():
        return _of_units(units)
    # Large sizes of cheap coins, or more than eight decimals: by way of their texts.
    rest: Column = values.filter(odd).to_pylist()
    others = _decimals([number_text(value) for value in rest])
    usual = _of_units(pc.if_else(odd, pa.scalar(0.0), units)).cast(others.type)
    exact: pa.Array[Any] = pc.replace_with_mask(usual, odd, others)
    return exact


def _of_units(units: "pa.Array[Any]") -> "pa.Array[Any]":
    whole = units.cast(pa.int64()).cast(pa.decimal128(38, 0))
    return pa.Array.from_buffers(NARROW_DECIMAL, len(whole), whole.buffers())


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


def _fields(kind: type[Top] | type[Windowed], records: Column) -> dict[str, Column]:
    return {
        name: list(values)
        for name, values in zip(kind._fields, zip(*records, strict=True), strict=True)
    }


def _features(page: Page) -> pa.RecordBatch:
    column = _columns(page, FEATURE_ROW)
    values = _fields(Top, column["top"]) | _fields(Windowed, column["windowed"])
    values["depth"] = column["depth"]  # newer than that of the top
    columns: dict[str, pa.Array[Any]] = {
        "symbol": _codes(column["symbol"], page.symbols),
        "book": pa.array(column["book"], pa.int32()),
        "exchange_time": _times(column["exchange_us"]),
        "received_at": _times(column["received_us"]),
        "conn": pa.array(column["conn"], pa.int32()),
        "arrival": pa.array(column["arrival"], pa.int64()),
        "best_bid": _decimals(values["best_bid"]),
        "best_ask": _decimals(values["best_ask"]),
    }
    for name, kind in _FEATURE_KINDS.items():
        columns[name] = pa.array(values[name], kind)
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
