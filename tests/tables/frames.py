"""Frames of any stream made from a few words, and one machine in a folder to store them on."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.table import Table

from quotewatch.bus.port import Bus, DeadLetter, Message, Subscription
from quotewatch.bus.sqlite import SqliteBus
from quotewatch.bus.topology import (
    COMMITTED,
    dead_letter_topic,
    dead_subscription,
    topology,
    write_subscription,
)
from quotewatch.clock import NS_PER_SECOND
from quotewatch.frames import Frame, FrameEncoder, FrameId
from quotewatch.metrics.recorder import Recorder
from quotewatch.objects.local import LocalObjects
from quotewatch.quarantine import Quarantine
from quotewatch.stages.redrive import RedriveReport, RedriveStage
from quotewatch.stages.write import WriteReport, WriteStage
from quotewatch.streams import SCHEMA_VERSION, STREAMS
from quotewatch.tables.catalog import NAMESPACE, Tables, catalog_properties
from quotewatch.tables.commit import Committer, read_ledger
from quotewatch.tables.gathering import Arrived
from quotewatch.tables.ledger import Ledger
from tests.bus.clocks import HandClock

Row = dict[str, Any]

EPOCH = "0018c0ffee000000-00000001"
HEARD = "committed.test"
NOON_US = 1_786_276_800_000_000  # 2026-08-09 12:00, so that rows of a test share their day
DAY_US = 86_400_000_000
_PLAIN: tuple[tuple[Callable[[Any], bool], Any], ...] = (
    (pa.types.is_string, "x"),
    (pa.types.is_boolean, True),
    (pa.types.is_integer, 1),
    (pa.types.is_floating, 0.5),
    (pa.types.is_decimal, Decimal(1)),
    (pa.types.is_timestamp, NOON_US),
)


def row_of(stream: str, **values: Any) -> Row:
    """Make a row of which only the given values matter; what is optional is null."""
    row: Row = {}
    for field in STREAMS[stream].schema:
        plain = [value for fits, value in _PLAIN if fits(field.type)]
        row[field.name] = None if field.nullable else (plain[0] if plain else [])
    row.pop("row", None)  # an answer says which row it is of; a frame here numbers them
    return {**row, **values}


def trades(ids: Iterable[int], symbol: str = "BTC-USD", **values: Any) -> list[Row]:
    return [row_of("raw_trades", symbol=symbol, trade_id=number, **values) for number in ids]


def events(count: int, **values: Any) -> list[Row]:
    return [row_of("events", arrival=number, **values) for number in range(count)]


def frame(
    stream: str,
    seq: int,
    rows: Sequence[Row],
    *,
    epoch: str = EPOCH,
    schema: int = SCHEMA_VERSION,
    without: Sequence[str] = (),
) -> Frame:
    numbered = [{"row": number, **row} for number, row in enumerate(rows)]
    batch = pa.RecordBatch.from_pylist(numbered, schema=STREAMS[stream].schema)
    if without:
        batch = batch.drop_columns(list(without))
    return Frame(FrameId(stream, epoch, seq), "test", batch, 1, 2, schema)


def arrived(
    stream: str, seq: int, rows: Sequence[Row], *, epoch: str = EPOCH, second: int = 1_790_000_000
) -> Arrived:
    return Arrived(frame(stream, seq, rows, epoch=epoch), second * NS_PER_SECOND)


def message(stream: str, seq: int, rows: Sequence[Row], **options: Any) -> Message:
    return FrameEncoder().encode(frame(stream, seq, rows, **options))


def relabelled(good: Message, **attributes: str | None) -> Message:
    """Return a message with changed attributes; None removes one."""
    changed = {**good.attributes, **attributes}
    return Message(good.data, {name: text for name, text in changed.items() if text is not None})


def spoilt(good: Message) -> Message:
    """Return a message that keeps its identity and is no Arrow."""
    return Message(b"not arrow", dict(good.attributes))


class Desk:
    """A bus, tables, objects and metrics in one folder, on a clock that stands still."""

    def __init__(
        self,
        folder: Path,
        *,
        properties: Mapping[str, str] | None = None,
        bus: Bus | None = None,
        clock: HandClock | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.folder = folder
        self.clock = clock or HandClock()
        self.properties = dict(properties or catalog_properties("", "", folder))
        self.bus = bus or SqliteBus(folder / "bus.db", clock=self.clock, sleep=self.clock.sleep)
        self.tables = Tables(self.properties)
        self.objects = LocalObjects(folder / "objects")
        self.quarantine = Quarantine(self.objects)
        self.recorder = recorder or Recorder("test")
        self.committer = Committer(
            self.tables, clock=self.clock, sleep=self.clock.sleep, recorder=self.recorder
        )

    def open(self, *, attempts: int | None = None) -> "Desk":
        """Make topics and subscriptions; dead letters after so many attempts, if said."""
        made = topology()
        heard = Subscription(HEARD, COMMITTED)
        impatient = [_impatient(stream, attempts) for stream in STREAMS] if attempts else []
        self.bus.create(made.topics, [*impatient, heard])
        self.bus.create(made.topics, made.subscriptions)
        return self

    def close(self) -> None:
        self.bus.close()
        self.tables.close()

    def publish(self, *messages: Message, topic: str | None = None) -> None:
        for each in messages:
            self.bus.publish(topic or each.attributes["stream"], [each])

    def stage(self, **options: Any) -> WriteStage:
        parts = {
            "bus": self.bus,
            "committer": self.committer,
            "quarantine": self.quarantine,
            "recorder": self.recorder,
            "clock": self.clock,
            "first": lambda _: 0,
        }
        return WriteStage(**{**parts, **options})

    def write(self, **options: Any) -> WriteReport:
        return self.stage(**options).run_once()

    def redrive(self) -> RedriveReport:
        return RedriveStage(self.bus, self.committer, self.quarantine).run_once()

    def expire_leases(self) -> None:
        self.clock.sleep(61)

    def waiting(self, stream: str) -> int:
        """Count what `write` has not acked, leased or not."""
        return self._backlog(write_subscription(stream))

    def dead(self, stream: str) -> int:
        return self._backlog(dead_subscription(stream))

    def _backlog(self, subscription: str) -> int:
        assert isinstance(self.bus, SqliteBus)
        return self.bus.backlog(subscription).messages

    def table(self, name: str) -> Table:
        """Load the table past all code under test."""
        return self.tables.catalog.load_table((NAMESPACE, name))

    def ledger(self, name: str) -> Ledger:
        return read_ledger(self.table(name))

    def rows(self, name: str) -> list[Row]:
        """Read the rows in the order of their lineage."""
        found = rows_in(self.table(name))
        return sorted(found, key=lambda row: (row["epoch"], row["seq"], row["row"]))

    def lineage(self, name: str) -> list[tuple[str, int, int]]:
        return [(row["epoch"], row["seq"], row["row"]) for row in self.rows(name)]


def rows_in(table: Table) -> list[Row]:
    return table.scan().to_arrow().to_pylist()


def frames_in(rows: Iterable[Row]) -> set[tuple[str, int]]:
    return {(row["epoch"], row["seq"]) for row in rows}


def assert_each_once(desk: Desk, name: str, expected: Iterable[tuple[str, int, int]]) -> None:
    """Rows are what was published, each once, and the ledger says the same as their lineage."""
    found = desk.lineage(name)
    assert found == sorted(expected)
    entries = desk.ledger(name).stream(name).epochs
    noted = {(epoch, seq) for epoch, entry in entries.items() for seq in numbers(entry.done)}
    assert {(epoch, seq) for epoch, seq, _ in found} == noted


def numbers(intervals: Iterable[tuple[int, int]]) -> list[int]:
    return [number for first, last in intervals for number in range(first, last + 1)]


def time_of(us: int) -> datetime:
    return datetime.fromtimestamp(us / 1_000_000, UTC)


def _impatient(stream: str, attempts: int) -> Subscription:
    dead = DeadLetter(dead_letter_topic(stream), attempts)
    return Subscription(write_subscription(stream), stream, 60, dead)


class Faults:
    """Stands before a catalog's commits and spoils those it was told to, in order.

    `before`: nothing has happened. `after`: it has, and only the answer is spoilt.
    """

    def __init__(self, tables: Tables, *faults: tuple[str, BaseException]) -> None:
        self.asked = 0
        self.landed = 0
        self.on_commit: Callable[[], None] = lambda: None  # e.g. the time it takes
        self._faults = list(faults)
        catalog: Any = tables.catalog
        self._real = catalog.commit_table
        catalog.commit_table = self._commit  # on this one alone

    def add(self, *faults: tuple[str, BaseException]) -> None:
        self._faults += faults

    def _commit(self, *given: Any, **named: Any) -> Any:
        self.asked += 1
        self.on_commit()
        when, error = self._faults.pop(0) if self._faults else ("", None)
        if error is not None and when == "before":
            raise error
        answer = self._real(*given, **named)
        self.landed += 1
        if error is not None:
            raise error
        return answer
