"""What holds when processes that share a bus are killed: nothing reported is lost."""

import queue
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from quotewatch.bus.port import Bus, Message
from tests.bus.places import READER, TOPIC, Place, SqlitePlace, ack_all, reader

ROOT = Path(__file__).parents[2]
LINE_SECONDS = 90.0


class Worker:
    """tests.bus.worker in a process, and the lines it has written so far."""

    def __init__(
        self, role: str, place: Place, lines: queue.SimpleQueue[str] | None = None
    ) -> None:
        self.lines = lines or queue.SimpleQueue[str]()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.bus.worker", role, *place.worker_place()],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def next_line(self) -> str:
        return self.lines.get(timeout=LINE_SECONDS)

    def kill(self) -> None:
        """SIGKILL it; what it had written stays readable."""
        self.process.send_signal(signal.SIGKILL)
        self._wait()

    def end(self) -> None:
        """Ask it to end, and wait until it has."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._wait()

    def rest(self) -> list[str]:
        """Take the lines nobody has taken, once it has ended."""
        taken = []
        while not self.lines.empty():
            taken.append(self.lines.get())
        return taken

    def _wait(self) -> None:
        self.process.wait(LINE_SECONDS)
        self._reading.join(LINE_SECONDS)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line.strip())


@contextmanager
def working(
    role: str, place: Place, lines: queue.SimpleQueue[str] | None = None
) -> Iterator[Worker]:
    worker = Worker(role, place, lines)
    try:
        yield worker
    finally:
        if worker.process.poll() is None:
            worker.kill()


@pytest.fixture
def shared(place: Place) -> Bus:
    """The bus on the clock of the workers."""
    opened = place.open_as_worker()
    opened.create([TOPIC], [reader()])
    return opened


def test_what_a_killed_consumer_had_leased_reaches_the_others(place: Place, shared: Bus) -> None:
    shared.publish(TOPIC, [Message(str(number).encode()) for number in range(300)])
    processed: queue.SimpleQueue[str] = queue.SimpleQueue()
    with working("hold", place) as victim:
        done: set[str] = set()
        while (line := victim.next_line()) != "holding":
            done.add(line)
        assert len(done) < 300
        with working("consume", place, processed), working("consume", place, processed):
            # Only when the others are at work: it dies among them, holding leases.
            done.add(processed.get(timeout=LINE_SECONDS))
            victim.kill()
            while len(done) < 300:
                done.add(processed.get(timeout=LINE_SECONDS))
    assert done == {str(number) for number in range(300)}


def test_what_a_killed_publisher_had_reported_is_there(place: Place, shared: Bus) -> None:
    with working("publish", place) as publisher:
        reported = [publisher.next_line() for _ in range(203)]
        publisher.kill()
        reported += publisher.rest()
    missing = set(reported)
    for _ in range(120):
        deliveries = shared.pull(READER, max_messages=1_000, wait_seconds=0.5)
        missing -= {delivery.message.data.decode() for delivery in deliveries}
        ack_all(shared, READER, deliveries)
        if not missing:
            break
    assert not missing


def test_the_file_survives_many_kills(sqlite_place: SqlitePlace) -> None:
    seed = random.randrange(10_000)
    chance = random.Random(seed)
    bus = sqlite_place.open_as_worker()
    bus.create([TOPIC], [reader()])
    published: list[str] = []
    processed: set[str] = set()
    for _ in range(4):
        with (
            working("publish", sqlite_place) as publisher,
            working("consume", sqlite_place) as consumer,
        ):
            published += [publisher.next_line() for _ in range(chance.randrange(1, 100))]
            processed |= {consumer.next_line() for _ in range(chance.randrange(1, 60))}
            publisher.kill()
            consumer.kill()
            published += publisher.rest()
            processed |= set(consumer.rest())
    for _ in range(120):
        deliveries = bus.pull(READER, max_messages=1_000, wait_seconds=0.5)
        processed |= {delivery.message.data.decode() for delivery in deliveries}
        ack_all(bus, READER, deliveries)
        if set(published) <= processed and not bus.peek(READER):
            break
    assert set(published) <= processed, f"seed {seed}"
    with closing(sqlite3.connect(sqlite_place.path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_several_processes_may_open_a_new_file_at_once(sqlite_place: SqlitePlace) -> None:
    script = (
        "import sys; from tests.bus.places import *\n"
        "bus = open_worker_bus(sys.argv[1:]); print('ready', flush=True); sys.stdin.read()\n"
        "bus.create([TOPIC], [reader()]); bus.close(); print('created')"
    )
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", script, *sqlite_place.worker_place()],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for opener in openers:
        assert opener.stdout is not None
        assert opener.stdout.readline() == "ready\n"
    for opener in openers:  # nothing is open yet; now all of them open it at one moment
        assert opener.stdin is not None
        opener.stdin.close()
        opener.stdin = None  # closed: communicate() must not flush it
    said = [opener.communicate(timeout=LINE_SECONDS)[0] for opener in openers]
    assert said == ["created\n"] * 6
