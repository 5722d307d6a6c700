"""Where a bus lives during a test: the same few questions answered for both implementations."""

import socket
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from quotewatch.bus.port import Bus, Delivery, Subscription
from quotewatch.bus.pubsub import PubSubBus
from quotewatch.bus.sqlite import SqliteBus
from tests.bus.clocks import FastClock, HandClock

TOPIC = "raw_trades"
DEAD = "raw_trades-dead"
READER = "raw_trades.write"
ACK_DEADLINE_SECONDS = 10

# A worker's clock runs ten times faster on SQLite: a lease of a killed process ends after 1 s.
WORKER_SPEED = 10


class Place(Protocol):
    """One fresh, empty bus."""

    def open(self) -> Bus:
        """Connect once more to the same bus, as another process would."""
        ...

    def worker_place(self) -> list[str]:
        """Say where the bus is in the words of tests.bus.worker."""
        ...

    def open_as_worker(self) -> Bus:
        """Open the bus on the clock the workers use."""
        ...

    def pass_seconds(self, seconds: float) -> None:
        """Let the time pass, if passing time is ours to do."""
        ...

    def unreachable(self) -> AbstractContextManager[Bus]:
        """Yield a bus that gets no answer."""
        ...

    def close(self) -> None:
        """Close what was opened."""
        ...


class SqlitePlace:
    """A file, and a clock that stands still."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bus.db"
        self.clock = HandClock()
        self._origin_ns = time.time_ns()
        self._opened: list[Bus] = []

    def open(self) -> SqliteBus:
        bus = SqliteBus(self.path, clock=self.clock, sleep=self.clock.sleep)
        self._opened.append(bus)
        return bus

    def worker_place(self) -> list[str]:
        return ["sqlite", str(self.path), str(self._origin_ns)]

    def open_as_worker(self) -> Bus:
        bus = open_worker_bus(self.worker_place())
        self._opened.append(bus)
        return bus

    def pass_seconds(self, seconds: float) -> None:
        self.clock.sleep(seconds)

    @contextmanager
    def unreachable(self) -> Iterator[Bus]:
        bus = self.open()
        bus.create([], [])  # the file is there; what comes now is the lock
        with locked_file(self.path):
            yield bus

    def close(self) -> None:
        for bus in self._opened:
            bus.close()


class EmulatorPlace:
    """A project of its own on the running emulator; its time passes by itself."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.project = f"test-{uuid4().hex[:12]}"
        self._opened: list[Bus] = []

    def open(self) -> PubSubBus:
        bus = PubSubBus(self.project, emulator_host=self.address)
        self._opened.append(bus)
        return bus

    def worker_place(self) -> list[str]:
        return ["pubsub", self.project, self.address]

    def open_as_worker(self) -> Bus:
        return self.open()

    def pass_seconds(self, seconds: float) -> None:
        """Nothing to do: who collects waits until what should come has come."""

    @contextmanager
    def unreachable(self) -> Iterator[Bus]:
        with silent_server() as address, closing(PubSubBus("test", emulator_host=address)) as bus:
            yield bus

    def close(self) -> None:
        for bus in self._opened:
            bus.close()


def open_worker_bus(place: Sequence[str]) -> Bus:
    """Open what `worker_place` describes."""
    kind, where, detail = place
    if kind == "sqlite":
        return SqliteBus(Path(where), clock=FastClock(int(detail), WORKER_SPEED))
    return PubSubBus(where, emulator_host=detail)


def reader(name: str = READER, topic: str = TOPIC) -> Subscription:
    return Subscription(name, topic, ACK_DEADLINE_SECONDS)


def collect(bus: Bus, subscription: str, count: int) -> list[Delivery]:
    """Pull until `count` deliveries have come, without acking. About 60 s at most."""
    deliveries: list[Delivery] = []
    for _ in range(60):
        deliveries += bus.pull(subscription, max_messages=count - len(deliveries), wait_seconds=1.0)
        if len(deliveries) >= count:
            return deliveries
    raise AssertionError(f"{subscription}: {len(deliveries)} of {count} deliveries came")


def ack_all(bus: Bus, subscription: str, deliveries: Sequence[Delivery]) -> None:
    bus.ack(subscription, [delivery.ack_id for delivery in deliveries])


def release_all(
    bus: Bus, subscription: str, deliveries: Sequence[Delivery], delay_seconds: int = 0
) -> None:
    ack_ids = [delivery.ack_id for delivery in deliveries]
    bus.release(subscription, ack_ids, delay_seconds=delay_seconds)


def bodies(deliveries: Sequence[Delivery]) -> list[bytes]:
    return [delivery.message.data for delivery in deliveries]


@contextmanager
def locked_file(path: Path) -> Iterator[None]:
    """Hold the file as a writer that does not end."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def silent_server() -> Iterator[str]:
    """Yield the address of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        yield f"{host}:{port}"
