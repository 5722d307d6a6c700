"""A client of the simulated exchange for tests: it does not sleep, it reads what was sent."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from quotewatch.clock import Clock
from quotewatch.coinbase import advanced, exchange
from quotewatch.local.exchange.server import ExchangeServer

LONGEST_SECONDS = 60  # of any test: a hang is a failure, a busy machine is not
MARK = '{"type":"mark"}'


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test on an event loop."""

    async def bounded() -> None:
        async with asyncio.timeout(LONGEST_SECONDS):
            await test()

    asyncio.run(bounded())


class StoppedClock(Clock):
    """Time stands still unless told."""

    def __init__(self) -> None:
        self.ns = 1_700_000_000_000_000_000

    def now_ns(self) -> int:
        return self.ns

    def monotonic(self) -> float:
        return self.ns / 1e9


class Listener:
    """One connection. `texts` has everything that came but marks."""

    def __init__(self, server: ExchangeServer, socket: ClientConnection) -> None:
        self.server = server
        self.socket = socket
        self.texts: list[str] = []

    async def subscribe(self, products: Sequence[str], channels: Sequence[str] = ()) -> None:
        """Subscribe, to the three usual channels unless others are named, and wait for the ack."""
        if self.server.config.dialect == "exchange":
            await self.ask(*exchange.subscribe(products, channels or exchange.CHANNELS))
        else:
            await self.ask(*advanced.subscribe(products, channels or advanced.CHANNELS))

    async def ask(self, *requests: bytes) -> None:
        """Send requests, and read on until each is answered."""
        for request in requests:
            before = self._answers()
            await self.socket.send(request, text=True)
            while self._answers() == before:
                self.texts.append(str(await self.socket.recv()))
        await self.catch_up()

    def _answers(self) -> int:
        return sum(kind_of(text) in ("subscriptions", "error") for text in self.texts)

    async def catch_up(self) -> None:
        """Read what was sent so far."""
        self.server.send_raw(MARK)
        while (text := str(await self.socket.recv())) != MARK:
            self.texts.append(text)

    async def until_closed(self) -> ConnectionClosed:
        """Read whatever still comes and return how it ended."""
        try:
            while True:
                text = str(await self.socket.recv())
                if text != MARK:
                    self.texts.append(text)
        except ConnectionClosed as closed:
            return closed

    def messages(self, *kinds: str) -> list[dict[str, Any]]:
        """Return what came, of some kinds only if they are named."""
        return [json.loads(t) for t in self.texts if not kinds or kind_of(t) in kinds]


def close_code(closed: ConnectionClosed) -> int:
    """Return the code a connection was closed with; 1006 without a close frame."""
    return closed.rcvd.code if closed.rcvd is not None else 1006


async def gone(server: ExchangeServer) -> None:
    """Wait until the server has noticed that everybody left."""
    while server.exchange.sessions:  # noqa: ASYNC110 - it notices by itself, and tells nobody
        await asyncio.sleep(0)


def kind_of(text: str) -> str:
    """Return a message's type, or its channel; what is no JSON is `cut`."""
    try:
        message = json.loads(text)
    except json.JSONDecodeError:
        return "cut"
    return str(message.get("type") or message.get("channel"))


@asynccontextmanager
async def listening(server: ExchangeServer) -> AsyncIterator[Listener]:
    """Connect to a server."""
    async with connect(server.url, max_size=None, ping_interval=None) as socket:
        yield Listener(server, socket)


def read_truth(path: Path, conn: int | None = None) -> list[dict[str, Any]]:
    """Return the lines of a truth file without the tests' marks."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        line for line in lines if line["message"] != MARK and (conn is None or line["conn"] == conn)
    ]
