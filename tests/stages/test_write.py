"""`write` drains the streams: nothing is acked before it is durable, nothing is stored twice."""

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.exceptions import CommitStateUnknownException, ServiceUnavailableError
from pyiceberg.table import Table

from quotewatch import draining as drains
from quotewatch.bus.port import Delivery, Message
from quotewatch.bus.topology import COMMITTED
from quotewatch.errors import BusUnavailableError, ObjectStoreUnavailableError
from quotewatch.frames import Frame, FrameEncoder, FrameId
from quotewatch.streams import RAW_TRADES, SCHEMA_VERSION, STREAMS, TABLES
from quotewatch.tables.catalog import catalog_properties
from quotewatch.tables.commit import Committer
from quotewatch.tables.gathering import rows_of
from quotewatch.tables.intake import Intake
from quotewatch.tables.ledger import Knowledge
from quotewatch.tables.repair import Repair
from tests.bus.places import locked_file
from tests.tables.frames import (
    EPOCH,
    HEARD,
    Desk,
    Faults,
    arrived,
    assert_each_once,
    events,
    frame,
    message,
    relabelled,
    row_of,
    spoilt,
    trades,
)

LARGEST = 2**63 - 1


class Killed(BaseException):
    """The process ends here; nobody handles that."""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with closing(Desk(tmp_path)) as made:
        yield made.open()


def lineage(*seqs: int, rows: int = 1) -> list[tuple[str, int, int]]:
    return [(EPOCH, seq, row) for seq in seqs for row in range(rows)]


def publish_events(desk: Desk, count: int, *, rows: int = 1, start: int = 0) -> None:
    desk.publish(*[message("events", seq, events(rows)) for seq in range(start, start + count)])


# What goes right


def test_every_stream_goes_into_its_table(desk: Desk) -> None:
    streams = ("raw_orderbook", "raw_trades", "features", "events")
    desk.publish(*[message(each, 0, [row_of(each)]) for each in streams])
    report = desk.write()
    assert not report.failed
    assert report.drained
    for each in streams:
        assert_each_once(desk, each, lineage(0))
        assert desk.waiting(each) == 0
        stream = report.streams[each]
        assert (stream.reads, stream.records, stream.acked, stream.commits) == (2, 1, 1, 1)
        assert (stream.inserted, stream.duplicate, stream.failed) == (1, 0, 0)


def test_a_stream_without_frames_is_asked_once_and_commits_nothing(desk: Desk) -> None:
    report = desk.write()
    assert report.drained
    assert {each.reads for each in report.streams.values()} == {1}
    assert desk.table("events").current_snapshot() is None


def test_frames_that_come_again_are_counted_and_acked(desk: Desk) -> None:
    publish_events(desk, 2, rows=3)
    publish_events(desk, 2, rows=3)
    desk.write()
    publish_events(desk, 3, rows=3)
    stream = desk.write().streams["events"]
    assert (stream.inserted, stream.duplicate, stream.acked) == (3, 6, 3)
    assert_each_once(desk, "events", lineage(0, 1, 2, rows=3))


def test_what_was_committed_is_announced(desk: Desk) -> None:
    publish_events(desk, 2, rows=2)
    desk.write()
    publish_events(desk, 2, rows=2)
    desk.write()  # nothing new, so nothing is said
    [heard] = desk.bus.pull(HEARD)
    snapshot = desk.table("events").current_snapshot()
    assert snapshot is not None
    assert heard.message.attributes == {
        "table": "events",
        "rows": "4",
        "snapshot": str(snapshot.snapshot_id),
    }


def test_an_announcement_that_fails_costs_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_events(desk, 1)
    real = desk.bus.publish

    def publish(topic: str, messages: Sequence[Message], **options: Any) -> list[str]:
        if topic == COMMITTED:
            raise BusUnavailableError("the line is cut")
        return real(topic, messages, **options)

    monkeypatch.setattr(desk.bus, "publish", publish)
    assert not desk.write().failed
    assert desk.waiting("events") == 0


