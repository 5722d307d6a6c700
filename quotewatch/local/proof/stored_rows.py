"""Frames of the raw streams in, their rows as plain values out, numbers as plain texts. Pure."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import pyarrow as pa

from quotewatch.frames import Frame
from quotewatch.local.proof.row_keys import Change
from quotewatch.tables.records import plain_texts


class BookRow(NamedTuple):
    """One row of raw_orderbook."""

    symbol: str
    book: int
    kind: str
    changes: list[Change]
    exchange_us: int | None
    conn: int
    arrival: int


class TradeRow(NamedTuple):
    """One row of raw_trades."""

    symbol: str
    trade_id: int
    price: str
    size: str
    taker_side: str
    exchange_us: int
    live: bool
    conn: int | None
    arrival: int | None


def book_rows(frame: Frame) -> Iterator[BookRow]:
    """Yield the rows of a raw_orderbook frame."""
    rows = frame.rows
    lists: Any = rows.column("changes")
    flat = lists.flatten()
    sides = flat.field("side").to_pylist()
    prices, sizes = plain_texts(flat.field("price")), plain_texts(flat.field("size"))
    changes = list(zip(sides, prices, sizes, strict=True))
    ends = _ends(lists)
    columns = [
        rows.column("symbol").to_pylist(),
        rows.column("book").to_pylist(),
        rows.column("kind").to_pylist(),
        [changes[a:b] for a, b in pairwise([0, *ends])],
        _microseconds(rows, "exchange_time"),
        rows.column("conn").to_pylist(),
        rows.column("arrival").to_pylist(),
    ]
    yield from map(BookRow._make, zip(*columns, strict=True))


def trade_rows(frame: Frame) -> Iterator[TradeRow]:
    """Yield the rows of a raw_trades frame."""
    rows = frame.rows
    columns = [
        rows.column("symbol").to_pylist(),
        rows.column("trade_id").to_pylist(),
        plain_texts(rows.column("price")),
        plain_texts(rows.column("size")),
        rows.column("taker_side").to_pylist(),
        _microseconds(rows, "exchange_time"),
        rows.column("live").to_pylist(),
        rows.column("conn").to_pylist(),
        rows.column("arrival").to_pylist(),
    ]
    yield from map(TradeRow._make, zip(*columns, strict=True))


def _ends(lists: Any) -> list[int]:  # noqa: ANN401 - the stubs do not know its type
    ends, end = [], 0
    for length in lists.value_lengths().to_pylist():
        end += length
        ends.append(end)
    return ends


def _microseconds(rows: pa.RecordBatch, name: str) -> list[Any]:
    return rows.column(name).cast(pa.int64()).to_pylist()
