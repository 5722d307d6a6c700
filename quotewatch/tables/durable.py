"""What the tables say about their own completeness: ledgers and journal in, missing ids out."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyiceberg.expressions import And, GreaterThanOrEqual, In
from pyiceberg.table import Table

from quotewatch.intervals import Intervals
from quotewatch.market.outages import (
    Entry,
    Outage,
    frames_told,
    outages,
    settled,
    trades_told,
    validities,
)
from quotewatch.streams import RAW_TRADES, STREAMS
from quotewatch.tables.catalog import Tables
from quotewatch.tables.commit import read_ledger
from quotewatch.tables.failures import named
from quotewatch.tables.gaps import Gap, Scope
from quotewatch.tables.ledger import EpochEntry, Ledger

_KINDS = {"start", "open", "snapshot", "invalid", "close", "high_water", "final", "gap"}
_NAMES = (
    "epoch", "seq", "row", "received_at", "kind", "conn", "symbol", "stream", "to_id", "reason",
)  # fmt: skip


@dataclass(frozen=True)
class Durable:
    """What the tables say at one moment."""

    ledgers: Mapping[str, Ledger]
    entries: Sequence[Entry]
    since_us: int
    until_us: int

    def outages(self) -> list[Outage]:
        """Return when nobody had a valid book."""
        return outages(validities(self.entries, self.until_us))

    def missing(self, known: Iterable[Gap] = ()) -> dict[Scope, Intervals]:
        """Return every id that should be there and is not, by whose it is.

        A loss that is known stays one until what was lost is there: the entries that told of it
        are not read for ever.
        """
        lost: dict[Scope, Intervals] = defaultdict(Intervals.none)
        for gap in known:
            if gap.state != "healed":
                lost[gap.scope] |= gap.span
        found = {**dict(self._frames(lost)), **dict(self._trades(lost))}
        return {scope: holes for scope, holes in found.items() if holes}

    def can_judge(self, gap: Gap) -> bool:
        """Say whether it can be told what is left of a gap: old epochs leave the ledger."""
        if gap.scope.kind not in {"frames", "quarantine"}:
            return True
        entry = self._entry(gap.scope.stream, str(gap.scope.epoch))
        return entry is not None and (not entry.partial or not gap.span - entry.done)

    def completeness(
        self, missing: Mapping[Scope, Intervals]
    ) -> tuple[dict[str, int], dict[str, float]]:
        """Return missing and stored shares by table: trades by id, all else by frame."""
        away: dict[str, int] = dict.fromkeys(self.ledgers, 0)
        there: dict[str, int] = dict.fromkeys(self.ledgers, 0)
        for stream, ledger in self.ledgers.items():
            if stream == RAW_TRADES.name:
                there[stream] = sum(ids.count for ids in ledger.trades.values())
            else:
                entries = ledger.stream(stream).epochs.values()
                there[stream] = sum(entry.done.count for entry in entries)
        for scope, holes in missing.items():
            if (scope.stream == RAW_TRADES.name) == (scope.kind == "trades"):
                away[scope.stream] += holes.count
        shares = {
            stream: there[stream] / (there[stream] + away[stream])
            for stream in there
            if there[stream] + away[stream]
        }
        return away, shares

    def _frames(self, lost: Mapping[Scope, Intervals]) -> Iterator[tuple[Scope, Intervals]]:
        told = frames_told(self.entries)
        named_in = {(stream, epoch) for epoch, stream in told if stream in self.ledgers}
        named_in |= {(each.stream, str(each.epoch)) for each in lost if each.kind == "frames"}
        for stream, ledger in self.ledgers.items():
            named_in |= {(stream, epoch) for epoch in ledger.stream(stream).epochs}
        for stream, epoch in named_in:
            entry = self._entry(stream, epoch)
            if entry is None or entry.partial:
                continue
            seen = entry.done | entry.quarantined
            newest = max(told.get((epoch, stream), -1), -1 if seen.last is None else seen.last)
            scope = Scope("frames", stream, epoch=epoch)
            yield scope, (_span(0, newest) | lost.get(scope, Intervals.none())) - seen
            yield Scope("quarantine", stream, epoch=epoch), entry.quarantined

    def _trades(self, lost: Mapping[Scope, Intervals]) -> Iterator[tuple[Scope, Intervals]]:
        held = self.ledgers[RAW_TRADES.name].trades
        told = trades_told(self.entries)
        known = {str(scope.symbol) for scope in lost if scope.kind == "trades"}
        for symbol in held.keys() | told.keys() | known:
            ids = held.get(symbol, Intervals.none())
            scope = Scope("trades", RAW_TRADES.name, symbol=symbol)
            ends = [
                *told.get(symbol, ()),
                *(each for each in (ids.first, ids.last) if each is not None),
            ]
            span = _span(min(ends), max(ends)) if ends else Intervals.none()
            yield scope, (span | lost.get(scope, Intervals.none())) - ids

    def _entry(self, stream: str, epoch: str) -> EpochEntry | None:
        """Return what is known of an epoch's frames; None where the ledger has let go of it."""
        ledger = self.ledgers[stream].stream(stream)
        entry = ledger.epochs.get(epoch)
        return EpochEntry() if entry is None and epoch > ledger.floor else entry


def _span(first: int, last: int) -> Intervals:
    return Intervals.of([(first, last)]) if last >= first else Intervals.none()


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
        with named(stream):
            ledgers[stream] = Ledger() if table is None else read_ledger(table)
    return Durable(ledgers, entries, since_us, settled_us)


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
