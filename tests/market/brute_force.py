"""Labels the slow way: a look at every row for every row, in decimals. What the real one must say.

Everything is known here: all rows of an epoch and all its journal, nothing is on its way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

LATENESS_US = 2_000_000
Book = tuple[str, int]


@dataclass(frozen=True)
class Row:
    """One features row."""

    symbol: str
    book: int
    conn: int
    us: int
    arrival: int
    bid: Decimal
    ask: Decimal

    @property
    def life(self) -> Book:
        return self.symbol, self.book


@dataclass(frozen=True)
class End:
    """An entry of the journal that ends books: of a product, of a connection, or all."""

    arrival: int
    symbol: str | None = None
    book: int | None = None  # this and all before
    conn: int | None = None


def ended(row: Row, rows: Sequence[Row], ends: Sequence[End]) -> int | None:
    """Return the arrival at which the book of a row ended."""
    told = [end.arrival for end in ends if _is_of(end, row)]
    told += [x.arrival for x in rows if x.symbol == row.symbol and x.book > row.book]
    return min(told, default=None)


def _is_of(end: End, row: Row) -> bool:
    if end.symbol is not None:
        return end.symbol == row.symbol and end.book is not None and row.book <= end.book
    return end.conn is None or end.conn == row.conn


def label_of(
    row: Row, rows: Sequence[Row], ends: Sequence[End], horizon_us: int
) -> tuple[int, Row] | None:
    """Return the label of a row and the row in force at its horizon; None if it has none."""
    target = row.us + horizon_us
    mine = [x for x in rows if x.conn == row.conn]
    end = ended(row, rows, ends)
    before_the_end = [x for x in mine if end is None or x.arrival <= end]
    if all(x.us < target for x in before_the_end):
        return None  # it ended, or the connection fell silent, before the horizon
    if all(x.us - LATENESS_US <= target for x in mine):
        return None
    book = [x for x in rows if x.life == row.life and x.us <= target]
    then = max(book, key=lambda x: (x.us, x.arrival))
    before, after = row.bid + row.ask, then.bid + then.ask
    return int(abs(after - before) * 10_000 > before), then
