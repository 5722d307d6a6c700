"""The one way into a table: whatever the catalog does, a plan is carried out once or refused."""

import errno
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.exceptions import (
    CommitFailedException,
    CommitStateUnknownException,
    ForbiddenError,
    ServiceUnavailableError,
)
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Snapshot, Summary
from requests.exceptions import ConnectionError as BrokenConnectionError
from sqlalchemy.exc import OperationalError

from quotewatch.errors import LedgerMissingError, TableError, TableUnavailableError
from quotewatch.streams import TABLES
from quotewatch.tables import commit as commits
from quotewatch.tables.catalog import catalog_properties
from quotewatch.tables.commit import (
    COMMIT,
    LEDGER,
    LEDGER_FILE,
    SNAPSHOTS_KEPT,
    Change,
    Committer,
    Expiry,
    ledger_bytes,
    ledger_files,
    newest_ledger,
    read_ledger,
    surplus,
)
from quotewatch.tables.data_files import write_files
from quotewatch.tables.gathering import rows_of
from quotewatch.tables.intake import Intake
from quotewatch.tables.ledger import Ledger, Seen
from tests.bus.places import locked_file
from tests.servers.rest_catalog import RestCatalogServer
from tests.tables.frames import Desk, Faults, arrived, assert_each_once, events, rows_in

NAME = "events"
LINEAGE = [("e", 0, 0), ("e", 0, 1)]
NOT_LANDED = [
    CommitFailedException("somebody was first"),
    CommitStateUnknownException("500"),
    ServiceUnavailableError("503"),
    BrokenConnectionError("reset by peer"),
]
LANDED = NOT_LANDED[1:]  # a conflict that has landed would be a lie


def full_catalog() -> OperationalError:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return OperationalError("UPDATE", {}, error)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    made.tables.load(NAME)
    yield made
    made.close()


def store(desk: Desk, seq: int = 0, epoch: str = "e") -> Any:
    return Intake(desk.committer, NAME).store([arrived(NAME, seq, events(2), epoch=epoch)])


def noted(count: int, *, pieces: int = 1) -> Ledger:
    """Return a ledger of many epochs with holes."""
    epochs = [f"{number:016x}-00000000" for number in range(count)]
    return Ledger().note(
        NAME, [Seen(epoch, 2 * seq, 10**18) for epoch in epochs for seq in range(pieces)]
    )


def current(table: Table) -> Snapshot:
    snapshot = table.current_snapshot()
    assert snapshot is not None
    return snapshot


def properties(table: Table) -> dict[str, str]:
    summary = current(table).summary
    assert summary is not None
    return summary.additional_properties


# Faults


@pytest.mark.parametrize("error", NOT_LANDED, ids=lambda error: type(error).__name__)
def test_a_commit_that_did_not_land_is_made_again(desk: Desk, error: Exception) -> None:
    faults = Faults(desk.tables, ("before", error), ("before", error))
    stored = store(desk)
    assert (stored.inserted, stored.duplicate, stored.attempts) == (2, 0, 3)
    assert faults.landed == 1
    assert_each_once(desk, NAME, LINEAGE)


@pytest.mark.parametrize("error", LANDED, ids=lambda error: type(error).__name__)
def test_a_commit_that_landed_unheard_is_found_and_not_made_again(
    desk: Desk, error: Exception
) -> None:
    faults = Faults(desk.tables, ("after", error))
    stored = store(desk)
    assert (stored.inserted, stored.duplicate, len(stored.fresh)) == (2, 0, 1)
    assert stored.snapshot_id == current(desk.table(NAME)).snapshot_id
    assert faults.asked == 1
    assert_each_once(desk, NAME, LINEAGE)


def test_a_commit_that_lands_late_is_known_for_ours(desk: Desk) -> None:
    """The answer is lost, the look finds nothing, and then it lands: before our second one."""
    late: list[tuple[Any, ...]] = []
    catalog: Any = desk.tables.catalog
    real = catalog.commit_table

    def slow(*given: Any) -> Any:
        if not late:
            late.append(given)
            raise CommitStateUnknownException("504")
        if len(late) == 1:
            late.append(())
            real(*late[0])
        return real(*given)

    catalog.commit_table = slow
    stored = store(desk)
    assert (stored.inserted, stored.duplicate) == (2, 0)
    assert_each_once(desk, NAME, LINEAGE)


