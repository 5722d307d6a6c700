"""Through any history of what goes wrong, every row is in its table once, and the ledger agrees.

The same histories run twice: many over a table in memory, some over a real catalog and real files.
The bus, the stage, the intake, the ledger and the commit loop are the real ones in both.
"""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import pyarrow as pa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pyiceberg.exceptions import (
    CommitFailedException,
    CommitStateUnknownException,
    ServiceUnavailableError,
)
from pyiceberg.table import Table

from quotewatch.bus.port import Message
from quotewatch.clock import NS_PER_SECOND
from quotewatch.errors import FrameError
from quotewatch.frames import Frame, decode_carried
from quotewatch.stages.write import WriteReport
from quotewatch.streams import TABLES
from quotewatch.tables import commit as commits
from quotewatch.tables import intake as intakes
from quotewatch.tables.catalog import Tables
from quotewatch.tables.commit import Change, Committer, Expiry, read_ledger, surplus
from quotewatch.tables.data_files import write_files
from quotewatch.tables.ledger import Knowledge, Ledger
from quotewatch.tables.repair import Repair
from tests.bus.clocks import HandClock
from tests.tables.frames import EPOCH, Desk, events, message, rows_in, trades

STREAMS = ("events", "raw_trades")
ATTEMPTS = 5  # before a message is a dead letter
numbers = st.lists(st.integers(0, 12), min_size=1, max_size=4)
streams = st.sampled_from(STREAMS)
fates = st.sampled_from(["sent", "held back", "unreadable"])
FAULTS = ("", "conflict", "overtaken", "unknown", "landed unheard", "crash", "crash after", "down")
faults = st.sampled_from(FAULTS)

Name = tuple[str, str, int]  # stream, epoch, seq
RowKey = tuple[str, str, int, int]


class Killed(BaseException):
    """The process ends here; nobody handles that."""


class SteppingClock(HandClock):
    """Moves when told, and its wall time by itself as well."""

    def jump(self, seconds: int) -> None:
        self.start_ns += seconds * NS_PER_SECOND


