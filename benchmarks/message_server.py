"""A WebSocket server on this machine that sends ready messages to one client.

`python -m benchmarks.message_server RATE EXTENSION`: its port is the first line it prints. RATE 0
sends as fast as the receiver takes.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from itertools import cycle, islice

import websockets
from websockets.asyncio.server import ServerConnection, serve

from benchmarks import level2_batch
from benchmarks._timing import pin

_BULK = 40_000  # messages, once
_PACED_SECONDS = 3.0
_CHUNK = 200  # messages written at once in bulk
_MOST_WAITING = 1 << 20  # bytes
_SHORT_SECONDS = 0.0001


async def main(rate: float, *, deflate: bool) -> None:
    """Serve one client, then end."""
    snapshots = len(level2_batch.PRODUCTS)
    texts = list(islice(level2_batch.generate(), snapshots, snapshots + 10_000))
    done = asyncio.Event()

    async def send(socket: ServerConnection) -> None:
        try:
            if rate:
                await _send_paced(socket, cycle(texts), rate)
            else:
                await _send_bulk(socket, cycle(texts))
        except websockets.ConnectionClosed:
            pass
        finally:
            await socket.close()
            done.set()

    compression = "deflate" if deflate else None
    async with serve(send, "127.0.0.1", 0, compression=compression) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await done.wait()


async def _send_bulk(socket: ServerConnection, texts: Iterator[bytes]) -> None:
    """Write frames built before: the receiver, not this process, is what takes the time."""
    chunks = []
    for _ in range(_BULK // _CHUNK):
        for text in islice(texts, _CHUNK):
            socket.protocol.send_text(text)
        chunks.append(b"".join(socket.protocol.data_to_send()))
    for chunk in chunks:
        socket.transport.write(chunk)
        # There is no event for bytes written past the protocol.
        while socket.transport.get_write_buffer_size() > _MOST_WAITING:  # noqa: ASYNC110
            await asyncio.sleep(_SHORT_SECONDS)


async def _send_paced(socket: ServerConnection, texts: Iterator[bytes], rate: float) -> None:
    """Send one message at a time, as a feed does: each wakes the receiver."""
    began = time.monotonic()
    sent = 0
    while (passed := time.monotonic() - began) < _PACED_SECONDS:
        due = int(passed * rate) - sent
        for text in islice(texts, due):
            await socket.send(text, text=True)
            await asyncio.sleep(0)
        sent += due
        await asyncio.sleep(_SHORT_SECONDS)


if __name__ == "__main__":
    pin(first=True)
    asyncio.run(main(float(sys.argv[1]), deflate=sys.argv[2] == "deflate"))
