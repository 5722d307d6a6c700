"""A gateway that really runs: real sockets, the real SQLite bus, a real spool, in this process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from ingest_gateway.backoff import Backoff
from ingest_gateway.gateway import Gateway, Parts
from ingest_gateway.outbox import Outbox
from ingest_gateway.receiver import Receiver, open_websocket
from ingest_gateway.spool import DirectorySpool, Spool
from quotewatch.bus.port import Bus
from quotewatch.bus.sqlite import SqliteBus
from quotewatch.bus.topology import topology
from quotewatch.clock import Clock, SystemClock, new_epoch
from quotewatch.coinbase import exchange
from quotewatch.frames import Frame, decode
from quotewatch.metrics.recorder import Recorder
from quotewatch.settings import Settings, load_settings
from quotewatch.streams import CAPTURED
from tests.gateway.desk import TIME

PATIENCE_SECONDS = 60.0  # far beyond what is needed: only a failure waits so long
Row = dict[str, Any]
Talk = Callable[["Line"], Awaitable[None]]


class Line:
    """The exchange's end of one connection, as a test writes it."""

    def __init__(self, socket: ServerConnection, number: int) -> None:
        self.socket = socket
        self.number = number  # 0 for the first connection

    async def request(self) -> exchange.Request:
        """Return the next thing the gateway asks."""
        return exchange.request_decoder.decode(await self.socket.recv(decode=False))

    async def send(self, *messages: object) -> None:
        """Send messages: bytes as they are, structs encoded."""
        for message in messages:
            raw = message if isinstance(message, bytes) else msgspec.json.encode(message)
            await self.socket.send(raw, text=True)

    async def welcome(self) -> list[str]:
        """Answer a subscribe as the Exchange does: ack and books; return the products."""
        request = await self.request()
        await self.send(acknowledgement(request.product_ids))
        await self.send(*map(snapshot, request.product_ids))
        return request.product_ids

    async def stay(self) -> None:
        """Keep the connection open until the gateway leaves."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self.socket.recv()

    def abort(self) -> None:
        """Tear the connection down without a close frame."""
        self.socket.transport.abort()


def acknowledgement(products: Iterable[str]) -> exchange.Subscriptions:
    names = list(products)
    return exchange.Subscriptions(
        [exchange.SubscribedChannel(name, names) for name in ("level2_50", "matches", "heartbeat")]
    )


def snapshot(product: str) -> exchange.Snapshot:
    return exchange.Snapshot(product, [("100", "1"), ("99", "1")], [("101", "1"), ("102", "1")])


def update(
    product: str = "BTC-USD", price: str = "100.5", size: str = "1", time: str = TIME
) -> exchange.L2Update:
    return exchange.L2Update(product, [("buy", price, size)], time)


def match(trade_id: int, product: str = "BTC-USD", time: str = TIME) -> exchange.Match:
    return exchange.Match(trade_id, "sell", "0.5", "100.5", product, 10 * trade_id, time)


@contextlib.asynccontextmanager
async def feed(talk: Talk) -> AsyncIterator[str]:
    """Serve a scripted exchange on a free port; yield its URL."""
    lines: list[Line] = []

    async def handle(socket: ServerConnection) -> None:
        line = Line(socket, len(lines))
        lines.append(line)
        with contextlib.suppress(ConnectionClosed):
            await talk(line)

    server: Server
    async with serve(handle, "127.0.0.1", 0, max_size=None, close_timeout=0.2) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


class Running:
    """A gateway under test and what it has put on the bus."""

    def __init__(self, gateway: Gateway, bus: Bus, recorder: Recorder) -> None:
        self.gateway = gateway
        self.recorder = recorder
        self.frames: dict[str, list[Frame]] = {stream: [] for stream in CAPTURED}
        self.safe: bool | None = None  # what the gateway said at its end
        self._bus = bus

    def collect(self) -> None:
        """Take what is on the bus by now."""
        for stream, frames in self.frames.items():
            while deliveries := self._bus.pull(f"{stream}.write"):
                frames += [decode(delivery.message) for delivery in deliveries]
                self._bus.ack(f"{stream}.write", [delivery.ack_id for delivery in deliveries])

    def rows(self, stream: str) -> list[Row]:
        """Return the rows collected, in the order of their frames."""
        frames = sorted(self.frames[stream], key=lambda frame: (frame.id.epoch, frame.id.seq))
        return [row for frame in frames for row in frame.rows.to_pylist()]

    def events(self, kind: str) -> list[Row]:
        """Return the events of one kind."""
        return [row for row in self.rows("events") if row["kind"] == kind]

    def reasons(self, kind: str) -> list[str]:
        """Return their reasons."""
        return [row["reason"] for row in self.events(kind)]

    async def until(self, condition: Callable[[], object], *, collect: bool = True) -> None:
        """Wait, collecting, until the condition holds."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                await asyncio.sleep(0.01)
                if collect:
                    self.collect()


def settings_for(url: str, **others: object) -> Settings:
    values: dict[str, object] = {
        "products": "BTC-USD,ETH-USD",
        "feed_url": url,
        "frame_ms_features": 20,
        "frame_ms_raw": 30,
    }
    return load_settings(**(values | others))


@contextlib.asynccontextmanager
async def running(
    path: Path,
    settings: Settings,
    *,
    bus: Bus | None = None,
    make_spool: Callable[[Path, str], Spool] = DirectorySpool,
    memory_bytes: int = 50_000_000,
    clock: Clock | None = None,
    repair: Callable[[], bool] = lambda: False,
    recorder: Recorder | None = None,
) -> AsyncIterator[Running]:
    """Run a gateway in this loop; stop it at the end and collect all it published."""
    clock = clock or SystemClock()
    epoch = new_epoch(clock.now_ns())
    recorder = recorder or Recorder("test")
    reading_bus = SqliteBus(path / "bus.db")
    wanted = topology()
    reading_bus.create(wanted.topics, wanted.subscriptions)
    spool = make_spool(path / "spool", epoch)
    outbox = Outbox(
        bus or reading_bus,
        spool,
        recorder,
        clock,
        epoch=epoch,
        producer="test",
        memory_bytes=memory_bytes,
        repair=repair,
    )

    async def connect() -> Receiver:
        return await open_websocket(
            settings.effective_feed_url, settings.max_message_mb * 1_000_000
        )

    def soon() -> Backoff:
        return Backoff(first_seconds=0.02, longest_seconds=0.05)

    gateway = Gateway(settings, Parts(outbox, spool, recorder, clock, connect, soon), epoch)
    stop = asyncio.Event()
    task = asyncio.create_task(gateway.run(stop))
    run = Running(gateway, reading_bus, recorder)
    try:
        yield run
    finally:
        stop.set()
        run.safe = await task
        run.collect()
        reading_bus.close()
