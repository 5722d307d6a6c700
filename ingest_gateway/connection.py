"""One connection to the feed, kept alive: connect, subscribe, read, watch, and begin again.

What it reads goes to the tape. What it misses while it is down is not its to know: ids and
snapshots of the next life tell.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from ingest_gateway.backoff import Backoff
from ingest_gateway.dialect import Dialect
from ingest_gateway.journal import Journal
from ingest_gateway.lane import Lane
from ingest_gateway.pace import Pace
from ingest_gateway.reader import Reader
from ingest_gateway.receiver import FeedClosedError, Receiver
from ingest_gateway.subscriber import Subscriber
from ingest_gateway.tape import Tape
from quotewatch.clock import Clock
from quotewatch.logs import get_logger

# Messages read before others get a turn: a socket with messages waiting never yields by itself.
_TURN = 64
_LOOK_SECONDS = 0.1  # how often requests and silence are looked at
# A product that is silent on a living connection gets this much more patience than the connection.
_PRODUCT_PATIENCE = 1.5

_log = get_logger("gateway")

Connect = Callable[[], Awaitable[Receiver]]


@dataclass(frozen=True, slots=True)
class Wiring:
    """What all connections of one gateway share."""

    connect: Connect
    dialect: Dialect
    tape: Tape
    journal: Journal
    clock: Clock
    next_conn: Callable[[], int]
    watchdog_seconds: float
    pace: Pace


class Connection:
    """A slot that always tries to have one open connection for its products."""

    def __init__(self, wiring: Wiring, lanes: Mapping[str, Lane], backoff: Backoff) -> None:
        self.lanes = lanes
        self.reader: Reader | None = None
        self.is_open = False
        self.lives = 0
        self.heard_us = 0
        self._wiring = wiring
        self._backoff = backoff
        self._ended: str | None = None  # why we ended it ourselves

    async def run(self, stop: asyncio.Event) -> None:
        """Connect again and again until told to stop."""
        while not stop.is_set():
            began = self._wiring.clock.monotonic()
            await self._live(stop)
            if stop.is_set():
                return
            lasted = self._wiring.clock.monotonic() - began
            await _wait(stop, self._backoff.next_delay(lasted))

    async def _live(self, stop: asyncio.Event) -> None:
        """One life: from connecting to the end, whatever ends it, with an event for both."""
        wiring = self._wiring
        conn = wiring.next_conn()
        reader = wiring.dialect.reader(conn, wiring.tape, self.lanes, wiring.journal)
        try:
            receiver = await wiring.connect()
        except FeedClosedError as error:
            self._note_close(conn, str(error))
            return
        self.lives += 1
        self.reader, self.is_open, self._ended = reader, True, None
        wiring.journal.note("open", self._now_us(), conn, count=len(self.lanes))
        for lane in self.lanes.values():
            lane.ids.interrupt()
        try:
            reason = await self._converse(receiver, reader, stop)
        finally:
            self.is_open = False
            self._end_books()
        self._note_close(conn, reason)

    async def _converse(self, receiver: Receiver, reader: Reader, stop: asyncio.Event) -> str:
        """Read and ask until the connection ends; return why it did."""
        watcher = asyncio.create_task(self._watch(receiver, reader, stop))
        try:
            await self._read_on(receiver, reader)
        except FeedClosedError as error:
            return self._ended or str(error)
        except Exception as error:  # noqa: BLE001  # the task's outer edge: a new life begins
            _log.exception("read_failed", conn=reader.conn)
            return f"error {type(error).__name__}"
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
            await receiver.close()

    async def _read_on(self, receiver: Receiver, reader: Reader) -> NoReturn:
        receive, read, now_ns = receiver.receive, reader.read, self._wiring.clock.now_ns
        while True:
            for _ in range(_TURN):
                raw = await receive()
                self.heard_us = now_ns() // 1_000
                read(raw, self.heard_us)
            await asyncio.sleep(0)

    async def _watch(self, receiver: Receiver, reader: Reader, stop: asyncio.Event) -> None:
        """Watch until the connection has to end, then end it; the reading side notices."""
        try:
            self._ended = await self._ask_and_listen(receiver, reader, stop)
        except FeedClosedError:
            return  # the reading side says why
        except Exception as error:  # noqa: BLE001  # the task's outer edge: a new life begins
            _log.exception("watch_failed", conn=reader.conn)
            self._ended = f"error {type(error).__name__}"
        await receiver.close()

    async def _ask_and_listen(self, receiver: Receiver, reader: Reader, stop: asyncio.Event) -> str:
        """Send what has to be asked; return why the connection must end."""
        wiring = self._wiring
        patience = wiring.watchdog_seconds
        subscriber = Subscriber(
            wiring.dialect, self.lanes, reader, wiring.journal, _PRODUCT_PATIENCE * patience
        )
        heard_us, heard = self.heard_us, wiring.clock.monotonic()
        requests = subscriber.start(heard)
        while True:
            for request in requests:
                pause = wiring.pace.wait_seconds(wiring.clock.monotonic())
                if pause and await _wait(stop, pause):
                    return "stop"
                await receiver.send(request)
            if await _wait(stop, _LOOK_SECONDS):
                return "stop"
            now = wiring.clock.monotonic()
            if self.heard_us != heard_us:
                heard_us, heard = self.heard_us, now
            elif now - heard > patience:
                return f"silence for {patience:g} s"
            requests = subscriber.next_requests(now, self._now_us())

    def _end_books(self) -> None:
        for lane in self.lanes.values():
            if lane.book is not None:
                lane.end()

    def _note_close(self, conn: int, reason: str) -> None:
        self._wiring.journal.note("close", self._now_us(), conn, reason=reason)

    def _now_us(self) -> int:
        return self._wiring.clock.now_ns() // 1_000


async def _wait(stop: asyncio.Event, seconds: float) -> bool:
    """Wait so long or until told to stop; return whether told."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return False
    return True
