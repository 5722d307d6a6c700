"""The SQLite bus against a model of a few lines, through any history of calls and times."""

import shutil
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from quotewatch.bus.port import SOURCE_ATTEMPTS, SOURCE_SUBSCRIPTION, DeadLetter, Message
from quotewatch.bus.port import Subscription as Asked
from quotewatch.bus.sqlite import SqliteBus
from tests.bus.clocks import HandClock

MAIN, DEAD, LONELY = "main", "main-dead", "lonely"
ONE = Asked("main.one", MAIN, 10, DeadLetter(DEAD, 5))
TWO = Asked("main.two", MAIN, 25)
LATE = Asked("main.late", MAIN, 10, DeadLetter(DEAD, 6))
BURIED = Asked("main-dead.redrive", DEAD, 15)


@dataclass(slots=True)
class Entry:
    """One message that one subscription has not acked."""

    number: int  # counts copies in the order they were published
    message: Message
    due: int
    attempt: int = 0


@dataclass(slots=True)
class Model:
    now: int = 0
    published: int = 0
    queues: dict[str, list[Entry]] = field(default_factory=dict)
    asked: dict[str, Asked] = field(default_factory=dict)

    def subscribe(self, asked: Asked) -> None:
        self.asked.setdefault(asked.name, asked)
        self.queues.setdefault(asked.name, [])

    def publish(self, topic: str, message: Message) -> None:
        self.published += 1
        for name, asked in self.asked.items():
            if asked.topic == topic:
                self.queues[name].append(Entry(self.published, message, self.now))

    def bury(self) -> None:
        order = {name: number for number, name in enumerate(self.asked)}
        spent = sorted(
            (entry.due, entry.number, order[name], name)
            for name, asked in self.asked.items()
            for entry in self.queues[name]
            if asked.dead_letter
            and entry.due <= self.now
            and entry.attempt >= asked.dead_letter.max_attempts
        )
        for _, number, _, name in spent:
            [entry] = [entry for entry in self.queues[name] if entry.number == number]
            self.queues[name].remove(entry)
            why = {SOURCE_SUBSCRIPTION: name, SOURCE_ATTEMPTS: str(entry.attempt)}
            letter = Message(entry.message.data, {**entry.message.attributes, **why})
            self.publish(DEAD, letter)

    def due(self, name: str, limit: int) -> list[Entry]:
        self.bury()
        waiting = [entry for entry in self.queues[name] if entry.due <= self.now]
        return sorted(waiting, key=lambda entry: (entry.due, entry.number))[:limit]

    def pull(self, name: str, limit: int, max_bytes: int | None) -> list[Entry]:
        taken: list[Entry] = []
        for entry in self.due(name, limit):
            used = sum(len(other.message.data) for other in [*taken, entry])
            if max_bytes is not None and taken and used > max_bytes:
                break
            taken.append(entry)
        for entry in taken:
            entry.due = self.now + self.asked[name].ack_deadline_seconds
            entry.attempt += 1
        return taken

    def leased(self, name: str, number: int, attempt: int) -> Entry | None:
        for entry in self.queues[name]:
            if (entry.number, entry.attempt) == (number, attempt):
                return entry
        return None


Lease = tuple[str, str, int, int]  # subscription, ack id, number and attempt in the model
names = st.sampled_from([ONE.name, TWO.name, LATE.name, BURIED.name])


class BusMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.clock = HandClock()
        self.model = Model()
        self.leases: list[Lease] = []
        self.bus = self.open()
        self.bus.create([MAIN, DEAD, LONELY], [ONE, TWO, BURIED])
        for asked in (ONE, TWO, BURIED):
            self.model.subscribe(asked)

    def open(self) -> SqliteBus:
        return SqliteBus(self.folder / "bus.db", clock=self.clock, sleep=self.clock.sleep)

    @rule(
        sizes=st.lists(st.sampled_from([0, 10, 20, 40]), min_size=1, max_size=4),
        topic=st.sampled_from([MAIN, MAIN, DEAD, LONELY]),
    )
    def publish(self, sizes: list[int], topic: str) -> None:
        batch = [Message(bytes(size), {"n": str(self.model.published)}) for size in sizes]
        assert len(self.bus.publish(topic, batch)) == len(batch)
        for message in batch:
            self.model.publish(topic, message)

    @rule()
    def subscribe_late(self) -> None:
        self.bus.create([], [LATE])
        self.model.subscribe(LATE)

    @rule(name=names, limit=st.integers(1, 6), max_bytes=st.sampled_from([None, 1, 20, 40, 60]))
    def pull(self, name: str, limit: int, max_bytes: int | None) -> None:
        if name not in self.model.asked:
            return
        expected = self.model.pull(name, limit, max_bytes)
        got = self.bus.pull(name, max_messages=limit, max_bytes=max_bytes)
        assert [(item.message, item.attempt) for item in got] == [
            (entry.message, entry.attempt) for entry in expected
        ]
        self.leases += [
            (name, item.ack_id, entry.number, entry.attempt)
            for item, entry in zip(got, expected, strict=True)
        ]

    @rule(name=names, times=st.integers(1, 6))
    def fail(self, name: str, times: int) -> None:
        """Pull and give back at once, which is how dead letters come about."""
        for _ in range(times):
            before = len(self.leases)
            self.pull(name, 3, None)
            for lease in self.leases[before:]:
                self.give_back(lease, 0)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        name, ack_id, number, attempt = data.draw(st.sampled_from(self.leases))
        self.bus.ack(name, [ack_id])
        if entry := self.model.leased(name, number, attempt):
            self.model.queues[name].remove(entry)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), delay_seconds=st.sampled_from([0, 1, 30, 600]))
    def release(self, data: st.DataObject, delay_seconds: int) -> None:
        self.give_back(data.draw(st.sampled_from(self.leases)), delay_seconds)

    def give_back(self, lease: Lease, delay_seconds: int) -> None:
        name, ack_id, number, attempt = lease
        self.bus.release(name, [ack_id], delay_seconds=delay_seconds)
        if entry := self.model.leased(name, number, attempt):
            entry.due = self.model.now + delay_seconds

    @rule(seconds=st.sampled_from([1, 5, 10, 26]))
    def wait(self, seconds: int) -> None:
        self.clock.sleep(seconds)
        self.model.now += seconds

    @rule(name=names, limit=st.integers(1, 6))
    def look(self, name: str, limit: int) -> None:
        if name not in self.model.asked:
            return
        expected = [entry.message for entry in self.model.due(name, limit)]
        seen = self.bus.peek(name, max_messages=limit)
        assert [item.message for item in seen] == expected
        assert self.bus.backlog(name).messages == len(self.model.queues[name])

    @rule()
    def restart(self) -> None:
        self.bus.close()
        self.bus = self.open()

    @invariant()
    def no_message_outlives_its_deliveries(self) -> None:
        kept = {entry.number for queue in self.model.queues.values() for entry in queue}
        with closing(sqlite3.connect(self.folder / "bus.db")) as connection:
            assert connection.execute("SELECT count(*) FROM messages").fetchone() == (len(kept),)

    def teardown(self) -> None:
        if hasattr(self, "bus"):
            self.bus.close()
            shutil.rmtree(self.folder)


BusMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
test_the_bus_does_what_the_model_does = BusMachine.TestCase