class Shop:
    """Tables, and a fault that befalls the next commit."""

    def __init__(self, folder: Path, clock: HandClock) -> None:
        self.desk = Desk(folder, clock=clock).open(attempts=ATTEMPTS)
        self.desk.committer = self.committer(self.desk.tables)
        self.fault = ""
        self.overtake: Callable[[], None] = lambda: None

    def committer(self, tables: Tables) -> Committer:
        """Return one that is soon out of patience, so that a catalog may stay away."""
        clock = self.desk.clock
        return Committer(tables, clock=clock, sleep=clock.sleep, patience_seconds=2)

    def spoil(self, land: Callable[[], Any]) -> Any:
        """Carry out a commit, or what befalls it."""
        fault, self.fault = self.fault, ""
        if fault == "conflict":
            raise CommitFailedException("somebody was first")
        if fault == "overtaken":  # by another writer of the same frames
            self.overtake()
        if fault == "unknown":
            raise CommitStateUnknownException("500")
        if fault == "crash":
            raise Killed
        if fault == "down":
            self.fault = "down"
            raise ServiceUnavailableError("503")
        done = land()
        if fault == "landed unheard":
            raise CommitStateUnknownException("504")
        if fault == "crash after":
            raise Killed
        return done

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Stand between the code and its tables."""
        yield

    def rows(self, name: str) -> list[dict[str, Any]]:
        raise NotImplementedError

    def compact(self, name: str) -> None:
        raise NotImplementedError

    def expire(self, name: str) -> None:
        raise NotImplementedError

    def hide_ledger(self, name: str) -> None:
        raise NotImplementedError


class RealShop(Shop):
    """A catalog in SQLite, files on disk."""

    def __init__(self, folder: Path, clock: HandClock) -> None:
        super().__init__(folder, clock)
        for name in STREAMS:
            self.desk.tables.load(name)

    @contextmanager
    def opened(self) -> Iterator[None]:
        catalog: Any = self.desk.tables.catalog
        real = catalog.commit_table
        catalog.commit_table = lambda *given: self.spoil(lambda: real(*given))
        try:
            yield
        finally:
            catalog.commit_table = real

    def rows(self, name: str) -> list[dict[str, Any]]:
        return rows_in(self.desk.table(name))

    def compact(self, name: str) -> None:
        def plan(table: Table, ledger: Ledger) -> Change | None:
            old = [task.file for task in table.scan().plan_files()]
            if len(old) < 2:
                return None
            return Change(ledger, write_files(table, TABLES[name], table.scan().to_arrow()), old)

        self.desk.committer.commit(name, plan)

    def expire(self, name: str) -> None:
        def plan(table: Table, _: Ledger) -> Expiry | None:
            old = surplus(table, 1)
            return Expiry(old) if old else None

        self.desk.committer.commit(name, plan)

    def hide_ledger(self, name: str) -> None:
        """Commit as a program does that knows nothing of ledgers."""
        table = self.desk.tables.load(name)
        table.append(table.schema().as_arrow().empty_table())
        assert not self.desk.write(streams=(name,)).streams[name].acked
        Repair(self.desk.committer, self.desk.clock).run(name)


class MemoryTables(Tables):
    """Tables as lists of snapshots; what was loaded stays as it was."""

    def __init__(self) -> None:
        super().__init__({})
        self.snapshots: dict[str, list[tuple[dict[str, str], pa.Table]]] = {}

    def load(self, name: str) -> Table:
        return cast("Table", MemoryTable(name, list(self.snapshots.setdefault(name, []))))


class MemoryTable:
    """As much of a table as an intake and a ledger look at."""

    def __init__(self, name: str, snapshots: list[tuple[dict[str, str], pa.Table]]) -> None:
        self._name = name
        self._listed = snapshots
        made = [_snapshot(number, notes) for number, (notes, _) in enumerate(snapshots)]
        self.metadata = SimpleNamespace(current_schema_id=0, snapshots=made)

    def name(self) -> tuple[str, str]:
        return ("quotewatch", self._name)

    @property
    def version(self) -> int:
        return len(self._listed)

    @property
    def rows(self) -> pa.Table:
        return self._listed[-1][1] if self._listed else TABLES[self._name].schema.empty_table()

    def current_snapshot(self) -> Any:
        return self.metadata.snapshots[-1] if self._listed else None

    def scan(self, row_filter: Any, selected_fields: tuple[str, ...]) -> Any:
        epoch, seqs = row_filter.left, row_filter.right
        wanted = {literal.value for literal in getattr(seqs, "literals", None) or [seqs.literal]}
        found = [
            row
            for row in self.rows.to_pylist()
            if row["epoch"] == epoch.literal.value and row["seq"] in wanted
        ]
        chosen = pa.Table.from_pylist(found, schema=self.rows.schema).select(list(selected_fields))
        return SimpleNamespace(to_arrow=lambda: chosen)


def _snapshot(number: int, notes: dict[str, str]) -> Any:
    return SimpleNamespace(
        snapshot_id=number, summary=SimpleNamespace(additional_properties=notes, operation="append")
    )


class MemoryShop(Shop):
    """Compare-and-set on a list."""

    def __init__(self, folder: Path, clock: HandClock) -> None:
        super().__init__(folder, clock)
        self.tables = MemoryTables()
        self.desk.tables = self.tables
        self.desk.committer = self.committer(self.tables)

    @contextmanager
    def opened(self) -> Iterator[None]:
        with (
            mock.patch.object(commits, "_carry_out", self._carry_out),
            mock.patch.object(
                intakes, "write_files", lambda _table, layout, rows: [rows.cast(layout.schema)]
            ),
        ):
            yield

    def _carry_out(self, table: Any, change: Any, token: str) -> int:
        def land() -> int:
            listed = self.tables.snapshots[table.name()[1]]
            if len(listed) != table.version:
                raise CommitFailedException("somebody was first")
            notes = {commits.LEDGER: change.ledger.dump().decode(), commits.COMMIT: token}
            listed.append((notes, pa.concat_tables([table.rows, *change.append])))
            return len(listed) - 1

        return cast("int", self.spoil(land))

    def rows(self, name: str) -> list[dict[str, Any]]:
        loaded: Any = self.tables.load(name)
        return cast("list[dict[str, Any]]", loaded.rows.to_pylist())

    def compact(self, name: str) -> None:
        self.desk.committer.commit(name, lambda _table, ledger: Change(ledger))

    def expire(self, name: str) -> None:
        """Snapshots in memory weigh nothing."""

    def hide_ledger(self, name: str) -> None:
        """Nobody else knows of this table."""


class History(RuleBasedStateMachine):
    """Producers, writers and everything that befalls them."""

    make: type[Shop] = MemoryShop

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.clock = SteppingClock()
        self.shop = self.make(self.folder, self.clock)
        self.desk = self.shop.desk
        self.shop.overtake = self.another_writer
        self.published: dict[Name, Message] = {}
        self.rows_of: dict[Name, list[int]] = {}  # trade ids, or places
        self.held_back: list[Name] = []
        self.unreadable: set[Name] = set()
        self.epochs: list[str] = []
        self.next_seq: Counter[tuple[str, str]] = Counter()
        self.new_epoch()

    # Producers

    def new_epoch(self) -> None:
        # Sortable by when it began, whatever the clock does afterwards.
        self.epochs.append(f"{self.clock.now_ns():016x}-{len(self.epochs):08x}")

    @rule(stream=streams, chosen=st.integers(0, 9), ids=numbers, fate=fates)
    def publish(self, stream: str, chosen: int, ids: list[int], fate: str) -> None:
        epoch = self.epochs[-1 - chosen % min(3, len(self.epochs))]
        seq = self.next_seq[stream, epoch]
        self.next_seq[stream, epoch] += 1
        rows = trades(ids, live=chosen % 2 == 0) if stream == "raw_trades" else events(len(ids))
        name = (stream, epoch, seq)
        self.published[name] = message(stream, seq, rows, epoch=epoch)
        self.rows_of[name] = ids if stream == "raw_trades" else list(range(len(ids)))
        if fate == "unreadable":
            self.unreadable.add(name)
        if fate == "held back":
            self.held_back.append(name)
        else:
            self.desk.publish(self.published[name])

    @precondition(lambda self: self.held_back)
    @rule()
    def publish_late(self) -> None:
        """What waited in a spool: a hole until now."""
        self.desk.publish(self.published[self.held_back.pop()])

    @precondition(lambda self: self.published)
    @rule(chosen=st.integers(0, 99), fault=faults)
    def publish_again(self, chosen: int, fault: str) -> None:
        """What was published long ago, or a moment ago, comes with the next."""
        name = sorted(self.published)[chosen % len(self.published)]
        self.desk.publish(self.published[name])
        self.publish_and_write(name[0], chosen, [chosen % 13], fault)

    # Writers

    @rule(stream=streams, chosen=st.integers(0, 9), ids=numbers, fault=faults)
    def publish_and_write(self, stream: str, chosen: int, ids: list[int], fault: str) -> None:
        self.publish(stream, chosen, ids, "sent")
        self.write(fault)

    @rule(fault=faults)
    def write(self, fault: str) -> None:
        self.shop.fault = fault
        self.run(lambda: self.checked(self.desk.write(streams=STREAMS), fault))
        self.shop.fault = ""

    @rule(fault=faults)
    def redrive(self, fault: str) -> None:
        self.shop.fault = fault
        self.run(self.desk.redrive)
        self.shop.fault = ""

    @staticmethod
    def checked(report: WriteReport, fault: str) -> None:
        """Only a catalog that stays away makes a call fail."""
        assert report.failed <= (fault == "down"), report

    def another_writer(self) -> None:
        """All leases are over, so it gets the very frames the first one is about to commit."""
        self.clock.jump(61)
        self.checked(self.desk.write(streams=STREAMS), "")

    def run(self, call: Callable[[], Any]) -> None:
        def read(given: Message) -> Frame:
            frame = decode_carried(given)
            if (frame.id.stream, frame.id.epoch, frame.id.seq) in self.unreadable:
                raise FrameError("this version cannot read it")
            return frame

        with self.shop.opened(), mock.patch.object(intakes, "decode_carried", read):
            try:
                call()
            except Killed:
                return

    def deploy(self) -> None:
        """Start a version that can read everything."""
        self.unreadable.clear()

    # Time and upkeep

    @rule(stream=streams, ids=numbers, fault=faults)
    def a_week_and_two_days_pass(self, stream: str, ids: list[int], fault: str) -> None:
        """Another producer starts, and epochs leave the ledger that were silent since."""
        self.clock.sleep(9 * 86_400)
        self.new_epoch()
        self.publish_and_write(stream, 0, ids, fault)

    @rule(how=st.sampled_from(["leases", "day", "step back", "producer", "deploy"]))
    def time_passes(self, how: str) -> None:
        if how == "leases":
            self.desk.expire_leases()
        elif how == "day":
            self.clock.sleep(86_400)
        elif how == "step back":
            self.clock.jump(-3_600)
        elif how == "producer":
            self.new_epoch()
        else:
            self.deploy()

    @rule(name=streams, how=st.sampled_from(["compact", "expire", "hide_ledger"]))
    def keep_up(self, name: str, how: str) -> None:
        self.run(lambda: getattr(self.shop, how)(name))

    # What holds

    def expected(self) -> Counter[RowKey]:
        """Return the rows that must be there in the end; of trades the ids alone."""
        counted = Counter(
            (stream, epoch, seq, place)
            for (stream, epoch, seq), places in self.rows_of.items()
            for place in places
            if stream == "events"
        )
        sold = {
            number
            for (stream, _, _), ids in self.rows_of.items()
            for number in ids
            if stream == "raw_trades"
        }
        return counted + Counter(("raw_trades", "", 0, number) for number in sold)

    def found(self) -> Counter[RowKey]:
        rows = [
            ("events", row["epoch"], row["seq"], row["row"]) for row in self.shop.rows("events")
        ]
        ids = [("raw_trades", "", 0, row["trade_id"]) for row in self.shop.rows("raw_trades")]
        return Counter([*rows, *ids])

    def ledger(self, name: str) -> Ledger:
        with self.shop.opened():
            return read_ledger(self.desk.tables.load(name))

    @invariant()
    def no_row_is_there_twice_and_none_was_made_up(self) -> None:
        if hasattr(self, "shop"):
            assert self.found() <= self.expected()

    def check_ledger(self, name: str) -> None:
        """What has rows is done, what is done has rows, as far as the ledger reaches."""
        stored = {(row["epoch"], row["seq"]) for row in self.shop.rows(name)}
        stream = self.ledger(name).stream(name)
        for stream_name, epoch, seq in self.published:
            known = stream.know(epoch, seq)
            if (epoch, seq) in stored and stream_name == name:
                assert known in {Knowledge.DONE, Knowledge.UNSURE}
            elif stream_name == name == "events" and self.rows_of[name, epoch, seq]:
                assert known is not Knowledge.DONE

    def teardown(self) -> None:
        if not hasattr(self, "shop"):
            return
        try:
            for name in STREAMS:
                self.check_ledger(name)
            self.settle()
            assert self.found() == self.expected()
            for name in STREAMS:
                self.check_ledger(name)
                known = self.ledger(name).stream(name).know
                names = [each for each in self.published if each[0] == name]
                assert all(known(*each[1:]) is not Knowledge.NEW for each in names)
        finally:
            self.desk.close()
            shutil.rmtree(self.folder)

    def settle(self) -> None:
        """Let everything come to an end: nothing fails any more, and time goes on."""
        self.deploy()
        while self.held_back:
            self.publish_late()
        for _ in range(40):
            self.clock.sleep(86_400)  # over every lease, release and step back
            self.write("")
            self.redrive("")
            left = [self.desk.waiting(name) + self.desk.dead(name) for name in STREAMS]
            if not any(left) and not list(self.desk.quarantine.messages()):
                return
        raise AssertionError("it does not come to an end")


class RealHistory(History):
    make = RealShop


# Elsewhere each run tries other histories.
_BOTH = settings(deadline=None, derandomize="CI" in os.environ)
History.TestCase.settings = settings(_BOTH, max_examples=40, stateful_step_count=20)
RealHistory.TestCase.settings = settings(_BOTH, max_examples=6, stateful_step_count=15)


def test_a_writer_that_is_overtaken_on_a_real_catalog_asks_the_ledger_again(tmp_path: Path) -> None:
    """What pyiceberg's own retry would append a second time."""
    clock = SteppingClock()
    shop = RealShop(tmp_path, clock)
    desk = shop.desk

    def overtake() -> None:
        clock.jump(61)
        assert desk.write(streams=STREAMS).streams["events"].inserted == 3

    shop.overtake = overtake
    desk.publish(message("events", 0, events(3)))
    shop.fault = "overtaken"
    with closing(desk), shop.opened():
        report = desk.write(streams=STREAMS).streams["events"]
        assert (report.inserted, report.duplicate, report.failed) == (0, 3, 0)
        assert desk.lineage("events") == [(EPOCH, 0, row) for row in range(3)]
        assert desk.waiting("events") == 0


test_every_history_leaves_each_row_once = History.TestCase
test_on_a_real_catalog_too = RealHistory.TestCase