def impatient(desk: Desk) -> Committer:
    return Committer(desk.tables, clock=desk.clock, sleep=desk.clock.sleep, patience_seconds=3)


def test_a_catalog_that_stays_away_is_given_up_and_named(desk: Desk) -> None:
    desk.committer = impatient(desk)
    faults = Faults(desk.tables, *[("before", ServiceUnavailableError("503"))] * 10_000)
    with pytest.raises(TableUnavailableError, match="events: the catalog did not answer"):
        store(desk)
    assert faults.asked > 1
    assert 3 <= desk.clock.monotonic() < 3 + 2  # no pause is longer than two seconds
    assert desk.rows(NAME) == []


def test_conflicts_without_end_are_given_up_and_named(desk: Desk) -> None:
    desk.committer = impatient(desk)
    Faults(desk.tables, *[("before", CommitFailedException("again"))] * 10_000)
    with pytest.raises(TableUnavailableError, match="events: other writers kept being first"):
        store(desk)


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), TableUnavailableError, "disk full"),
        (ForbiddenError("403"), TableError, "check the credentials"),
        (full_catalog(), TableUnavailableError, "database or disk is full"),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_waiting_does_not_cure_is_said_at_once(
    desk: Desk, when: str, error: Exception, kind: type[Exception], says: str
) -> None:
    faults = Faults(desk.tables, (when, error))
    with pytest.raises(kind, match=says):
        store(desk)
    assert faults.asked == 1
    store(desk)  # the next run
    assert_each_once(desk, NAME, LINEAGE)


