"""Pub/Sub's promises in one SQLite file: published is kept until acked, leased comes back.

Nothing that publish() returned ids for is lost, whichever process is killed and when. A message
may come twice.
"""

import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from quotewatch.bus import rules
from quotewatch.bus.database import Database
from quotewatch.bus.port import (
    SOURCE_ATTEMPTS,
    SOURCE_SUBSCRIPTION,
    Delivery,
    Message,
    Subscription,
    Waiting,
)
from quotewatch.clock import NS_PER_SECOND, Clock, SystemClock
from quotewatch.errors import BusError

CALL_SECONDS = 10.0  # how long a call without a timeout of its own waits for other writers
POLL_SECONDS = 0.005  # one look costs about 30 µs: below 1 % of a core, and 5 ms of delay

_ACK_ID = re.compile(r"([0-9]{1,18})-([1-9][0-9]{0,8})")

# Every subscription of the topic gets the message; order of delivery is order of publishing.
_DELIVER = """
    INSERT INTO deliveries (message_id, subscription_id, due_ns)
    SELECT ?, id, ? FROM subscriptions WHERE topic_id = ?"""
_DUE = """
    SELECT d.message_id, d.attempt, m.size
    FROM deliveries d JOIN messages m ON m.id = d.message_id
    WHERE d.subscription_id = ? AND d.due_ns <= ?
    ORDER BY d.due_ns, d.message_id LIMIT ?"""
_EXISTS = "SELECT 1 FROM messages WHERE id = ?"
_ANY_DUE = "SELECT 1 FROM deliveries WHERE subscription_id = ? AND due_ns <= ? LIMIT 1"
_ANY_FINAL = "SELECT 1 FROM deliveries WHERE final = 1 AND due_ns <= ? LIMIT 1"
_LEASE = """
    UPDATE deliveries SET due_ns = ?, attempt = ?, final = ?
    WHERE message_id = ? AND subscription_id = ?"""
_RELEASE = """
    UPDATE deliveries SET due_ns = ?
    WHERE message_id = ? AND subscription_id = ? AND attempt = ?"""
_SETTLE = "DELETE FROM deliveries WHERE message_id = ? AND subscription_id = ? AND attempt = ?"
_FORGET = """
    DELETE FROM messages WHERE id = :message
    AND NOT EXISTS (SELECT 1 FROM deliveries WHERE message_id = :message)"""
