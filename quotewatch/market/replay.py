"""Features from stored rows: kept rows in, what the gateway computed live out, bit for bit. Pure.

Rows come in arrival order. A life of a book begins with its snapshot and ends where the rows say
so: at a crossed or one-sided book, or where the book number moves on.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from quotewatch.coinbase.values import price_key, size_value
from quotewatch.market.book import Book
from quotewatch.market.features import FeatureWindows, Top, Windowed, top_of


@dataclass(frozen=True, slots=True)
class BookRow:
    """One row of raw_orderbook; numbers as text."""

    symbol: str
    book: int
    snapshot: bool
    changes: Sequence[tuple[str, str, str]]  # side (`bid` or `ask`), price, size
    exchange_us: int | None
    arrival: int


@dataclass(frozen=True, slots=True)
class TradeRow:
    """One row of raw_trades."""

    symbol: str
    taker_buys: bool
    size: str
    exchange_us: int
    live: bool
    arrival: int


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """One row of features."""

    symbol: str
    book: int
    exchange_us: int
    arrival: int
    top: Top
    windowed: Windowed


class _Life:
    """One book from its snapshot on."""

    def __init__(self, row: BookRow, book: Book) -> None:
        self.number = row.book
        self.book = book
        self.top = top_of(book)
        self.windows = FeatureWindows(self.top)

    def apply(self, row: BookRow) -> FeatureRow | None:
        """Apply an update; return its features, or None where the book ends with it."""
        moved = [_put(self.book, side, price, size) for side, price, size in row.changes]
        if any(moved):
            if self.book.one_sided or self.book.crossed:
                return None
            self.top = top_of(self.book)
        if row.exchange_us is None:
            return None
        windowed = self.windows.update(row.exchange_us, self.top)
        return FeatureRow(row.symbol, row.book, row.exchange_us, row.arrival, self.top, windowed)


def recompute(rows: Iterable[BookRow | TradeRow]) -> Iterator[FeatureRow]:
    """Yield the features that rows of one epoch, in arrival order, lead to."""
    lives: dict[str, _Life] = {}
    for row in rows:
        life = lives.get(row.symbol)
        if isinstance(row, TradeRow):
            if life is not None and row.live:
                size = size_value(row.size)
                life.windows.trade(row.exchange_us, taker_buys=row.taker_buys, size=size)
        elif row.snapshot:
            lives.pop(row.symbol, None)
            book = _book_of(row)
            if not (book.one_sided or book.crossed):
                lives[row.symbol] = _Life(row, book)
        elif life is not None and life.number == row.book:
            features = life.apply(row)
            if features is None:
                del lives[row.symbol]
            else:
                yield features


def _book_of(row: BookRow) -> Book:
    sides: dict[str, list[tuple[str, str]]] = {"bid": [], "ask": []}
    for side, price, size in row.changes:
        sides[side].append((price, size))
    bids, asks = (
        [(price_key(price), size_value(size)) for price, size in sides[side]]
        for side in ("bid", "ask")
    )
    return Book(bids, asks)


def _put(book: Book, side: str, price: str, size: str) -> bool:
    put = book.put_bid if side == "bid" else book.put_ask
    return put(price_key(price), size_value(size))
