"""Rebuild a ledger that another program hid or removed: the table's rows in, a ledger out.

What the rows say is joined with the newest ledger that is left below the table's head. Frames
whose rows were all there already, and so left none, may show as holes afterwards.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.table import Table

from quotewatch.clock import Clock
from quotewatch.errors import LedgerMissingError, TableError
from quotewatch.intervals import Intervals
from quotewatch.streams import RAW_TRADES, REST_EPOCH, STREAMS, TABLES
from quotewatch.tables.commit import Change, Committer, newest_ledger
from quotewatch.tables.failures import named
from quotewatch.tables.ledger import EpochEntry, Ledger, StreamLedger


@dataclass(frozen=True, slots=True)
class Repaired:
    """What was found."""

    rows: int
    frames: int
    trades: int
    snapshot_id: int | None


class Repair:
    """Rebuilds one table's ledger in one commit that adds no rows."""

    def __init__(self, committer: Committer, clock: Clock) -> None:
        self._committer = committer
        self._clock = clock

    def run(self, name: str) -> Repaired:
        """Read the lineage of all rows and commit the ledger it makes."""
        if name not in TABLES:
            raise TableError(f"no such table: {name}; there are {', '.join(TABLES)}")
        if self._committer.tables.find(name) is None:
            raise TableError(f"{name}: never made in this catalog, so there is nothing to repair")
        found = Ledger()
        rows = 0

        def plan(table: Table, _: Ledger) -> Change:
            nonlocal found, rows
            found, rows = self._rebuilt(table, name)
            return Change(found, notes={"quotewatch.repaired": str(rows)})

        done = self._committer.commit(name, plan, without_ledger=True)
        entries = found.stream(name).epochs.values()
        return Repaired(
            rows,
            sum(entry.done.count for entry in entries),
            sum(ids.count for ids in found.trades.values()),
            done.snapshot_id if done else None,
        )

    def _rebuilt(self, table: Table, name: str) -> tuple[Ledger, int]:
        now = self._clock.now_ns() // 1_000_000_000
        epochs: dict[str, Intervals] = {}
        trades: dict[str, Intervals] = {}
        rows = 0
        with named(name):
            for batch in _lineage(table, name):
                rows += batch.num_rows
                _collect(batch, "epoch", "seq", epochs)
                if name == RAW_TRADES.name:
                    _collect(batch, "symbol", "trade_id", trades)
        epochs.pop(REST_EPOCH, None)
        entries = {epoch: EpochEntry(done, newest=now) for epoch, done in epochs.items()}
        streams = {name: StreamLedger(entries)} if name in STREAMS else {}
        return _left(table) | Ledger(streams, trades), rows


def _lineage(table: Table, name: str) -> Iterator[pa.RecordBatch]:
    wanted = ["epoch", "seq"] if TABLES[name].key else ["epoch"]
    if name == RAW_TRADES.name:
        wanted += ["symbol", "trade_id"]
    yield from table.scan(selected_fields=tuple(wanted)).to_arrow_batch_reader()


def _left(table: Table) -> Ledger:
    try:
        return newest_ledger(table)
    except LedgerMissingError:
        return Ledger()


def _collect(batch: pa.RecordBatch, group: str, number: str, into: dict[str, Intervals]) -> None:
    """Add the numbers of each group; a file of a year is read batch by batch."""
    if number not in batch.schema.names:
        return
    groups: Any = batch.column(group)
    for each in pc.unique(groups).to_pylist():
        numbers: Any = batch.column(number).filter(pc.equal(groups, pa.scalar(each, groups.type)))
        found = Intervals.of_numbers(numbers.to_numpy(zero_copy_only=False))
        into[each] = into.get(each, Intervals.none()) | found