# When a commit is made, and when a call ends


@pytest.mark.parametrize(
    ("limit", "value", "commits"), [("COMMIT_ROWS", 4, 3), ("COMMIT_BYTES", 1, 6), ("", 0, 1)]
)
def test_a_commit_ends_at_so_many_rows_or_bytes(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, commits: int
) -> None:
    if limit:
        monkeypatch.setattr(drains, limit, value)
    publish_events(desk, 6, rows=2)
    stream = desk.write().streams["events"]
    assert (stream.commits, stream.inserted, stream.acked) == (commits, 12, 6)
    assert len(desk.table("events").metadata.snapshots) == commits
    assert_each_once(desk, "events", lineage(*range(6), rows=2))


def test_a_commit_ends_at_its_age(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_events(desk, 6)
    monkeypatch.setattr(drains, "PULL_MESSAGES", 1)
    real = desk.bus.pull

    def slow(*given: Any, **options: Any) -> list[Delivery]:
        desk.clock.sleep(10)
        return real(*given, **options)

    monkeypatch.setattr(desk.bus, "pull", slow)
    stage = desk.stage(budget_seconds=500, longest_age_seconds=20, streams=("events",))
    stream = stage.run_once().streams["events"]
    assert (stream.commits, stream.acked) == (3, 6)


def test_frames_published_after_the_call_began_end_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a busy stream would hold the call for ever."""
    publish_events(desk, 1)
    real, count = desk.bus.pull, [1]

    def busy(*given: Any, **options: Any) -> list[Delivery]:
        desk.clock.sleep(0.01)
        publish_events(desk, 1, start=count[0])
        count[0] += 1
        return real(*given, **options)

    monkeypatch.setattr(drains, "PULL_MESSAGES", 1)
    monkeypatch.setattr(desk.bus, "pull", busy)
    stream = desk.write(streams=("events",)).streams["events"]
    # The second pull holds only what is younger than the call: it is stored, and the last.
    assert (stream.reads, stream.acked) == (2, 2)
    assert desk.waiting("events") == 1


def test_the_budget_ends_a_call_and_the_backlog_of_one_leaves_the_others_time(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.publish(*[message("raw_orderbook", seq, [row_of("raw_orderbook")]) for seq in range(40)])
    publish_events(desk, 2)
    monkeypatch.setattr(drains, "PULL_MESSAGES", 1)
    real = desk.bus.pull

    def slow(*given: Any, **options: Any) -> list[Delivery]:
        desk.clock.sleep(1)
        return real(*given, **options)

    monkeypatch.setattr(desk.bus, "pull", slow)
    report = desk.write(budget_seconds=20)
    assert report.seconds == 20
    # Four seconds of the first share; what the others did not need comes back to it.
    assert report.streams["raw_orderbook"].reads == 20 - 1 - 1 - 1 - 3
    assert report.streams["events"].acked == 2
    assert not report.drained
    assert not report.failed
    assert desk.waiting("raw_orderbook") == 40 - 14
    assert len(desk.rows("raw_orderbook")) == 14


def test_a_table_that_takes_all_the_time_does_not_take_that_of_the_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one is tried until patience is over, longer than the whole call may take."""
    desk.publish(message("raw_orderbook", 0, [row_of("raw_orderbook")]))
    publish_events(desk, 1)
    for name in ("raw_orderbook", "raw_trades", "features", "events"):
        desk.tables.load(name)
    catalog: Any = desk.tables.catalog
    real = catalog.commit_table

    def commit(table: Table, *given: Any) -> Any:
        if table.name()[-1] == "raw_orderbook":
            raise ServiceUnavailableError("503")
        return real(table, *given)

    monkeypatch.setattr(catalog, "commit_table", commit)
    report = desk.write(budget_seconds=45)
    assert report.seconds > 45
    assert report.streams["raw_orderbook"].error
    assert report.streams["events"].acked == 1


# What goes wrong outside


def test_a_failing_table_holds_up_no_other(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("raw_orderbook", "raw_trades", "features", "events"):
        desk.publish(message(name, 0, [row_of(name)]))
    real = desk.tables.load

    def load(name: str) -> Table:
        if name == "raw_trades":
            raise ServiceUnavailableError("503")
        return real(name)

    monkeypatch.setattr(desk.tables, "load", load)
    report = desk.write()
    assert report.failed
    assert not report.drained
    assert [name for name, each in report.streams.items() if each.error] == ["raw_trades"]
    assert [name for name, each in report.streams.items() if each.acked] == [
        "raw_orderbook",
        "features",
        "events",
    ]
    assert report.streams["raw_trades"].reads == 0  # nothing leased, so no attempt is spent


def test_what_nobody_thought_of_holds_up_no_other_stream(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.publish(message("raw_trades", 0, trades([1])))
    publish_events(desk, 1)
    real = drains._decoded

    def decoded(given: Message, stream: str) -> Frame:
        if stream == "raw_trades":
            raise ZeroDivisionError("a mistake in the program")
        return real(given, stream)

    monkeypatch.setattr(drains, "_decoded", decoded)
    report = desk.write()
    assert report.failed
    assert report.streams["raw_trades"].error == "ZeroDivisionError: a mistake in the program"
    assert report.streams["events"].acked == 1
    assert desk.waiting("raw_trades") == 1


def test_a_catalog_that_is_locked_is_named_and_nothing_is_acked(tmp_path: Path) -> None:
    given = catalog_properties(f"sqlite:///{tmp_path / 'catalog.db'}?timeout=0.01", "", tmp_path)
    with closing(Desk(tmp_path, properties=given).open()) as desk:
        desk.write()
        publish_events(desk, 2)
        with locked_file(tmp_path / "catalog.db"):
            report = desk.write()
        assert "the catalog did not answer" in str(report.streams["events"].error)
        assert (report.streams["events"].reads, desk.waiting("events")) == (0, 2)
        assert not desk.write().failed  # nothing was leased: they are there at once
        assert_each_once(desk, "events", lineage(0, 1))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), CommitStateUnknownException("500")],
    ids=["disk full", "unknown"],
)
def test_a_commit_that_fails_acks_nothing_and_loses_nothing(
    desk: Desk, when: str, error: Exception
) -> None:
    desk.write()  # the tables are there
    desk.committer = Committer(desk.tables, clock=desk.clock, patience_seconds=0)
    publish_events(desk, 3, rows=2)
    Faults(desk.tables, (when, error))
    stream = desk.write().streams["events"]
    assert stream.error
    assert (stream.failed, stream.inserted, stream.acked) == (6, 0, 0)
    assert desk.waiting("events") == 3
    assert desk.bus.pull("events.write") == []  # given back for a moment, not at once
    desk.clock.sleep(drains.FAILED_SECONDS)
    stream = desk.write().streams["events"]
    landed = 6 if when == "after" else 0
    assert (stream.inserted, stream.duplicate, stream.acked) == (6 - landed, landed, 3)
    assert_each_once(desk, "events", lineage(0, 1, 2, rows=2))