def test_metadata_that_goes_between_look_and_read_is_looked_for_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten commits of others take the file away that the catalog had named."""
    real, gone = desk.tables.load, [FileNotFoundError(errno.ENOENT, "no such file")]

    def load(name: str) -> Table:
        if gone:
            raise TableUnavailableError("events: the warehouse refused") from gone.pop()
        return real(name)

    monkeypatch.setattr(desk.tables, "load", load)
    assert store(desk).inserted == 2


def test_a_plan_that_finds_nothing_to_do_commits_nothing(desk: Desk) -> None:
    faults = Faults(desk.tables)
    assert desk.committer.commit(NAME, lambda _table, _ledger: None) is None
    assert faults.asked == 0


def test_a_plan_sees_the_ledger_of_the_commit_before(desk: Desk) -> None:
    seen: list[Ledger] = []

    def plan(_table: Table, ledger: Ledger) -> Change:
        seen.append(ledger)
        return Change(ledger.mark("way", len(seen)))

    for _ in range(3):
        desk.committer.commit(NAME, plan)
    assert [ledger.marks.get("way", 0) for ledger in seen] == [0, 1, 2]


def test_a_lock_that_is_let_go_within_patience_is_waited_for(tmp_path: Path) -> None:
    desk, lock = locked_desk(tmp_path)
    with closing(lock), closing(desk):
        # The lock is let go of when the committer pauses.
        desk.committer = Committer(desk.tables, clock=desk.clock, sleep=lambda _: lock.rollback())
        faults = Faults(desk.tables)

        def lock_once() -> None:
            faults.on_commit = lambda: None
            lock.execute("BEGIN EXCLUSIVE")

        faults.on_commit = lock_once
        assert store(desk).attempts == 2
        assert (faults.asked, faults.landed) == (2, 1)
        assert_each_once(desk, NAME, LINEAGE)


def test_a_lock_that_stays_is_named(tmp_path: Path) -> None:
    desk, lock = locked_desk(tmp_path)
    lock.close()
    with (
        closing(desk),
        locked_file(tmp_path / "catalog.db"),
        pytest.raises(TableUnavailableError, match=r"events: the catalog did not answer.*lock"),
    ):
        store(desk)


def locked_desk(folder: Path) -> tuple[Desk, sqlite3.Connection]:
    """Return a desk whose SQLite waits for no lock, and a connection to lock it with."""
    given = catalog_properties(f"sqlite:///{folder / 'catalog.db'}?timeout=0.01", "", folder)
    desk = Desk(folder, properties=given)
    desk.tables.load(NAME)
    return desk, sqlite3.connect(folder / "catalog.db", isolation_level=None, timeout=5)


# The ledger in the summary


def test_a_table_without_rows_has_an_empty_ledger(desk: Desk) -> None:
    assert read_ledger(desk.table(NAME)) == Ledger()
    assert ledger_bytes(desk.table(NAME)) == 0


@pytest.mark.parametrize(
    ("epochs", "pieces"), [(1, 1), (20, 10), (100, 40), (2_000, 1), (3, 30_000)]
)
def test_the_ledger_takes_less_than_16_kb_of_a_snapshot(
    desk: Desk, epochs: int, pieces: int
) -> None:
    ledger = noted(epochs, pieces=pieces)
    desk.committer.commit(NAME, lambda _table, _ledger: Change(ledger))
    table = desk.table(NAME)
    assert 0 < ledger_bytes(table) < 16_000
    assert sum(len(key) + len(value) for key, value in properties(table).items()) < 16_000
    assert read_ledger(table) == ledger
    assert (LEDGER in properties(table)) == (len(ledger.dump()) <= commits.INLINE_BYTES)
    assert (LEDGER_FILE in properties(table)) == (len(ledger.dump()) > commits.INLINE_BYTES)
    assert ledger_files(table) == {properties(table).get(LEDGER_FILE, "")} - {""}


def test_a_long_ledger_survives_expiry_and_compaction(desk: Desk) -> None:
    store(desk)
    ledger = desk.ledger(NAME) | noted(2_000)
    desk.committer.commit(NAME, lambda _table, _ledger: Change(ledger))
    store(desk, 1)

    def compact(table: Table, known: Ledger) -> Change:
        old = [task.file for task in table.scan().plan_files()]
        new = write_files(table, TABLES[NAME], table.scan().to_arrow())
        return Change(known, new, old)

    desk.committer.commit(NAME, compact)
    desk.committer.commit(NAME, lambda table, _ledger: Expiry(surplus(table, 1)))
    table = desk.table(NAME)
    assert len(table.metadata.snapshots) == 1
    assert current(table).parent_snapshot_id is None
    assert len(rows_in(table)) == 4
    assert store(desk).inserted == store(desk, 1).inserted == 0
    assert {(e, s) for e, s, _ in desk.lineage(NAME)} == {("e", 0), ("e", 1)}
    assert desk.ledger(NAME) == ledger.note(NAME, [arrived(NAME, 1, events(2), epoch="e").seen])


def test_a_long_ledger_that_was_removed_is_missed_with_the_cure(desk: Desk) -> None:
    desk.committer.commit(NAME, lambda _table, _ledger: Change(noted(2_000)))
    [path] = ledger_files(desk.table(NAME))
    Path(path.removeprefix("file://")).unlink()
    with pytest.raises(LedgerMissingError, match="python -m quotewatch repair-ledger events"):
        store(desk)
    with pytest.raises(LedgerMissingError, match="repair-ledger"):
        newest_ledger(desk.table(NAME))


@pytest.mark.parametrize("name", [LEDGER, LEDGER_FILE])
def test_a_ledger_that_was_spoilt_is_missed_with_the_cure(desk: Desk, name: str) -> None:
    path = desk.folder / "spoilt"
    path.write_bytes(b"spoilt")
    spoilt = {LEDGER: "spoilt", LEDGER_FILE: str(path)}[name]
    desk.table(NAME).append(_one_row(), snapshot_properties={name: spoilt})
    with pytest.raises(LedgerMissingError, match="python -m quotewatch repair-ledger events"):
        store(desk)


def test_a_foreign_commit_hides_the_ledger_and_stops_everything(desk: Desk) -> None:
    store(desk)
    desk.table(NAME).append(_one_row())
    faults = Faults(desk.tables)
    with pytest.raises(LedgerMissingError, match=r"another program wrote it.*repair-ledger events"):
        store(desk, 1)
    assert faults.asked == 0
    assert newest_ledger(desk.table(NAME)).stream(NAME).epochs.keys() == {"e"}


def _one_row() -> Any:
    return rows_of(NAME, [arrived(NAME, 9, events(1), epoch="foreign")])


def test_a_foreign_compaction_inherits_the_ledger(desk: Desk) -> None:
    store(desk)
    ledger = desk.ledger(NAME)
    rearrange(desk)
    rearrange(desk)
    table = desk.table(NAME)
    assert LEDGER not in properties(table)
    assert read_ledger(table) == ledger
    assert store(desk).inserted == 0
    assert store(desk, 1).inserted == 2
    assert_each_once(desk, NAME, [*LINEAGE, ("e", 1, 0), ("e", 1, 1)])


def test_a_foreign_compaction_whose_parent_is_gone_inherits_nothing(desk: Desk) -> None:
    store(desk)
    rearrange(desk)
    table = desk.table(NAME)
    table.maintenance.expire_snapshots().by_ids(surplus(table, 1)).commit()
    with pytest.raises(LedgerMissingError, match="repair-ledger"):
        store(desk, 1)


def rearrange(desk: Desk) -> None:
    """Commit what other programs' compactions are: a snapshot of kind `replace`, no ledger."""
    table = desk.table(NAME)
    with table.transaction() as transaction:
        producer = transaction.update_snapshot().merge_append()
        producer._operation = Operation.REPLACE
        real = producer._summary

        def summary(*given: Any, **more: Any) -> Summary:
            producer._operation = Operation.APPEND  # its summary knows no other kind
            found = real(*given, **more)
            return Summary(Operation.REPLACE, **found.additional_properties)

        producer._summary = summary  # type: ignore[method-assign]
        producer.commit()


