"""The events table read back: which epochs there were, and when their books were valid."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyiceberg.expressions import In
from pyiceberg.table import Table

from quotewatch.clock import US_PER_SECOND
from quotewatch.intervals import Intervals
from quotewatch.streams import TIME
from quotewatch.tables.dataset import Current, current, current_rows, read
from quotewatch.tables.validity import DECISIVE, JournalEntry, Life, lives_of

_HOUR_US = 3_600 * US_PER_SECOND
_ENTRY = ("epoch", "kind", "symbol", "book", "conn", "received_at", "seq", "row")


@dataclass(frozen=True, slots=True)
class Epoch:
    """One life of one gateway, by its own clock; `clean` if it said that it stopped."""

    id: str
    first_us: int
    last_us: int
    clean: bool


def epochs(events: Table) -> list[Epoch]:
    """Return the epochs that the journal tells of, oldest first."""
    rows = read(current_rows(events), ("epoch", "kind", "received_at"))
    final: Any = pc.equal(rows.column("kind"), pa.scalar("final", rows.column("kind").type))
    at: Any = rows.column("received_at").cast(pa.int64())
    columns: list[Any] = [rows.column("epoch"), at, final]
    times = pa.Table.from_arrays(columns, ["epoch", "at", "final"])
    found = times.group_by("epoch").aggregate([("at", "min"), ("at", "max"), ("final", "any")])
    return sorted(
        (
            Epoch(row["epoch"], row["at_min"], row["at_max"], row["final_any"])
            for row in found.to_pylist()
        ),
        key=lambda epoch: epoch.id,
    )


def lives(events: Table, orderbook: Table, symbols: Collection[str]) -> list[Life]:
    """Return the lives of these books, oldest first.

    A book that nothing ended is valid to the last row of its epoch, which runs or died.
    """
    journal = current(events, "received_at")
    found = lives_of(_entries(journal.rows, symbols))
    last = _last_us(journal, orderbook, {life.epoch for life in found if not life.ended})
    return [
        life if life.ended else replace(life, to_us=max(life.to_us, last[life.epoch]))
        for life in found
    ]


def _entries(rows: ds.Dataset, symbols: Collection[str]) -> list[JournalEntry]:
    """Read what says something about these books, in the order the gateways wrote it."""
    symbol = ds.field("symbol")
    about = symbol.isin(list(symbols)) | symbol.is_null()
    chosen = read(rows, _ENTRY, ds.field("kind").isin(list(DECISIVE)) & about)
    ordered = chosen.sort_by([("epoch", "ascending"), ("seq", "ascending"), ("row", "ascending")])
    columns: list[list[Any]] = [
        ordered.column(name).to_pylist() for name in ("epoch", "kind", "symbol", "book", "conn")
    ]
    received = ordered.column("received_at").cast(pa.int64()).to_pylist()
    return list(map(JournalEntry, *columns, received))


def _last_us(journal: Current, orderbook: Table, epochs: set[str]) -> dict[str, int]:
    """Return when the last row of each epoch was received, of the journal or of a book."""
    if not epochs:
        return {}
    # An epoch that goes on has rows near the newest: only its own files are looked into.
    theirs = current(orderbook, "received_at", In(term="epoch", literals=epochs))
    return {
        epoch: max(_last_in(each.rows, each.covered, epoch) for each in (journal, theirs))
        for epoch in epochs
    }


def _last_in(rows: ds.Dataset, covered: Intervals | None, epoch: str) -> int:
    """Return when an epoch's last row was received, looking back from the newest row of all."""
    mine = ds.field("epoch") == epoch
    if covered is None:
        return _latest(rows, mine)
    if covered.first is None or covered.last is None:
        return 0
    high, width = covered.last, _HOUR_US
    while high >= covered.first:
        low = high - width
        received = ds.field("received_at")
        between = (received > pa.scalar(low, TIME)) & (received <= pa.scalar(high, TIME))
        found = _latest(rows, mine & between)
        if found:
            return found
        high, width = low, 2 * width
    return 0


def _latest(rows: ds.Dataset, chosen: ds.Expression) -> int:
    found = read(rows, ("received_at",), chosen).column("received_at").cast(pa.int64())
    latest: Any = pc.max(found).as_py()
    return latest or 0