@pytest.mark.parametrize("call", ["ack", "release"])
def test_a_bus_that_is_gone_after_the_commit_makes_duplicates_and_no_rows(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    publish_events(desk, 2)
    with monkeypatch.context() as patch:
        patch.setattr(desk.bus, call, _cut)
        if call == "release":  # and the commit fails too
            Faults(desk.tables, *[("before", OSError(errno.EIO, "broken"))] * 9)
        report = desk.write(streams=("events",))
    assert report.failed
    assert report.streams["events"].acked == 0
    desk.expire_leases()
    desk.tables.close()  # a new process
    stream = desk.write().streams["events"]
    assert stream.inserted + stream.duplicate == 2
    assert_each_once(desk, "events", lineage(0, 1))


def _cut(*_given: Any, **_options: Any) -> None:
    raise BusUnavailableError("the line is cut")


def test_a_bus_that_does_not_answer_is_counted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk.bus, "pull", _cut)
    report = desk.write()
    assert [each.error for each in report.streams.values()] == ["the line is cut"] * len(STREAMS)
    assert desk.recorder.value("processor_consumer_reads_total", result="error") == len(STREAMS)


# Frames of other versions, and what is no frame


def test_a_frame_of_an_older_version_is_stored_with_null(desk: Desk) -> None:
    older = message("raw_trades", 0, trades([1], sequence=9), without=["sequence"], schema=0)
    desk.publish(older)
    assert not desk.write().failed
    [row] = desk.rows("raw_trades")
    assert (row["trade_id"], row["sequence"]) == (1, None)


