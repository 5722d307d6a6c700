"""The gateway: every message of the feed becomes rows, frames, and a place on the bus.

Lost at most, when it is killed: the rows of the open windows, and what the feed sent while nobody
listened. The next start says so in `events`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass

from ingest_gateway.backoff import Backoff
from ingest_gateway.connection import Connect, Connection, Wiring
from ingest_gateway.dialect import DIALECTS
from ingest_gateway.encoding import Loss
from ingest_gateway.journal import Journal
from ingest_gateway.lane import Lane
from ingest_gateway.outbox import Outbox
from ingest_gateway.pace import Pace
from ingest_gateway.readings import Readings
from ingest_gateway.spool import Spool
from ingest_gateway.tape import Tape
from quotewatch.clock import Clock
from quotewatch.errors import SpoolError
from quotewatch.frames import SOFT_LIMIT_BYTES
from quotewatch.logs import get_logger
from quotewatch.metrics.recorder import Recorder
from quotewatch.settings import Settings
from quotewatch.streams import CAPTURED

HIGH_WATER_SECONDS = 10.0
_EVENTS_KEPT = 200_000  # rows of the journal that wait in memory while nothing takes frames
_STAGGER_SECONDS = 0.2  # between first connects: the feeds take 8 connections a second
# The platform kills 10 s after SIGTERM; we are gone after 8.
_LEAVE_SECONDS = 1.5
_ENCODE_SECONDS = 1.0
_DRAIN_SECONDS = 4.5

_log = get_logger("gateway")


@dataclass(frozen=True, slots=True)
class Parts:
    """What the gateway stands on; tests pass their own."""

    outbox: Outbox
    spool: Spool
    recorder: Recorder
    clock: Clock
    connect: Connect
    backoff: Callable[[], Backoff] = Backoff


class Gateway:
    """All connections of one epoch, their tape, and the clockwork that closes its pages."""

    def __init__(self, settings: Settings, parts: Parts, epoch: str) -> None:
        self._settings = settings
        self.parts = parts
        self.epoch = epoch
        self.tape = Tape()
        self.journal = Journal(self.tape)
        self._conn = 0
        self._windows = {
            stream: settings.frame_ms_features if stream == "features" else settings.frame_ms_raw
            for stream in CAPTURED
        }
        self.lanes = self._make_lanes(settings.products)
        self.connections = self._make_connections()
        self.readings = Readings(self)
        self.ticked = parts.clock.monotonic()  # the loop's sign of life

    async def run(self, stop: asyncio.Event) -> bool:
        """Capture until told to stop; return whether everything captured is safe."""
        parts = self.parts
        parts.outbox.start()
        self._note_start()
        tasks = [
            asyncio.create_task(work)
            for work in (self._tick(stop), *self._connect_all(stop), _told(stop))
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            stop.set()  # one that failed takes the others along
            # A connection that is still being opened may take longer than we are given.
            await asyncio.wait(tasks, timeout=_LEAVE_SECONDS)
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            safe = await self._finish()
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome  # an error of ours ends the process, once everything is safe
        return safe

    # Set-up

    def _make_lanes(self, products: Sequence[str]) -> Mapping[str, Lane]:
        self.tape.symbols.extend(products)
        return {symbol: Lane(symbol, code) for code, symbol in enumerate(products)}

    def _make_connections(self) -> list[Connection]:
        settings, parts = self._settings, self.parts
        dialect = DIALECTS[settings.feed_dialect]
        wiring = Wiring(
            connect=parts.connect,
            dialect=dialect,
            tape=self.tape,
            journal=self.journal,
            clock=parts.clock,
            next_conn=self._next_conn,
            watchdog_seconds=settings.watchdog_s,
            pace=Pace(dialect.requests_per_second),
        )
        size = settings.products_per_connection
        return [
            Connection(
                wiring,
                {symbol: self.lanes[symbol] for symbol in settings.products[at : at + size]},
                parts.backoff(),
            )
            for at in range(0, len(settings.products), size)
        ]

    def _next_conn(self) -> int:
        self._conn += 1
        return self._conn

    def _connect_all(self, stop: asyncio.Event) -> list[Coroutine[None, None, None]]:
        return [
            self._connect_later(place, connection, stop)
            for place, connection in enumerate(self.connections)
        ]

    async def _connect_later(self, place: int, connection: Connection, stop: asyncio.Event) -> None:
        await asyncio.sleep(place * _STAGGER_SECONDS)
        await connection.run(stop)

    # Windows

    async def _tick(self, stop: asyncio.Event) -> None:
        """Close pages when their window ends or they grow large; write the high water down."""
        monotonic = self.parts.clock.monotonic
        pause = min(self._windows.values()) / 5_000
        due = {stream: monotonic() + window / 1_000 for stream, window in self._windows.items()}
        high_water = monotonic() + HIGH_WATER_SECONDS
        while not stop.is_set():
            await asyncio.sleep(min(pause, 0.05))
            self.ticked = now = monotonic()
            if now >= high_water:
                self._note_high_water("high_water")
                high_water = now + HIGH_WATER_SECONDS
            self._note_losses()
            for stream, window in self._windows.items():
                if now >= due[stream]:
                    due[stream] = max(due[stream] + window / 1_000, now)
                    self.close_page(stream)
                elif self.tape.encoded_size(stream) >= SOFT_LIMIT_BYTES:
                    self.close_page(stream)
            self.readings.publish(now)

    def close_page(self, stream: str, published: Callable[[], None] | None = None) -> None:
        """Close the open page of a stream and hand it over, or drop it where there is no room."""
        if not self.tape.rows_of(stream):
            return
        if not self.parts.outbox.has_room():
            self._drop_page(stream)
            return
        self._hand_over(stream, published)

    def _hand_over(self, stream: str, published: Callable[[], None] | None = None) -> None:
        page = self.tape.take(stream)
        self.parts.outbox.offer(page, published)
        self.parts.recorder.inc("gateway_rows_total", page.count, stream=stream)

    def _drop_page(self, stream: str) -> None:
        """Let go of rows that neither bus nor spool nor memory can take; the journal says which."""
        if stream == "events" and self.tape.rows_of(stream) < _EVENTS_KEPT:
            return
        page = self.tape.take(stream)
        self.parts.outbox.losses.append(Loss(stream, page.count, "queue_full", page.products()))

    def _note_losses(self) -> bool:
        """Write down what the outbox lost since; return whether there was anything."""
        losses = self.parts.outbox.losses
        lost = bool(losses)
        while losses:
            self._note_loss(losses.popleft())
        return lost

    def _note_loss(self, loss: Loss) -> None:
        now_us = self._now_us()
        self.journal.note(
            "drop", now_us, self._conn, stream=loss.stream, count=loss.count, reason=loss.reason
        )
        if loss.stream != "raw_orderbook":
            return
        for connection in self.connections:
            for symbol in connection.lanes.keys() & set(loss.products or self.lanes):
                if connection.reader is not None:
                    connection.reader.lose(self.lanes[symbol], "dropped", now_us)

    # The journal's fixed entries

    def _note_start(self) -> None:
        """Say that an epoch begins, and which died before it without saying so."""
        spool = self.parts.spool
        crashed = spool.crashed_epochs()
        now_us = self._now_us()
        for epoch in crashed:
            self.journal.note("start", now_us, 0, reason=f"after_crash {epoch}")
        if not crashed:
            self.journal.note("start", now_us, 0)
        self.close_page("events", (lambda: _acknowledge(spool, crashed)) if crashed else None)

    def _note_high_water(self, kind: str) -> None:
        now_us = self._now_us()
        for connection in self.connections:
            conn = connection.reader.conn if connection.reader else 0
            for lane in connection.lanes.values():
                self.journal.note(
                    kind, now_us, conn, at_us=lane.newest_us, symbol=lane.symbol, book=lane.number,
                    stream="raw_trades", to_id=lane.ids.known,
                )  # fmt: skip
        for stream in CAPTURED:
            # The frame that carries these rows is the next of its own stream.
            last = self.parts.outbox.next_seq(stream) - (stream != "events")
            to_id = last if last >= 0 else None
            self.journal.note(kind, now_us, self._conn, stream=stream, to_id=to_id)

    async def _finish(self) -> bool:
        """Write the end down and see everything off."""
        for stream in CAPTURED:
            if stream != "events":
                self.close_page(stream)
        self.close_page("events")
        # Only then every number is given and every loss is known.
        await asyncio.to_thread(self.parts.outbox.finish_encoding, _ENCODE_SECONDS)
        lost = self._note_losses()
        self._note_high_water("final")
        if self.tape.rows_of("events"):
            # Room or not: these rows say what became of all the others.
            self._hand_over("events")
        safe = await asyncio.to_thread(self.parts.outbox.drain, _DRAIN_SECONDS) and not lost
        self.parts.outbox.close()
        self.readings.publish(self.parts.clock.monotonic(), force=True)
        try:
            self.parts.spool.close(clean=safe)
        except SpoolError as error:
            _log.warning("spool_failed", epoch=self.epoch, error=str(error))
        return safe

    def _now_us(self) -> int:
        return self.parts.clock.now_ns() // 1_000


async def _told(stop: asyncio.Event) -> None:
    await stop.wait()


def _acknowledge(spool: Spool, epochs: Sequence[str]) -> None:
    for epoch in epochs:
        try:
            spool.acknowledge_crash(epoch)
        except SpoolError as error:
            # The next start says so again: twice is better than never.
            _log.warning("spool_failed", epoch=epoch, error=str(error))
