"""What the tables say about their own completeness: ledgers and journal in, missing ids out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyiceberg.expressions import And, GreaterThanOrEqual, In
from pyiceberg.table import Table

from quotewatch.intervals import Intervals
from quotewatch.market.outages import Entry, newest_ids, settled
from quotewatch.streams import RAW_TRADES, STREAMS
from quotewatch.tables.catalog import Tables
from quotewatch.tables.commit import read_ledger
from quotewatch.tables.failures import named
from quotewatch.tables.gaps import Scope
from quotewatch.tables.ledger import Ledger

_KINDS = {"start", "snapshot", "invalid", "close", "high_water", "final", "gap"}
_NAMES = (
    "epoch", "received_at", "arrival", "kind", "conn", "symbol", "stream", "to_id", "reason",
)  # fmt: skip


@dataclass(frozen=True)
class Durable:
    """What the tables say at one moment."""

    ledgers: Mapping[str, Ledger]
    entries: Sequence[Entry]
    since_us: int

    def missing(self) -> dict[Scope, Intervals]:
        """Return every id that should be there and is not, by whose it is."""
        trades, frames = newest_ids(self.entries)
        found: dict[Scope, Intervals] = {}
        for stream, ledger in self.ledgers.items():
            for epoch, entry in ledger.stream(stream).epochs.items():
                expected = frames.get((epoch, stream), -1)
                holes = entry.holes() | _tail(entry.done | entry.quarantined, expected)
                if holes and not entry.partial:
                    found[Scope("frames", stream, epoch=epoch)] = holes
                if entry.quarantined:
                    found[Scope("quarantine", stream, epoch=epoch)] = entry.quarantined
        held = self.ledgers[RAW_TRADES.name].trades if RAW_TRADES.name in self.ledgers else {}
        for symbol, ids in held.items():
            holes = ids.holes() | _tail(ids, trades.get(symbol, -1))
            if holes:
                found[Scope("trades", RAW_TRADES.name, symbol=symbol)] = holes
        return found

    def completeness(self) -> tuple[dict[str, int], dict[str, float]]:
        """Return missing and stored shares by table: trades by id, all else by frame."""
        away: dict[str, int] = dict.fromkeys(self.ledgers, 0)
        there: dict[str, int] = dict.fromkeys(self.ledgers, 0)
        for stream, ledger in self.ledgers.items():
            if stream == RAW_TRADES.name:
                there[stream] = sum(ids.count for ids in ledger.trades.values())
            else:
                entries = ledger.stream(stream).epochs.values()
                there[stream] = sum(entry.done.count for entry in entries)
        for scope, holes in self.missing().items():
            if (scope.stream == RAW_TRADES.name) == (scope.kind == "trades"):
                away[scope.stream] += holes.count
        shares = {
            stream: there[stream] / (there[stream] + away[stream])
            for stream in there
            if there[stream] + away[stream]
        }
        return away, shares


def _tail(there: Intervals, expected: int) -> Intervals:
    """Return what is missing after the newest one that is there."""
    last = there.last
    first = 0 if last is None else last + 1
    return Intervals.of([(first, expected)]) if expected >= first else Intervals.none()


def read_durable(tables: Tables, since_us: int, settled_us: int) -> Durable:
    """Read the journal from `since_us` on and all ledgers.

    The journal first: what it knows of may not be newer than what the ledgers hold.
    """
    entries: list[Entry] = []
    events = tables.find("events")
    if events is not None:
        with named("events"):
            entries = settled(_entries(events, since_us), settled_us)
    ledgers = {}
    for stream in STREAMS:
        table = tables.find(stream)
        if table is not None:
            with named(stream):
                ledgers[stream] = read_ledger(table)
    return Durable(ledgers, entries, since_us)


def _entries(table: Table, since_us: int) -> Iterator[Entry]:
    kinds = In(term="kind", literals=_KINDS)
    since = GreaterThanOrEqual(term="received_at", value=since_us)
    scan = table.scan(row_filter=And(kinds, since) if since_us else kinds, selected_fields=_NAMES)
    for batch in scan.to_arrow_batch_reader():
        columns = [
            batch.column("received_at").cast(pa.int64())
            if name == "received_at"
            else batch.column(name)
            for name in _NAMES
        ]
        for row in zip(*(column.to_pylist() for column in columns), strict=True):
            yield Entry(*row)