def test_a_frame_of_a_newer_version_waits_for_a_newer_program(desk: Desk) -> None:
    desk.publish(message("events", 0, events(1), schema=SCHEMA_VERSION + 1))
    publish_events(desk, 1, start=1)
    report = desk.write()
    stream = report.streams["events"]
    assert report.failed
    assert "deploy this process again" in str(stream.error)
    assert (stream.newer_schema, stream.quarantined, stream.acked, stream.inserted) == (1, 0, 1, 1)
    assert list(desk.quarantine.messages()) == []
    assert desk.ledger("events").stream("events").know(EPOCH, 0) is Knowledge.NEW
    desk.clock.sleep(599)
    assert desk.write().streams["events"].records == 0
    desk.clock.sleep(1)
    assert desk.write().streams["events"].newer_schema == 1
    assert desk.waiting("events") == 1


def _doubled_column() -> Message:
    batch = frame("events", 0, events(1)).rows
    doubled = pa.RecordBatch.from_arrays(
        [*batch.columns, batch.column(0)], names=[*batch.schema.names, batch.schema.names[0]]
    )
    return FrameEncoder().encode(Frame(FrameId("events", EPOCH, 0), "test", doubled, 1, 2))


EVENT = message("events", 0, events(1))
NO_FRAMES: dict[str, tuple[str, Message, bool]] = {
    # its topic, the message, whether it can be named
    "not arrow": ("events", spoilt(EVENT), True),
    "cut": ("events", Message(EVENT.data[:-9], EVENT.attributes), True),
    "another stream": ("events", message("features", 0, [row_of("features")]), False),
    "no attributes": ("events", Message(EVENT.data), False),
    "no seq": ("events", relabelled(EVENT, seq=None), False),
    "no epoch": ("events", relabelled(EVENT, epoch=None), False),
    "rows that lie": ("events", relabelled(EVENT, rows="2"), True),
    "a seq over 64 bits": ("events", relabelled(EVENT, seq=str(LARGEST + 1)), False),
    "a seq of 900 digits": ("events", relabelled(EVENT, seq="9" * 900), False),
    "a column twice": ("events", _doubled_column(), True),
    "a negative trade": ("raw_trades", message("raw_trades", 0, trades([5, -1])), True),
    "a missing column": (
        "raw_trades",
        message("raw_trades", 0, trades([5]), without=["price"]),
        True,
    ),
}


