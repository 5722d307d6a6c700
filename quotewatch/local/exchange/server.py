"""The simulated exchange on a real WebSocket: connections in, the market's messages out.

Thin: what is sent is decided in simulated_exchange.py, here it meets the sockets and the clock.
A reader that falls too far behind is disconnected, as the real exchange does.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from quotewatch.clock import Clock, SystemClock
from quotewatch.local.exchange.config import ExchangeConfig, ExchangeReport, build_exchange
from quotewatch.local.exchange.fault_plan import ABNORMAL, GOING_AWAY, FaultPlan
from quotewatch.local.exchange.market_model import US
from quotewatch.local.exchange.rest import RestInterface
from quotewatch.local.exchange.rest_door import RestDoor
from quotewatch.local.exchange.sessions import Session, Shipment
from quotewatch.local.exchange.truth import TruthFile

__all__ = ["ExchangeConfig", "ExchangeReport", "ExchangeServer", "serve_exchange"]

_TICK_SECONDS = 0.005
_LONGEST_LAG_US = 250_000  # a machine too slow for the rate gets a slower market, not an old one
_LONGEST_TURN_US = 20_000
_FULL_BUFFER = (
    1_000_000  # bytes the operating system has not taken yet: the rest waits in the outbox
)
_TRUTH_SECONDS = 0.5
_HANG_UP_SECONDS = 2.0  # for all clients to take what waits, and the close frame


class ExchangeServer:
    """The running exchange. Unpaced, its market stands still until `advance` is called."""

    def __init__(
        self,
        config: ExchangeConfig,
        plan: FaultPlan | None = None,
        clock: Clock | None = None,
        *,
        paced: bool = True,
    ) -> None:
        self.config = config
        self.clock = clock or SystemClock()
        self.exchange = build_exchange(config, self.clock.now_ns() // 1000, plan)
        self.plan = self.exchange.plan
        self.report = ExchangeReport()
        self._rest = RestDoor(RestInterface(self.exchange.dialect), self.clock, self.report)
        self.port = 0
        self._paced = paced
        self._truth = TruthFile(config.truth)
        self._sockets: dict[int, ServerConnection] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._ended = False
        self._stack = AsyncExitStack()
        self._pumping: asyncio.Task[None] | None = None

    # -- life -------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Listen."""
        self._stack.callback(self._truth.close)
        server = await self._stack.enter_async_context(
            serve(
                self._converse,
                self.config.host,
                self.config.port,
                process_request=self._rest.answer,
                ping_interval=None,
                close_timeout=1,
            )
        )
        self.port = next(iter(server.sockets)).getsockname()[1]
        if self._paced:
            self._pumping = asyncio.create_task(self._pump())
            self._stack.push_async_callback(_stopped, self._pumping)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Send what waits, close all connections with 1001, and finish the truth."""
        self.flush()
        self._rest.set_down(False)  # nobody is left hanging
        await self._stack.aclose()
        self.report.connections = self.exchange.connections

    async def run(self, stop: asyncio.Event) -> None:
        """Return when told to stop, when the seconds are over, or when the market fails."""
        stopping = asyncio.create_task(stop.wait())
        tasks = [stopping] if self._pumping is None else [stopping, self._pumping]
        await asyncio.wait(tasks, timeout=self.config.seconds, return_when=asyncio.FIRST_COMPLETED)
        await _stopped(stopping)

    async def end_market(self) -> None:
        """Send what waits, close all connections with 1001, finish the truth; REST goes on."""
        self._ended = True
        self._rest.close_feed()
        if self._pumping is not None:
            await _stopped(self._pumping)
        self.flush()
        for session in list(self.exchange.sessions.values()):
            self.close(session, GOING_AWAY, "the market has ended")
        if self._closing:
            await asyncio.wait([*self._closing], timeout=_HANG_UP_SECONDS)
        self._truth.close()
        self.report.connections = self.exchange.connections
        self._let_rest_come_up()

    def _let_rest_come_up(self) -> None:
        # The market's time stands still now: what is left of an outage passes on the machine's.
        left_us = self.plan.rest_down_until_us - self.exchange.market.now_us
        asyncio.get_running_loop().call_later(max(0, left_us) / US, self._rest.set_down, False)

    @property
    def url(self) -> str:
        """Where to connect to."""
        return f"ws://{self.config.host}:{self.port}"

    @property
    def rest_url(self) -> str:
        """Where to ask for products and trades."""
        return f"http://{self.config.host}:{self.port}"

    # -- time -------------------------------------------------------------------------------

    async def _pump(self) -> None:
        market = self.exchange.market
        clock = self.clock
        ahead_us = market.now_us - int(clock.monotonic() * US)
        truth_at = clock.monotonic()
        while True:
            due_us = int(clock.monotonic() * US) + ahead_us
            if due_us - market.now_us > _LONGEST_LAG_US:
                ahead_us -= due_us - market.now_us
                due_us = market.now_us + _LONGEST_TURN_US
            self.advance_to(min(due_us, market.now_us + _LONGEST_TURN_US))
            if clock.monotonic() - truth_at >= _TRUTH_SECONDS:
                truth_at = clock.monotonic()
                self._truth.flush()
            behind = int(clock.monotonic() * US) + ahead_us > market.now_us + _LONGEST_TURN_US
            await asyncio.sleep(0 if behind else _TICK_SECONDS)

    def advance(self, seconds: float) -> None:
        """Let so much time pass on the market, at once."""
        self.advance_to(self.exchange.market.now_us + round(seconds * US))

    def advance_to(self, until_us: int) -> None:
        """Let the market run until then, and send what came of it."""
        self.exchange.advance(until_us)
        for session in self.exchange.late():
            self.close(session, 1008, "no subscribe within 5 seconds")
        self.flush()
        self._hang_up()
        self._rest.set_down(self.exchange.market.now_us < self.plan.rest_down_until_us)

    # -- sending ----------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what waits, as far as the readers keep up."""
        now_ns = self.clock.now_ns()
        nobody = self.exchange.nobody
        self._record(now_ns, nobody.conn, nobody.take())
        for session in list(self.exchange.sessions.values()):
            self._flush(now_ns, session)

    def _flush(self, now_ns: int, session: Session) -> None:
        socket = self._sockets[session.conn]
        if not session.outbox or socket.protocol.state is not State.OPEN:
            return
        if socket.transport.get_write_buffer_size() > _FULL_BUFFER:
            if session.too_slow:
                self._forget(session)
                socket.transport.abort()
            return
        shipments = session.take()
        # One write for all that waits: connection.send() would cost a system call a message.
        for shipment in shipments:
            if shipment.sent:
                socket.protocol.send_text(shipment.text)
        socket.transport.write(b"".join(socket.protocol.data_to_send()))
        self._record(now_ns, session.conn, shipments)

    def _record(self, now_ns: int, conn: int, shipments: list[Shipment]) -> None:
        if shipments:
            self.report.count(shipments)
            self._truth.write(now_ns, conn, shipments)

    # -- connections ------------------------------------------------------------------------

    async def _converse(self, socket: ServerConnection) -> None:
        if self._ended:  # between the handshake and here
            await socket.close(GOING_AWAY, "the market has ended")
            return
        session = self.exchange.open()
        self._sockets[session.conn] = socket
        try:
            async for text in socket:
                if session.conn in self.exchange.sessions:
                    self.exchange.request(session, text)
                    self._flush(self.clock.now_ns(), session)
        except ConnectionClosed:
            pass
        finally:
            self._forget(session)
            del self._sockets[session.conn]

    def _forget(self, session: Session) -> None:
        self._record(self.clock.now_ns(), session.conn, self.exchange.close(session))

    def _hang_up(self) -> None:
        listening = [s for s in self.exchange.sessions.values() if s.asked]
        if not listening or not self.plan.hangups:
            return
        for fault, code in self.plan.hangups:
            self.report.faults[fault] += 1
            for session in listening if fault == "restart" else listening[:1]:
                self.close(session, code, fault)
        self.plan.hangups.clear()

    def close(self, session: Session, code: int, reason: str = "") -> None:
        """Hang up on one client, after what waits for it. Code 1006 goes without a close frame."""
        if session.conn not in self.exchange.sessions:
            return
        self._flush(self.clock.now_ns(), session)
        self._forget(session)
        socket = self._sockets[session.conn]
        if code == ABNORMAL:
            socket.transport.close()
            return
        task = asyncio.create_task(socket.close(code, reason))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def send_raw(self, text: str) -> None:
        """Send this text to everybody, whatever it is."""
        for session in self.exchange.sessions.values():
            session.put(Shipment(text.encode(), "raw"))
        self.flush()


async def _stopped(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and task.exception() is not None:
        await task


async def serve_exchange(
    config: ExchangeConfig,
    ready: Callable[[int], None] | None,
    stop: asyncio.Event,
    ended: Callable[[ExchangeReport], None] = lambda _: None,
) -> ExchangeReport:
    """Run the simulated exchange until `stop` is set or its seconds are over.

    `ended` is told the report once all is sent; one that lingers then waits for `stop`.
    """
    server = ExchangeServer(config)
    async with server:
        if ready is not None:
            ready(server.port)
        await server.run(stop)
        if config.linger and not stop.is_set():
            await server.end_market()
            ended(server.report)
            await stop.wait()
            return server.report
    ended(server.report)
    return server.report