_EXHAUSTED = """
    SELECT d.message_id, d.attempt, s.id, s.name, s.dead_topic_id
    FROM deliveries d JOIN subscriptions s ON s.id = d.subscription_id
    WHERE d.final = 1 AND d.due_ns <= ? ORDER BY d.due_ns, d.message_id, s.id"""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What one subscription has not acked, leased or not."""

    messages: int
    oldest_age_seconds: float | None


@dataclass(frozen=True, slots=True)
class _Reader:
    """A subscription as it stands in the file."""

    id: int
    ack_deadline_ns: int
    max_attempts: int | None

    def is_final(self, attempt: int) -> bool:
        return self.max_attempts is not None and attempt >= self.max_attempts


class SqliteBus:
    """The bus of one machine. Any number of processes and threads may share the file."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._database = Database(path)
        self._clock = clock or SystemClock()
        self._sleep = sleep

    def create(self, topics: Sequence[str], subscriptions: Sequence[Subscription]) -> None:
        """Create what is missing; what exists stays as it is."""
        rules.check_topology(topics, subscriptions)
        with self._database.writing(CALL_SECONDS) as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO topics (name) VALUES (?)", [(topic,) for topic in topics]
            )
            for subscription in subscriptions:
                self._subscribe(connection, subscription)

    def publish(
        self, topic: str, messages: Sequence[Message], *, timeout_seconds: float = 10.0
    ) -> list[str]:
        """Store all messages in one transaction and return their ids in order."""
        rules.check_messages(topic, messages)
        with self._database.writing(timeout_seconds) as connection:
            topic_id = self._topic_id(connection, topic)
            now_ns = self._clock.now_ns()
            return [str(_store(connection, topic_id, message, now_ns)) for message in messages]

    def pull(
        self,
        subscription: str,
        *,
        max_messages: int = 100,
        max_bytes: int | None = None,
        wait_seconds: float = 0.0,
    ) -> list[Delivery]:
        """Lease waiting messages, longest due first; look again every 5 ms while there are none."""
        rules.check_limits(subscription, max_messages, max_bytes)
        deadline = self._clock.monotonic() + wait_seconds
        while True:
            # Looking takes no write lock: an idle consumer holds nobody up.
            if self._has_work(subscription) and (
                deliveries := self._lease(subscription, max_messages, max_bytes)
            ):
                return deliveries
            if self._clock.monotonic() >= deadline:
                return []
            self._sleep(POLL_SECONDS)

    def ack(self, subscription: str, ack_ids: Sequence[str]) -> None:
        """Settle deliveries. An id whose message was leased again since then has no effect."""
        rules.check_name("subscription", subscription)
        with self._database.writing(CALL_SECONDS) as connection:
            reader = self._reader(connection, subscription)
            leases = list(_parse(ack_ids))
            connection.executemany(
                _SETTLE, [(message_id, reader.id, attempt) for message_id, attempt in leases]
            )
            connection.executemany(_FORGET, [{"message": message_id} for message_id, _ in leases])

    def release(self, subscription: str, ack_ids: Sequence[str], *, delay_seconds: int = 0) -> None:
        """Give deliveries back; they return after `delay_seconds`."""
        rules.check_delay(subscription, delay_seconds)
        with self._database.writing(CALL_SECONDS) as connection:
            reader = self._reader(connection, subscription)
            due_ns = self._clock.now_ns() + delay_seconds * NS_PER_SECOND
            connection.executemany(
                _RELEASE,
                [
                    (due_ns, message_id, reader.id, attempt)
                    for message_id, attempt in _parse(ack_ids)
                ],
            )

    def peek(self, subscription: str, *, max_messages: int = 100) -> list[Waiting]:
        """List what a pull would get now, leasing nothing."""
        rules.check_limits(subscription, max_messages, None)
        self._bury_exhausted()
        with self._database.reading(CALL_SECONDS) as connection:
            reader = self._reader(connection, subscription)
            due = connection.execute(_DUE, (reader.id, self._clock.now_ns(), max_messages))
            return [_waiting(connection, message_id) for message_id, _, _ in due.fetchall()]

    def browse(self, subscription: str) -> Iterator[Waiting]:
        """Peek without a limit: one message at a time is in memory. Pub/Sub has no such call."""
        rules.check_name("subscription", subscription)
        self._bury_exhausted()
        with self._database.reading(CALL_SECONDS) as connection:
            reader = self._reader(connection, subscription)
            due = connection.execute(_DUE, (reader.id, self._clock.now_ns(), -1))
            waiting = [message_id for message_id, _, _ in due]
        for message_id in waiting:
            with self._database.reading(CALL_SECONDS) as connection:
                row = connection.execute(_EXISTS, (message_id,)).fetchone()
                found = _waiting(connection, message_id) if row else None
            if found is not None:  # else acked by everybody since
                yield found

    def backlog(self, subscription: str) -> Backlog:
        """Count what is not acked and say how old the oldest is. Pub/Sub's API has no such call."""
        rules.check_name("subscription", subscription)
        self._bury_exhausted()
        with self._database.reading(CALL_SECONDS) as connection:
            # The lowest id is the oldest: ids are given in order, and the index holds them.
            count, first_id = connection.execute(
                "SELECT count(*), min(message_id) FROM deliveries WHERE subscription_id = ?",
                (self._reader(connection, subscription).id,),
            ).fetchone()
            oldest_ns = _load(connection, first_id)[1] if count else None
        if oldest_ns is None:
            return Backlog(0, None)
        return Backlog(count, max(0, self._clock.now_ns() - oldest_ns) / NS_PER_SECOND)

    def close(self) -> None:
        """Close the file. Safe to call twice; other calls raise afterwards."""
        self._database.close()

    def _has_work(self, subscription: str) -> bool:
        now_ns = self._clock.now_ns()
        with self._database.reading(CALL_SECONDS) as connection:
            reader = self._reader(connection, subscription)
            return (
                connection.execute(_ANY_DUE, (reader.id, now_ns)).fetchone() is not None
                or connection.execute(_ANY_FINAL, (now_ns,)).fetchone() is not None
            )

    def _lease(self, subscription: str, max_messages: int, max_bytes: int | None) -> list[Delivery]:
        with self._database.writing(CALL_SECONDS) as connection:
            now_ns = self._clock.now_ns()
            _bury(connection, now_ns)
            reader = self._reader(connection, subscription)
            due = connection.execute(_DUE, (reader.id, now_ns, max_messages))
            taken = [(row[0], row[1] + 1) for row in _within(due.fetchall(), max_bytes)]
            connection.executemany(
                _LEASE,
                [
                    (
                        now_ns + reader.ack_deadline_ns,
                        attempt,
                        reader.is_final(attempt),
                        id_,
                        reader.id,
                    )
                    for id_, attempt in taken
                ],
            )
            return [_delivery(connection, message_id, attempt) for message_id, attempt in taken]

    def _bury_exhausted(self) -> None:
        now_ns = self._clock.now_ns()
        with self._database.reading(CALL_SECONDS) as connection:
            if connection.execute(_ANY_FINAL, (now_ns,)).fetchone() is None:
                return
        with self._database.writing(CALL_SECONDS) as connection:
            _bury(connection, now_ns)

    def _subscribe(self, connection: sqlite3.Connection, subscription: Subscription) -> None:
        dead = subscription.dead_letter
        connection.execute(
            "INSERT OR IGNORE INTO subscriptions"
            " (name, topic_id, ack_deadline_ns, dead_topic_id, max_attempts)"
            " VALUES (?, ?, ?, ?, ?)",
            (
                subscription.name,
                self._topic_id(connection, subscription.topic),
                subscription.ack_deadline_seconds * NS_PER_SECOND,
                self._topic_id(connection, dead.topic) if dead else None,
                dead.max_attempts if dead else None,
            ),
        )

    def _topic_id(self, connection: sqlite3.Connection, topic: str) -> int:
        row = connection.execute("SELECT id FROM topics WHERE name = ?", (topic,)).fetchone()
        if row is None:
            raise self._unknown("topic", topic)
        return int(row[0])

    def _reader(self, connection: sqlite3.Connection, subscription: str) -> _Reader:
        row = connection.execute(
            "SELECT id, ack_deadline_ns, max_attempts FROM subscriptions WHERE name = ?",
            (subscription,),
        ).fetchone()
        if row is None:
            raise self._unknown("subscription", subscription)
        return _Reader(*row)

    def _unknown(self, kind: str, name: str) -> BusError:
        return BusError(
            f"{kind} {name} does not exist in {self._database.path}: "
            "check the name, or create it with create()"
        )


