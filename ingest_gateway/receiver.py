"""The socket to the exchange behind one small port: bytes in, requests out."""

from typing import Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from quotewatch.errors import QuoteWatchError

_ABNORMAL = 1006  # no close frame came: what RFC 6455 calls it
_OPEN_SECONDS = 10
_CLOSE_SECONDS = 1
# Messages buffered before TCP pushes back: enough for a burst of fifty snapshots.
_BUFFERED = 256


class FeedClosedError(QuoteWatchError):
    """The connection ended, or never began (code 0); always a reason to connect again."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}".rstrip())
        self.code = code


class Receiver(Protocol):
    """One open connection. Every call may raise FeedClosedError."""

    async def receive(self) -> bytes:
        """Return the next message as it came."""
        ...

    async def send(self, request: bytes) -> None:
        """Send one request."""
        ...

    async def close(self) -> None:
        """End the connection; `receive` raises from now on."""
        ...


class WebSocketReceiver:
    """A connection through the websockets library."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def receive(self) -> bytes:
        """Return the next message as it came."""
        try:
            return await self._socket.recv(decode=False)
        except ConnectionClosed as error:
            raise _closed(error) from error

    async def send(self, request: bytes) -> None:
        """Send one request."""
        try:
            await self._socket.send(request, text=True)
        except ConnectionClosed as error:
            raise _closed(error) from error

    async def close(self) -> None:
        """End the connection; a peer that does not answer is left after a second."""
        await self._socket.close()


async def open_websocket(url: str, max_message_bytes: int) -> Receiver:
    """Connect, or say with FeedClosedError why not."""
    try:
        socket = await connect(
            url,
            max_size=max_message_bytes,
            max_queue=_BUFFERED,
            open_timeout=_OPEN_SECONDS,
            close_timeout=_CLOSE_SECONDS,
            compression=None,  # inflating costs a third more per message than the traffic saved
        )
    # ValueError: a redirect to a host or port that cannot be one.
    except (OSError, TimeoutError, InvalidHandshake, InvalidURI, EOFError, ValueError) as error:
        raise FeedClosedError(0, f"connect: {type(error).__name__}: {error}") from error
    return WebSocketReceiver(socket)


def _closed(error: ConnectionClosed) -> FeedClosedError:
    # What the peer said counts; a code of ours (1009: message too big) where it said nothing.
    frame = error.rcvd or error.sent
    if frame is None:
        return FeedClosedError(_ABNORMAL, "connection lost")
    return FeedClosedError(frame.code, frame.reason)
