"""Stored rows back as the records they once were live, in order of time: replay is the live path.

Where two gateways ran at once, the newest epoch with a valid book of a product speaks for it at
each moment. What is in memory is one slice of time of the products asked for, whatever the range.
Each table is read as it was when the call was made.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from pyiceberg.expressions import And, GreaterThanOrEqual, LessThan
from pyiceberg.table import Table

from quotewatch.clock import US_PER_SECOND
from quotewatch.errors import QueryError
from quotewatch.streams import EVENTS, RAW_ORDERBOOK, TIME
from quotewatch.tables import journal
from quotewatch.tables.catalog import Tables
from quotewatch.tables.dataset import Current, current, read
from quotewatch.tables.failures import named
from quotewatch.tables.journal import Epoch
from quotewatch.tables.records import (
    BOOKS,
    FEATURE_ROWS,
    TRADES,
    BookRecord,
    FeatureRecord,
    Kind,
    TradeRecord,
)
from quotewatch.tables.resuming import book_after, resumed
from quotewatch.tables.slices import (
    STEP_BACK_US,
    Span,
    by_arrival,
    by_exchange_time,
    only_visible,
    records,
)
from quotewatch.tables.validity import Life, Visible, visible

_SLICE_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class _Choice:
    """Which epochs count: one, or at each moment the one that is shown, or all."""

    epoch: str | None = None
    shown: Visible | None = None


@dataclass(frozen=True, slots=True)
class _Source:
    """One table while it is read."""

    kind: Kind
    clock: str
    current: Current

    def read(self, symbols: Sequence[str], span: Span, choice: _Choice) -> pa.Table:
        """Return the rows of a span that count."""
        clock = ds.field(self.clock)
        chosen = (clock >= pa.scalar(span.from_us, TIME)) & (clock < pa.scalar(span.to_us, TIME))
        chosen &= ds.field("symbol").isin(list(symbols))
        if choice.epoch is not None:
            chosen &= ds.field("epoch") == choice.epoch
        if self.clock == "received_at":
            chosen &= ds.field("arrival").is_valid()  # a trade of REST did not come over the feed
        with named(self.kind.table):
            rows = read(self.current.rows, self.kind.columns, chosen)
        if choice.shown is not None and self.kind is not TRADES:
            return only_visible(rows, choice.shown)
        return rows


class Reader:
    """Reads the tables of one catalog.

    Ranges include their start and not their end. They are of `received_at`, the gateway's clock,
    except for `trades`, where they are of the exchange's.
    """

    def __init__(self, tables: Tables, *, slice_seconds: float = _SLICE_SECONDS) -> None:
        self._tables = tables
        self._slice_us = round(slice_seconds * US_PER_SECOND)

    def book(
        self,
        symbol: str,
        start: datetime,
        end: datetime,
        *,
        epoch: str | None = None,
        all_epochs: bool = False,
        opening: bool = False,
    ) -> Iterator[BookRecord]:
        """Yield the level-2 messages of a product.

        Where rows go over to a book that is under way, it comes before them as a snapshot with
        `made`; with `opening` also where the range begins within one.
        """
        choice = self._choice((symbol,), epoch=epoch, all_epochs=all_epochs)
        rows = self._by_arrival((BOOKS,), (symbol,), Span.of(start, end), choice)
        return rows if all_epochs else resumed(rows, self._book_before, opening=opening)

    def market(
        self,
        symbols: Sequence[str],
        start: datetime,
        end: datetime,
        *,
        epoch: str | None = None,
        all_epochs: bool = False,
        opening: bool = False,
    ) -> Iterator[BookRecord | TradeRecord]:
        """Yield what `recompute` takes: books, as `book` does, and the trades the feed brought.

        A trade is stored once, under the epoch that was stored first. By default the trades of all
        epochs come, with `epoch` only its own.
        """
        choice = self._choice(symbols, epoch=epoch, all_epochs=all_epochs)
        rows = self._by_arrival((BOOKS, TRADES), symbols, Span.of(start, end), choice)
        return rows if all_epochs else resumed(rows, self._book_before, opening=opening)

    def features(
        self,
        symbol: str,
        start: datetime,
        end: datetime,
        *,
        epoch: str | None = None,
        all_epochs: bool = False,
    ) -> Iterator[FeatureRecord]:
        """Yield the features of a product as they were computed live."""
        choice = self._choice((symbol,), epoch=epoch, all_epochs=all_epochs)
        return self._by_arrival((FEATURE_ROWS,), (symbol,), Span.of(start, end), choice)

    def trades(self, symbol: str, start: datetime, end: datetime) -> Iterator[TradeRecord]:
        """Yield the trades of a product by `exchange_time`, each once, whoever brought it."""
        span = Span.of(start, end)
        source = self._source(TRADES, "exchange_time", span)
        return self._by_exchange_time(source, symbol, span)

    def lives(self, symbols: Sequence[str]) -> list[Life]:
        """Return when the books of these products were valid, oldest first."""
        events, orderbook = self._table(EVENTS.name), self._table(RAW_ORDERBOOK.name)
        with named(EVENTS.name):
            return journal.lives(events, orderbook, symbols)

    def epochs(self) -> list[Epoch]:
        """Return the lives of gateways, oldest first."""
        events = self._table(EVENTS.name)
        with named(EVENTS.name):
            return journal.epochs(events)

    # How

    def _choice(self, symbols: Sequence[str], *, epoch: str | None, all_epochs: bool) -> _Choice:
        if epoch is not None and all_epochs:
            raise QueryError(f"epoch {epoch} and all_epochs exclude each other; give one of them")
        if epoch is not None or all_epochs:
            return _Choice(epoch)
        return _Choice(shown=visible(self.lives(symbols)))

    def _by_arrival(
        self, kinds: Sequence[Kind], symbols: Sequence[str], span: Span, choice: _Choice
    ) -> Iterator[Any]:
        """Plan what is read, then yield it slice by slice."""
        wide = span.widened(STEP_BACK_US)
        sources = [
            self._source(kind, "received_at", wide)
            for kind in kinds
            # Books without a single trade are a market, too.
            if kind is not TRADES or self._tables.find(kind.table) is not None
        ]
        slice_us = max(60 * US_PER_SECOND, self._slice_us // max(1, len(symbols)))
        return self._slices(sources, symbols, span, slice_us, choice)

    def _slices(
        self,
        sources: Sequence[_Source],
        symbols: Sequence[str],
        span: Span,
        slice_us: int,
        choice: _Choice,
    ) -> Iterator[Any]:
        kinds = [source.kind for source in sources]
        for part in _filled(span, sources).cut(slice_us):
            wide = part.widened(STEP_BACK_US) & span
            if any(wide.touches(source.current.covered) for source in sources):
                tables = [source.read(symbols, wide, choice) for source in sources]
                yield from records(kinds, tables, by_arrival(tables, part))

    def _by_exchange_time(self, source: _Source, symbol: str, span: Span) -> Iterator[TradeRecord]:
        for part in _filled(span, (source,)).cut(self._slice_us):
            if part.touches(source.current.covered):
                rows = source.read((symbol,), part, _Choice())
                yield from records((TRADES,), (rows,), by_exchange_time(rows))

    def _source(self, kind: Kind, clock: str, span: Span) -> _Source:
        """Plan the reading of a table: only files that may hold rows of the span."""
        table = self._table(kind.table)
        within = And(
            GreaterThanOrEqual(term=clock, value=span.from_us),
            LessThan(term=clock, value=span.to_us),
        )
        with named(kind.table):
            return _Source(kind, clock, current(table, clock, within))

    def _table(self, name: str) -> Table:
        table = self._tables.find(name)
        if table is None:
            raise QueryError(f"no table {name} yet; `python -m quotewatch demo` makes some")
        return table

    def _book_before(self, row: BookRecord) -> BookRecord | None:
        """Put together the book that a row changes, from its snapshot on."""
        lives = [
            life
            for life in self.lives((row.symbol,))
            if (life.epoch, life.book) == (row.epoch, row.book)
        ]
        if not lives:
            return None
        span = Span(lives[0].from_us, row.received_us + 1)
        rows = self._by_arrival((BOOKS,), (row.symbol,), span, _Choice(row.epoch))
        return book_after(rows, row)


def _filled(span: Span, sources: Sequence[_Source]) -> Span:
    """Return the part of a span where rows are: a range may be asked for that is years too wide."""
    covers = [source.current.covered for source in sources]
    firsts = [each.first for each in covers if each is not None and each.first is not None]
    lasts = [each.last for each in covers if each is not None and each.last is not None]
    if None in covers:
        return span
    if not firsts:
        return Span(span.from_us, span.from_us)
    return span & Span(min(firsts), max(lasts) + 1)