# Snapshots


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    """Keep few snapshots, for the sake of time."""
    monkeypatch.setattr(commits, "SNAPSHOTS_KEPT", 4)
    return 4


def test_at_most_so_many_snapshots_are_kept(desk: Desk, few: int) -> None:
    assert SNAPSHOTS_KEPT == 20
    for seq in range(few + 4):
        store(desk, seq)
    table = desk.table(NAME)
    assert len(table.metadata.snapshots) == few
    assert len(rows_in(table)) == 2 * (few + 4)


def test_a_clock_that_steps_back_expires_nothing_that_is_needed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    real = time.time
    for seq in range(few + 4):
        monkeypatch.setattr(time, "time", lambda back=seq: real() - 3_600 * back)
        store(desk, seq)
    frames = [("e", seq, row) for seq in range(few + 4) for row in (0, 1)]
    assert_each_once(desk, NAME, frames)
    assert len(desk.table(NAME).metadata.snapshots) == few


def test_a_tagged_snapshot_is_kept(desk: Desk, few: int) -> None:
    store(desk)
    first = current(desk.table(NAME)).snapshot_id
    with desk.table(NAME).manage_snapshots() as manage:
        manage.create_tag(first, "kept")
    for seq in range(1, few + 3):
        store(desk, seq)
    assert desk.table(NAME).snapshot_by_id(first) is not None


def test_every_commit_bears_a_token_of_its_own(desk: Desk) -> None:
    tokens = []
    for seq in range(3):
        store(desk, seq)
        tokens.append(properties(desk.table(NAME))[COMMIT])
    assert len(set(tokens)) == 3


# Over HTTP


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("outcome", [500, 502, 503, 504, "dropped"])
def test_a_rest_catalog_may_fail_before_or_after_committing(
    tmp_path: Path, when: Any, outcome: Any
) -> None:
    with RestCatalogServer(tmp_path) as server:
        desk = Desk(tmp_path, properties=server.client_properties())
        with closing(desk):
            server.fail_commits(status=outcome, when=when)
            stored = store(desk)
            assert server.faults_met == 1
            assert (stored.inserted, stored.duplicate) == (2, 0)
            assert_each_once(desk, NAME, LINEAGE)
            assert store(desk).inserted == 0
