"""The one way into a table: rows and the ledger of what they came from, in one compare-and-set.

A plan sees the newest ledger and says what to change; if another writer was first, or nobody knows
whether the commit landed, the table is loaded again and the plan is asked again. Nothing is
committed on the ground of an older ledger.
"""

import random
import sqlite3
import time
import uuid
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field

import zstandard
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Operation, Snapshot
from pyiceberg.table.update.snapshot import ExpireSnapshots
from sqlalchemy.exc import DBAPIError

from quotewatch.clock import Clock, SystemClock
from quotewatch.errors import LedgerMissingError, TableUnavailableError
from quotewatch.metrics.recorder import Recorder
from quotewatch.tables import ledger as ledgers
from quotewatch.tables.catalog import Tables
from quotewatch.tables.failures import UNKNOWN, named
from quotewatch.tables.ledger import Ledger

LEDGER = "quotewatch.ledger"
LEDGER_FILE = "quotewatch.ledger-file"
COMMIT = "quotewatch.commit"

# Every retained snapshot carries its ledger in the table's metadata, which each commit rewrites.
SNAPSHOTS_KEPT = 20
INLINE_BYTES = 12_000

_LOCKS = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}

_PATIENCE_SECONDS = 60.0
_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 2.0


@dataclass(frozen=True)
class Change:
    """What one commit does, all of it or nothing."""

    ledger: Ledger
    append: Sequence[DataFile] = ()
    remove: Sequence[DataFile] = ()
    notes: Mapping[str, str] = field(default_factory=dict)  # further properties of the snapshot


@dataclass(frozen=True)
class Expiry:
    """A commit that makes no snapshot: it lets go of old ones."""

    snapshot_ids: Sequence[int]


Plan = Callable[[Table, Ledger], Change | Expiry | None]


@dataclass(frozen=True)
class Committed:
    """What came of it."""

    attempts: int
    snapshot_id: int | None = None


class Committer:
    """Commits to the tables of one catalog."""

    def __init__(
        self,
        tables: Tables,
        *,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
        patience_seconds: float = _PATIENCE_SECONDS,
        recorder: Recorder | None = None,
    ) -> None:
        self.tables = tables
        self._recorder = recorder
        self._clock = clock or SystemClock()
        self._sleep = sleep
        self._patience_seconds = patience_seconds

    def commit(self, name: str, plan: Plan, *, without_ledger: bool = False) -> Committed | None:
        """Carry out what the plan says; None where it says there is nothing to do.

        Only repair works `without_ledger`: its plan is given an empty one.
        TableUnavailableError: it may or may not have happened; the ledger tells the next run.
        """
        began = self._clock.monotonic()
        deadline = began + self._patience_seconds
        # All that was sent: one that seemed lost may land after the next.
        sent: dict[str, Change | Expiry] = {}
        for attempt in range(1, 1_000_000):
            try:
                table = self.tables.load(name)
                with named(name):
                    landed = _find(table, sent)
                    if landed is not None:
                        self._count(name, sent[_properties(landed)[COMMIT]], began)
                        return Committed(attempt - 1, landed.snapshot_id)
                    ledger = Ledger() if without_ledger else read_ledger(table)
                    change = plan(table, ledger)
                    if change is None:
                        return None
                    token = uuid.uuid4().hex
                    sent[token] = change
                    snapshot_id = _carry_out(table, change, token)
                    self._count(name, change, began)
                    return Committed(attempt, snapshot_id)
            except TableUnavailableError as error:
                if self._clock.monotonic() >= deadline or _is_final(error.__cause__):
                    raise
            self._sleep(_pause(attempt))
        raise TableUnavailableError(f"{name}: too many attempts")

    def _count(self, name: str, change: Change | Expiry, began: float) -> None:
        """Count a commit that added rows; one that only put them in other files adds none."""
        if self._recorder is None or isinstance(change, Expiry) or change.remove:
            return
        rows = sum(each.record_count for each in change.append)
        if not rows:
            return
        seconds = self._clock.monotonic() - began
        self._recorder.inc("iceberg_rows_written_total", rows, table=name)
        self._recorder.inc("iceberg_flush_total", table=name)
        self._recorder.observe("iceberg_flush_duration_seconds", seconds, table=name)
        self._recorder.observe("iceberg_flush_rows", rows, table=name)


def _is_final(cause: BaseException | None) -> bool:
    """Say whether waiting here is no use: a full disk outlives our patience.

    A file that is not there was replaced between the look and the read: others commit fast.
    """
    if isinstance(cause, DBAPIError) and isinstance(cause.orig, sqlite3.Error):
        return getattr(cause.orig, "sqlite_errorcode", 0) & 0xFF not in _LOCKS
    return isinstance(cause, OSError) and not isinstance(cause, (*UNKNOWN, FileNotFoundError))


def _pause(attempt: int) -> float:
    longest = min(_LONGEST_PAUSE_SECONDS, _PAUSE_SECONDS * 2 ** min(attempt, 10))
    return random.uniform(0, longest)  # noqa: S311 - to part writers, not to hide anything


def _find(table: Table, tokens: Container[str]) -> Snapshot | None:
    """Return the snapshot that carries a token of ours: a commit whose answer was lost."""
    for snapshot in table.metadata.snapshots:
        if _properties(snapshot).get(COMMIT) in tokens:
            return snapshot
    return None