@pytest.mark.parametrize("case", NO_FRAMES)
def test_what_is_no_frame_is_put_aside_whole_once(desk: Desk, case: str) -> None:
    topic, bad, named = NO_FRAMES[case]
    good = message(topic, 7, trades([7]) if topic == RAW_TRADES.name else events(1))
    desk.publish(bad, good, topic=topic)
    report = desk.write()
    assert not report.failed
    stream = report.streams[topic]
    assert (stream.quarantined, stream.acked, stream.inserted) == (1, 2, 1)
    assert desk.waiting(topic) == 0
    [aside] = desk.quarantine.messages()
    assert aside.message == Message(bad.data, dict(bad.attributes))
    assert aside.stream == topic
    assert aside.reason
    assert desk.recorder.value("processor_decode_errors_total") == 1
    assert_each_once(desk, topic, lineage(7))
    known = desk.ledger(topic).stream(topic).know(EPOCH, 0)
    assert known is (Knowledge.QUARANTINED if named else Knowledge.NEW)
    desk.publish(bad, topic=topic)  # delivered again
    assert desk.write().streams[topic].acked == 1
    assert len(list(desk.quarantine.messages())) == 1


def test_the_largest_seq_there_is_is_a_frame(desk: Desk) -> None:
    desk.publish(message("events", LARGEST, events(1)), message("events", 0, events(1)))
    desk.publish(message("events", LARGEST, events(1)))
    stream = desk.write().streams["events"]
    assert (stream.inserted, stream.duplicate, stream.quarantined) == (2, 1, 0)
    assert desk.lineage("events") == lineage(0, LARGEST)


