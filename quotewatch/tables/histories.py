"""What is certain about the features of each epoch: ledgers in, frames that may be labelled out.

A frame that is missing and may still come holds up what lies behind it: nothing is known for sure
beyond it. One that is given up, or put aside, does not, but the times it may be of are named.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyiceberg.expressions import EqualTo
from pyiceberg.table import Table

from quotewatch.intervals import Intervals
from quotewatch.market.labels import LATENESS_US, NEVER, Numbers
from quotewatch.streams import EVENTS, FEATURES
from quotewatch.tables.catalog import Tables
from quotewatch.tables.commit import read_ledger
from quotewatch.tables.dataset import current, current_rows, read
from quotewatch.tables.failures import named
from quotewatch.tables.gaps import read_gaps
from quotewatch.tables.ledger import EpochEntry, StreamLedger

# An epoch this much older than the newest is over, whatever it did not say about its end.
_OVER_SECONDS = 86_400

Permanent = Mapping[tuple[str, str], Intervals]  # (stream, epoch) -> frames that were given up


@dataclass(frozen=True)
class History:
    """One epoch. `until` is the last frame before the first that may still come."""

    epoch: str
    features: Table
    events: Table | None
    stored: Intervals  # frames of features up to `until`
    until: int
    events_certain: Intervals  # frames of the journal, those that were given up included
    events_stored: Intervals
    over: bool  # nothing is expected of it any more

    @cached_property
    def features_until(self) -> int:
        """The arrival up to which all its features rows are known."""
        last = self.stored.last
        if last is None:
            return -1
        return _most(_in_frame(self.features, self.epoch, last, "arrival"), -1)

    @cached_property
    def hole_times(self) -> tuple[tuple[int, int], ...]:
        """The exchange times between which rows of frames that were given up may be."""
        lost = Intervals.of([(0, self.until)] if self.until >= 0 else []) - self.stored
        return tuple(self._around(first, last) for first, last in lost)

    @cached_property
    def unwritten(self) -> tuple[tuple[int, int], ...]:
        """The arrivals between which the journal may have said what was lost with its frames."""
        if self.events is None or self.events_certain.last == NEVER:
            return ()
        lost = self.events_certain - self.events_stored
        return tuple(
            (
                _most(_in_frame(self.events, self.epoch, first - 1, "arrival"), -1),
                _least(_in_frame(self.events, self.epoch, last + 1, "arrival"), NEVER),
            )
            for first, last in lost
        )

    def _around(self, first: int, last: int) -> tuple[int, int]:
        before = _in_frame(self.features, self.epoch, first - 1, "exchange_time")
        after = _in_frame(self.features, self.epoch, last + 1, "exchange_time")
        return _most(before, LATENESS_US) - LATENESS_US, _least(
            after, NEVER - LATENESS_US
        ) + LATENESS_US


def _in_frame(table: Table, epoch: str, seq: int, column: str) -> Numbers:
    """Return one column of one frame's rows."""
    mine = EqualTo(term="epoch", value=epoch)
    rows = current(table, column, mine).rows
    chosen = (ds.field("epoch") == epoch) & (ds.field("seq") == seq)
    found: Any = read(rows, (column,), chosen).column(column).cast(pa.int64())
    return np.asarray(found.to_numpy(), np.int64)


def _most(numbers: Numbers, otherwise: int) -> int:
    return int(numbers.max()) if numbers.size else otherwise


def _least(numbers: Numbers, otherwise: int) -> int:
    return int(numbers.min()) if numbers.size else otherwise


class Histories:
    """The epochs of the features table at one moment."""

    def __init__(self, tables: Tables) -> None:
        # Features first: of what is known of them, the journal must be able to say more, not less.
        self._features = tables.find(FEATURES.name)
        self._events = tables.find(EVENTS.name)
        self._tables = tables

    @cached_property
    def ledger(self) -> StreamLedger:
        """The ledger of the features."""
        return _ledger(self._features, FEATURES.name)

    @cached_property
    def _journal(self) -> StreamLedger:
        return _ledger(self._events, EVENTS.name)

    @cached_property
    def _permanent(self) -> Permanent:
        return _given_up(self._tables)

    def check(self) -> None:
        """Raise if a ledger cannot be read, before anything is done that relies on it."""
        for epoch in self.listed():
            self.of(epoch)

    def listed(self) -> list[str]:
        """Name the epochs that the ledger knows, oldest first."""
        return sorted(self.ledger.epochs)

    def forgotten(self) -> list[str]:
        """Name the epochs that have rows and have left the ledger, oldest first."""
        if self._features is None or not self.ledger.floor:
            return []
        names: Any = pc.unique(read(current_rows(self._features), ("epoch",)).column("epoch"))
        known = self.ledger.epochs
        return sorted(each for each in names.to_pylist() if each not in known)

    def of(self, epoch: str) -> History:
        """Return what is certain about an epoch."""
        if self._features is None:
            raise ValueError("no features were ever stored")
        entry = self.ledger.epochs.get(epoch)
        if entry is None:
            stored = self._seqs(epoch)
            until = -1 if stored.last is None else stored.last
            everything = Intervals.of([(0, NEVER)])
            return History(
                epoch, self._features, self._events, stored, until, everything, everything,
                over=True,
            )  # fmt: skip
        prefix = self._certain(FEATURES.name, epoch, entry)
        stored = entry.done & prefix
        until = -1 if stored.last is None else stored.last
        newest = max((each.newest for each in self.ledger.epochs.values()), default=0)
        told = self._journal.epochs.get(epoch, EpochEntry(partial=epoch <= self._journal.floor))
        certain = self._certain(EVENTS.name, epoch, told)
        return History(
            epoch, self._features, self._events, stored, until, certain,
            certain if told.partial else certain & told.done,
            over=entry.newest < newest - _OVER_SECONDS,
        )  # fmt: skip

    def _certain(self, stream: str, epoch: str, entry: EpochEntry) -> Intervals:
        """Return the frames up to the first that may still come."""
        if entry.partial:  # holes cannot be told: what is not noted may be stored all the same
            return Intervals.of([(0, NEVER)])
        seen = entry.done | entry.quarantined
        if seen.pieces > 1 or seen.first:
            seen |= self._permanent.get((stream, epoch), Intervals.none())
        if seen.first != 0:
            return Intervals.none()
        return Intervals.of([(0, int(seen.ends[0]))])

    def _seqs(self, epoch: str) -> Intervals:
        if self._features is None:
            return Intervals.none()
        mine = current(self._features, "seq", EqualTo(term="epoch", value=epoch)).rows
        rows = read(mine, ("seq",), ds.field("epoch") == epoch)
        return Intervals.of_numbers(rows.column("seq").to_numpy())


def _ledger(table: Table | None, stream: str) -> StreamLedger:
    if table is None:
        return StreamLedger()
    with named(stream):
        return read_ledger(table).stream(stream)


def _given_up(tables: Tables) -> Permanent:
    table = tables.find("gaps")
    if table is None:
        return {}
    with named("gaps"):
        gaps = read_gaps(table)
    return _joined(
        ((each.scope.stream, str(each.scope.epoch)), each.span)
        for each in gaps
        if each.scope.kind == "frames" and each.state == "permanent"
    )


def _joined(spans: Iterable[tuple[tuple[str, str], Intervals]]) -> Permanent:
    found: dict[tuple[str, str], Intervals] = {}
    for scope, span in spans:
        found[scope] = found.get(scope, Intervals.none()) | span
    return found