def _carry_out(table: Table, change: Change | Expiry, token: str) -> int | None:
    transaction = _Transaction(table)
    if isinstance(change, Expiry):
        ExpireSnapshots(transaction).by_ids(list(change.snapshot_ids)).commit()
        _send(transaction)
        return None
    properties = {**change.notes, **_written(table, change.ledger), COMMIT: token}
    update = transaction.update_snapshot(snapshot_properties=properties)
    # One snapshot for what goes and what comes: those who read appends see nothing of it.
    producer = update.overwrite() if change.remove else update.merge_append()
    with producer:
        for data_file in change.append:
            producer.append_data_file(data_file)
        for data_file in change.remove:
            producer.delete_data_file(data_file)
    old = surplus(table, SNAPSHOTS_KEPT - 1)
    if old:
        ExpireSnapshots(transaction).by_ids(old).commit()
    _send(transaction)
    return producer.snapshot_id


class _Transaction(Transaction):
    """A transaction that works its metadata out once for each change of it.

    pyiceberg does so, with deep copies of all snapshots, about twenty times a commit: more than
    half of what a commit costs.
    """

    _known: tuple[object, object, TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        base, updates = self._table.metadata, self._updates
        known = self._known
        if known is None or known[0] is not base or known[1] is not updates:
            known = self._known = (base, updates, super().table_metadata)
        return known[2]


def _send(transaction: Transaction) -> None:
    try:
        transaction.commit_transaction()
    except ValueError as error:
        # What we let go of has gone already: an expiry moves no branch, so the SQL catalog finds
        # no conflict, and says it in its own way.
        if "does not exist" not in str(error):
            raise
        raise CommitFailedException(str(error)) from error


def surplus(table: Table, kept: int) -> list[int]:
    """Name the oldest snapshots beyond so many; branches and tags keep theirs."""
    named_ids = {ref.snapshot_id for ref in table.metadata.refs.values()}
    # Not by their times: clocks step back.
    ordered = sorted(table.metadata.snapshots, key=lambda each: each.sequence_number or 0)
    ids = [each.snapshot_id for each in ordered]
    excess = ids[: max(0, len(ids) - kept)]
    return [each for each in excess if each not in named_ids]


# The ledger in the summary of a snapshot


def read_ledger(table: Table) -> Ledger:
    """Return the ledger of the newest snapshot, or refuse a table that has rows and no ledger."""
    snapshot = table.current_snapshot()
    while snapshot is not None:
        found = _ledger_of(table, snapshot)
        if found is not None:
            return found
        if not _is_rearrangement(snapshot) or snapshot.parent_snapshot_id is None:
            raise _missing(table, snapshot)
        parent = table.snapshot_by_id(snapshot.parent_snapshot_id)
        if parent is None:
            raise _missing(table, snapshot)
        snapshot = parent
    return Ledger()


def ledger_bytes(table: Table) -> int:
    """Say how much of the newest snapshot's summary the ledger takes."""
    snapshot = table.current_snapshot()
    if snapshot is None:
        return 0
    properties = _properties(snapshot)
    return sum(len(properties.get(name, "")) for name in (LEDGER, LEDGER_FILE))


def ledger_files(table: Table) -> set[str]:
    """Name the files beside the metadata that hold the ledgers of retained snapshots."""
    found = (_properties(each).get(LEDGER_FILE) for each in table.metadata.snapshots)
    return {path for path in found if path}


def newest_ledger(table: Table) -> Ledger:
    """Return the newest ledger below the table's head, empty if none is left. For repair."""
    snapshot = table.current_snapshot()
    while snapshot is not None:
        found = _ledger_of(table, snapshot)
        if found is not None:
            return found
        parent = snapshot.parent_snapshot_id
        snapshot = table.snapshot_by_id(parent) if parent is not None else None
    return Ledger()


def _ledger_of(table: Table, snapshot: Snapshot) -> Ledger | None:
    properties = _properties(snapshot)
    try:
        if LEDGER in properties:
            return ledgers.load(properties[LEDGER])
        if LEDGER_FILE not in properties:
            return None
        with table.io.new_input(properties[LEDGER_FILE]).open() as stream:
            packed = stream.read()
        return ledgers.load(zstandard.ZstdDecompressor().decompress(packed))
    except (FileNotFoundError, zstandard.ZstdError, LedgerMissingError) as error:
        raise LedgerMissingError(
            f"{_name(table)}: its ledger {properties.get(LEDGER_FILE, '')} cannot be read"
            f" ({error}); run: python -m quotewatch repair-ledger {_name(table)}"
        ) from error


def _written(table: Table, ledger: Ledger) -> dict[str, str]:
    """Put a ledger into properties; a long one into a file beside the metadata.

    The file is there before the commit that names it, and goes with the snapshots that do.
    """
    text = ledger.dump()
    # No `.zst` in its name: Arrow would compress it once more, and not undo that when it reads.
    if len(text) <= INLINE_BYTES:
        return {LEDGER: text.decode()}
    path = table.location_provider().new_metadata_location(f"ledger-{uuid.uuid4()}.packed")
    with table.io.new_output(path).create() as stream:
        stream.write(zstandard.ZstdCompressor().compress(text))
    return {LEDGER_FILE: path}


def _is_rearrangement(snapshot: Snapshot) -> bool:
    summary = snapshot.summary
    return summary is not None and summary.operation == Operation.REPLACE


def _properties(snapshot: Snapshot) -> Mapping[str, str]:
    return {} if snapshot.summary is None else snapshot.summary.additional_properties


def _missing(table: Table, snapshot: Snapshot) -> LedgerMissingError:
    return LedgerMissingError(
        f"{_name(table)}: snapshot {snapshot.snapshot_id} has no ledger, another program wrote it;"
        f" run: python -m quotewatch repair-ledger {_name(table)}"
    )


def _name(table: Table) -> str:
    return table.name()[-1]
