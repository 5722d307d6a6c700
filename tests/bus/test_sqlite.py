"""What SQLite alone can show: exact times, the file, and locks."""

import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest

from quotewatch.bus.port import SOURCE_ATTEMPTS, DeadLetter, Message, Subscription
from quotewatch.bus.sqlite import Backlog, SqliteBus
from quotewatch.errors import BusError, BusUnavailableError
from tests.bus.places import (
    DEAD,
    READER,
    TOPIC,
    SqlitePlace,
    ack_all,
    bodies,
    locked_file,
    reader,
    release_all,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bus(sqlite_place: SqlitePlace) -> SqliteBus:
    opened = sqlite_place.open()
    opened.create([TOPIC, DEAD], [reader()])
    return opened


def rows(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608


def test_a_lease_ends_exactly_at_the_ack_deadline(
    sqlite_place: SqlitePlace, bus: SqliteBus
) -> None:
    bus.publish(TOPIC, [Message(b"a")])
    assert len(bus.pull(READER)) == 1
    sqlite_place.pass_seconds(9.999)
    assert bus.pull(READER) == []
    sqlite_place.pass_seconds(0.001)
    assert [delivery.attempt for delivery in bus.pull(READER)] == [2]


def test_the_ack_of_an_expired_lease_does_not_touch_the_next_one(
    sqlite_place: SqlitePlace, bus: SqliteBus
) -> None:
    bus.publish(TOPIC, [Message(b"a")])
    late = bus.pull(READER)
    sqlite_place.pass_seconds(10)
    assert len(bus.pull(READER)) == 1
    ack_all(bus, READER, late)
    release_all(bus, READER, late)
    assert bus.pull(READER) == []
    sqlite_place.pass_seconds(10)
    assert bodies(bus.pull(READER)) == [b"a"]


def test_an_expired_lease_may_still_be_acked_while_nobody_else_has_it(
    sqlite_place: SqlitePlace, bus: SqliteBus
) -> None:
    bus.publish(TOPIC, [Message(b"a")])
    late = bus.pull(READER)
    sqlite_place.pass_seconds(60)
    ack_all(bus, READER, late)
    assert bus.pull(READER) == []


def test_messages_come_in_the_order_they_became_due(
    sqlite_place: SqlitePlace, bus: SqliteBus
) -> None:
    bus.publish(TOPIC, [Message(b"0"), Message(b"1")])
    release_all(bus, READER, bus.pull(READER, max_messages=1), delay_seconds=3)
    sqlite_place.pass_seconds(2)
    bus.publish(TOPIC, [Message(b"2")])
    sqlite_place.pass_seconds(2)
    bus.publish(TOPIC, [Message(b"3")])
    assert bodies(bus.pull(READER)) == [b"1", b"2", b"0", b"3"]


def test_a_consumer_that_dies_each_time_leaves_a_dead_letter(
    sqlite_place: SqlitePlace, bus: SqliteBus
) -> None:
    strict = Subscription("raw_trades.strict", TOPIC, 10, DeadLetter(DEAD, 5))
    bus.create([], [strict, reader("raw_trades-dead.redrive", DEAD)])
    bus.publish(TOPIC, [Message(b"poison")])
    for _ in range(5):
        assert len(bus.pull("raw_trades.strict")) == 1
        sqlite_place.pass_seconds(10)
    # Whoever looks first finds it moved, also without a pull on the subscription it comes from.
    [letter] = bus.peek("raw_trades-dead.redrive")
    assert letter.message.attributes[SOURCE_ATTEMPTS] == "5"
    assert bus.backlog("raw_trades.strict") == Backlog(0, None)
    assert bus.backlog("raw_trades-dead.redrive") == Backlog(1, 0.0)


def test_a_dead_letter_needs_a_subscription_to_be_kept(
    sqlite_place: SqlitePlace, bus: SqliteBus
) -> None:
    bus.create([], [Subscription("raw_trades.strict", TOPIC, 10, DeadLetter(DEAD, 5))])
    bus.publish(TOPIC, [Message(b"poison")])
    ack_all(bus, READER, bus.pull(READER))
    for _ in range(5):
        release_all(bus, "raw_trades.strict", bus.pull("raw_trades.strict"))
    assert bus.pull("raw_trades.strict") == []
    assert rows(sqlite_place.path, "messages") == 0


def test_backlog_counts_what_is_not_acked_leased_or_not(
    sqlite_place: SqlitePlace, bus: SqliteBus
) -> None:
    assert bus.backlog(READER) == Backlog(0, None)
    bus.publish(TOPIC, [Message(b"0"), Message(b"1")])
    sqlite_place.pass_seconds(4)
    bus.publish(TOPIC, [Message(b"2")])
    leased = bus.pull(READER, max_messages=2)
    assert bus.backlog(READER) == Backlog(3, 4.0)
    ack_all(bus, READER, leased)
    assert bus.backlog(READER) == Backlog(1, 0.0)


def test_peek_counts_no_attempt(bus: SqliteBus) -> None:
    bus.publish(TOPIC, [Message(b"a")])
    for _ in range(3):
        assert len(bus.peek(READER)) == 1
    assert [delivery.attempt for delivery in bus.pull(READER)] == [1]


def test_a_message_is_deleted_when_its_last_subscription_has_acked_it(
    sqlite_place: SqlitePlace, bus: SqliteBus
) -> None:
    bus.create([], [reader("raw_trades.other")])
    bus.publish(TOPIC, [Message(b"a")])
    ack_all(bus, READER, bus.pull(READER))
    assert rows(sqlite_place.path, "messages") == 1
    ack_all(bus, "raw_trades.other", bus.pull("raw_trades.other"))
    assert rows(sqlite_place.path, "messages") == 0


def test_a_message_nobody_subscribed_to_takes_no_room(
    sqlite_place: SqlitePlace, bus: SqliteBus
) -> None:
    bus.publish(DEAD, [Message(b"a")])
    assert rows(sqlite_place.path, "messages") == 0


def test_the_file_does_not_grow_with_what_passes_through(
    sqlite_place: SqlitePlace, bus: SqliteBus
) -> None:
    for _ in range(150):
        bus.publish(TOPIC, [Message(bytes(50_000))] * 4)
        ack_all(bus, READER, bus.pull(READER))
    # 30 MB have passed; 200 kB were there at any one time.
    bus.close()
    assert sqlite_place.path.stat().st_size < 2_000_000


def test_a_locked_file_makes_every_writing_call_retryable(
    sqlite_place: SqlitePlace, bus: SqliteBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quotewatch.bus.sqlite.CALL_SECONDS", 0.1)
    bus.publish(TOPIC, [Message(b"a")])
    with locked_file(sqlite_place.path):
        for call in (
            lambda: bus.create([TOPIC], []),
            lambda: bus.publish(TOPIC, [Message(b"b")], timeout_seconds=0),
            lambda: bus.pull(READER),
            lambda: bus.ack(READER, ["1-1"]),
            lambda: bus.release(READER, ["1-1"]),
        ):
            with pytest.raises(BusUnavailableError, match="locked"):
                call()
        assert len(bus.peek(READER)) == 1  # reading goes on
    assert bodies(bus.pull(READER)) == [b"a"]


def test_a_thread_that_keeps_the_bus_busy_does_not_hold_up_a_publisher(
    sqlite_place: SqlitePlace, bus: SqliteBus
) -> None:
    with (
        bus._database.reading(1.0),
        pytest.raises(BusUnavailableError, match="other threads"),
    ):
        bus.publish(TOPIC, [Message(b"a")], timeout_seconds=0.05)
    assert sqlite_place.open().pull(READER) == []


def test_a_failed_transaction_leaves_nothing_and_the_bus_usable(bus: SqliteBus) -> None:
    with suppress(ZeroDivisionError), bus._database.writing(1.0) as connection:
        connection.execute("INSERT INTO topics (name) VALUES ('half-done')")
        raise ZeroDivisionError
    with pytest.raises(BusError, match="half-done does not exist"):
        bus.publish("half-done", [Message(b"a")])


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bus.db"
    path.write_bytes(b"this is no database, and long enough to be looked at" * 40)
    with closing(SqliteBus(path)) as bus, pytest.raises(BusError, match=r"bus\.db") as refused:
        bus.pull(READER)
    assert not isinstance(refused.value, BusUnavailableError)


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bus.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with closing(SqliteBus(path)) as bus, pytest.raises(BusError, match="version 2"):
        bus.pull(READER)


def test_a_folder_that_cannot_be_made_may_appear_later(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        closing(SqliteBus(tmp_path / "file" / "bus.db")) as bus,
        pytest.raises(BusUnavailableError, match=r"bus\.db"),
    ):
        bus.pull(READER)


def test_nothing_is_opened_before_the_first_call(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "bus.db"
    with closing(SqliteBus(path)) as bus:
        assert not path.parent.exists()
        bus.create([], [])
        assert path.exists()


def test_a_bus_used_before_a_fork_is_refused_in_the_child(tmp_path: Path) -> None:
    script = f"""
import os, sys
from pathlib import Path
from quotewatch.bus.sqlite import SqliteBus
from quotewatch.errors import BusError
bus = SqliteBus(Path({str(tmp_path / "bus.db")!r}))
bus.create(["raw_trades"], [])
if child := os.fork():
    bus.create(["features"], [])
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
try:
    bus.create(["events"], [])
except BusError as error:
    os._exit(0 if "fork" in str(error) else 1)
os._exit(2)
"""
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0