def _store(connection: sqlite3.Connection, topic_id: int, message: Message, now_ns: int) -> int:
    message_id = connection.execute(
        "INSERT INTO messages (published_ns, size, attributes, data) VALUES (?, ?, ?, ?)",
        (now_ns, len(message.data), json.dumps(dict(message.attributes)), message.data),
    ).lastrowid
    if message_id is None:  # cannot be after an INSERT; the type does not know
        raise BusError("SQLite gave no id to a new message")
    if not connection.execute(_DELIVER, (message_id, now_ns, topic_id)).rowcount:
        connection.execute(_FORGET, {"message": message_id})
    return message_id


def _bury(connection: sqlite3.Connection, now_ns: int) -> None:
    """Move what failed its last attempt to its dead-letter topic, in the caller's transaction."""
    exhausted = connection.execute(_EXHAUSTED, (now_ns,)).fetchall()
    for message_id, attempt, reader_id, name, dead_topic_id in exhausted:
        message, _ = _load(connection, message_id)
        reasons = {SOURCE_SUBSCRIPTION: name, SOURCE_ATTEMPTS: str(attempt)}
        letter = Message(message.data, {**message.attributes, **reasons})
        _store(connection, dead_topic_id, letter, now_ns)
        connection.execute(_SETTLE, (message_id, reader_id, attempt))
        connection.execute(_FORGET, {"message": message_id})


def _within(
    due: Iterable[tuple[int, int, int]], max_bytes: int | None
) -> Iterable[tuple[int, int, int]]:
    """Take rows (id, attempt, size) while they fit, and the first one always."""
    taken_bytes = 0
    for number, row in enumerate(due):
        taken_bytes += row[2]
        if max_bytes is not None and number and taken_bytes > max_bytes:
            return
        yield row


def _parse(ack_ids: Iterable[str]) -> Iterable[tuple[int, int]]:
    """Read (message id, attempt): the attempt tells this lease from a later one."""
    for ack_id in ack_ids:
        if match := _ACK_ID.fullmatch(ack_id):
            yield int(match[1]), int(match[2])


def _load(connection: sqlite3.Connection, message_id: int) -> tuple[Message, int]:
    data, attributes, published_ns = connection.execute(
        "SELECT data, attributes, published_ns FROM messages WHERE id = ?", (message_id,)
    ).fetchone()
    return Message(data, json.loads(attributes)), published_ns


def _waiting(connection: sqlite3.Connection, message_id: int) -> Waiting:
    message, published_ns = _load(connection, message_id)
    return Waiting(message, str(message_id), published_ns)


def _delivery(connection: sqlite3.Connection, message_id: int, attempt: int) -> Delivery:
    message, published_ns = _load(connection, message_id)
    return Delivery(message, f"{message_id}-{attempt}", str(message_id), published_ns, attempt)