def test_a_quarantine_that_is_away_costs_only_its_own_messages(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.publish(spoilt(EVENT))
    publish_events(desk, 2, start=1)

    def away(*_: Any) -> int:
        raise ObjectStoreUnavailableError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(desk.objects, "create", away)
        stream = desk.write().streams["events"]
    assert stream.error == "no answer"
    assert (stream.inserted, stream.acked, stream.quarantined) == (2, 2, 0)
    assert desk.waiting("events") == 1
    desk.clock.sleep(drains.FAILED_SECONDS)
    assert desk.write().streams["events"].quarantined == 1


# A ledger that is gone


@pytest.mark.parametrize("gone", ["hidden", "file removed"])
def test_a_table_without_its_ledger_is_refused_until_it_is_repaired(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    if gone == "file removed":
        monkeypatch.setattr("quotewatch.tables.commit.INLINE_BYTES", 0)
    publish_events(desk, 2, rows=2)
    desk.write()
    if gone == "hidden":
        foreign = rows_of("events", [arrived("events", 0, events(1), epoch="foreign")])
        desk.table("events").append(foreign.cast(TABLES["events"].schema))
    else:
        for path in (desk.folder / "warehouse").rglob("*ledger-*"):
            path.unlink()
    publish_events(desk, 4, rows=2)
    report = desk.write()
    assert "python -m quotewatch repair-ledger events" in str(report.streams["events"].error)
    assert report.streams["events"].acked == 0
    assert desk.waiting("events") == 4
    Repair(desk.committer, desk.clock).run("events")
    desk.clock.sleep(drains.FAILED_SECONDS)
    stream = desk.write().streams["events"]
    assert (stream.inserted, stream.duplicate, stream.acked) == (4, 4, 4)
    theirs = [("foreign", 0, 0)] if gone == "hidden" else []
    assert_each_once(desk, "events", lineage(0, 1, 2, 3, rows=2) + theirs)


# A frame that kills its consumer


class Killer:
    """Ends the process whenever one of some frames is decoded, or committed."""

    def __init__(self, desk: Desk, patch: pytest.MonkeyPatch, *seqs: int, at: str) -> None:
        self.desk = desk
        self.seqs = set(seqs)
        self.company: list[int] = []  # how many frames died with one at a commit
        if at == "decode":
            decoded = drains._decoded
            patch.setattr(drains, "_decoded", lambda *given: self.checked(decoded(*given)))
        else:
            store = Intake.store

            def deadly(intake: Any, frames: Any, *rest: Any) -> Any:
                seqs = {each.frame.id.seq for each in frames}
                if seqs & self.seqs:
                    self.company.append(len(seqs))
                    raise Killed
                return store(intake, frames, *rest)

            patch.setattr(Intake, "store", deadly)

    def checked(self, frame: Frame) -> Frame:
        if frame.id.seq in self.seqs:
            raise Killed
        return frame

    def runs(self, wanted: Callable[[], bool], *, at_most: int) -> int:
        """Run again and again, each time in a new process, until it is as wanted."""
        for run in range(at_most):
            if wanted():
                return run
            with suppress(Killed):
                self.desk.write(streams=("events",))
            self.desk.expire_leases()
        raise AssertionError(f"{self.desk.waiting('events')} frames wait after {at_most} runs")


@pytest.mark.parametrize("at", ["decode", "commit"])
@pytest.mark.parametrize("deadly", [(0,), (5,), (0, 11)], ids=["first", "middle", "both ends"])
def test_a_frame_that_kills_its_consumer_ends_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, at: str, deadly: tuple[int, ...]
) -> None:
    """Twelve were published together, so they are leased together, time and again."""
    publish_events(desk, 12)
    killer = Killer(desk, monkeypatch, *deadly, at=at)
    alive = [seq for seq in range(12) if seq not in deadly]
    killer.runs(lambda: desk.waiting("events") == len(deadly), at_most=60)
    assert_each_once(desk, "events", lineage(*alive))


def test_after_a_hundred_attempts_a_killer_is_a_dead_letter_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_events(desk, 4)
    killer = Killer(desk, monkeypatch, 0, at="decode")
    killer.runs(lambda: desk.dead("events") == 1, at_most=102)
    assert desk.waiting("events") == 0
    assert_each_once(desk, "events", lineage(1, 2, 3))
    [dead] = desk.bus.pull("events-dead.redrive")
    assert dead.message.attributes["seq"] == "0"


def test_who_was_tried_often_is_committed_without_those_who_are_new(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if they come with a later pull: a commit may kill as well."""
    publish_events(desk, 1)
    killer = Killer(desk, monkeypatch, 0, at="commit")
    killer.runs(lambda: len(killer.company) == 5, at_most=6)
    monkeypatch.setattr(drains, "PULL_MESSAGES", 1)
    publish_events(desk, 3, start=1)
    # The clock stands still, so the old one is pulled by itself, before those.
    killer.runs(lambda: desk.waiting("events") == 1, at_most=20)
    assert set(killer.company) == {1}


def test_clocks_that_step_back_lose_nothing(desk: Desk) -> None:
    publish_events(desk, 1)
    desk.write()
    desk.clock.start_ns -= 3_600 * 10**9
    publish_events(desk, 2, start=1)
    stream = desk.write().streams["events"]
    assert (stream.inserted, stream.lag_seconds) == (2, 0.0)
    assert_each_once(desk, "events", lineage(0, 1, 2))


def test_a_frame_that_was_put_aside_is_stored_when_its_own_bytes_come(desk: Desk) -> None:
    desk.publish(spoilt(EVENT))
    desk.write()
    desk.publish(EVENT)
    assert desk.write().streams["events"].inserted == 1
    assert_each_once(desk, "events", lineage(0))


def test_each_call_may_begin_with_another_stream(desk: Desk) -> None:
    pulled: list[str] = []
    pull = desk.bus.pull

    def noted(subscription: str, **given: Any) -> Any:
        pulled.append(subscription)
        return pull(subscription, **given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(desk.bus, "pull", noted)
        for first in range(len(STREAMS)):
            desk.write(first=lambda _, first=first: first)
    assert pulled[:: len(STREAMS)] == [f"{stream}.write" for stream in STREAMS]
    assert len(set(pulled[5:10])) == len(STREAMS)


def test_a_hidden_ledger_is_told_before_anything_is_leased(desk: Desk) -> None:
    desk.tables.load("events")
    desk.table("events").append(TABLES["events"].schema.empty_table())
    desk.publish(message("events", 0, events(1)))
    report = desk.write().streams["events"]
    assert "repair-ledger events" in str(report.error)
    assert report.reads == 0
    assert len(desk.bus.pull("events.write")) == 1
