"""Three WebSocket clients behind one small port: raw messages with the time they came, in order.

An async iterator of (bytes, received_ns). What the gateway would need of another client than the
one it has is just this.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

import websockets

Received = tuple[bytes, int]
_MOST_BYTES = 1 << 26


async def by_websockets(url: str) -> AsyncIterator[Received]:
    """Receive with the `websockets` package; the deflate extension is taken where offered."""
    connection = websockets.connect(url, max_size=_MOST_BYTES, max_queue=1024)
    async with connection as socket:
        while True:
            try:
                raw = await socket.recv(decode=False)
            except websockets.ConnectionClosedOK:
                return
            yield raw, time.time_ns()


async def by_aiohttp(url: str) -> AsyncIterator[Received]:
    """Receive with aiohttp."""
    aiohttp = import_module("aiohttp")
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, max_msg_size=_MOST_BYTES) as socket,
    ):
        async for message in socket:
            # It decodes text; what follows wants bytes, as the others give them.
            yield message.data.encode(), time.time_ns()


class _Frames:
    """Collects frames where the reader can wait for them: picows itself only calls back."""

    def __init__(self, kinds: Any) -> None:  # noqa: ANN401 - picows' own
        super().__init__()
        self.frames: deque[Received] = deque()
        self.closed = False
        self._kinds = kinds
        self._waiter: asyncio.Future[None] | None = None

    def on_ws_frame(self, transport: Any, frame: Any) -> None:  # noqa: ANN401 - picows' own
        """Take one frame; it is only valid during this call."""
        if frame.msg_type == self._kinds.TEXT:
            self.frames.append((frame.get_payload_as_bytes(), time.time_ns()))
            self._wake()
        elif frame.msg_type == self._kinds.CLOSE:
            # Unanswered, the server waits ten seconds, and they would count as ours.
            transport.disconnect()

    def on_ws_disconnected(self, transport: object) -> None:
        """End the iteration."""
        del transport
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Return when there are frames, or no more will come."""
        if not self.frames and not self.closed:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter


async def by_picows(url: str) -> AsyncIterator[Received]:
    """Receive with picows."""
    picows = import_module("picows")
    # Its listener must be a class of its own, and the package need not be there for the checks.
    listener: Any = type("Listener", (_Frames, picows.WSListener), {})(picows.WSMsgType)
    await picows.ws_connect(lambda: listener, url)
    while True:
        await listener.wait()
        if not listener.frames:
            return
        while listener.frames:
            yield listener.frames.popleft()


PORTS = {"websockets": by_websockets, "aiohttp": by_aiohttp, "picows": by_picows}
