"""A WebSocket server on this machine that sends the same messages again and again.

`python -m benchmarks.message_server SECONDS RATE DEFLATE`: its port is the first line it prints.
RATE 0 sends as fast as the receiver takes.
"""

import asyncio
import sys
import time
from itertools import cycle, islice

import websockets
from websockets.asyncio.server import ServerConnection, serve

from benchmarks import level2_batch
from benchmarks._timing import pin

_MESSAGES = 2_000
_TICK_SECONDS = 0.001


async def main(seconds: float, rate: float, *, deflate: bool) -> None:
    """Serve one client, then end."""
    texts = [raw.decode() for raw in islice(level2_batch.generate(), 100, 100 + _MESSAGES)]
    done = asyncio.Event()

    async def send(socket: ServerConnection) -> None:
        try:
            await _send(socket, texts, seconds, rate)
        except websockets.ConnectionClosed:
            pass
        finally:
            await socket.close()
            done.set()

    compression = "deflate" if deflate else None
    async with serve(send, "127.0.0.1", 0, compression=compression) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await done.wait()


async def _send(socket: ServerConnection, texts: list[str], seconds: float, rate: float) -> None:
    endless = cycle(texts)
    began = time.monotonic()
    sent = 0
    while (passed := time.monotonic() - began) < seconds:
        if rate:
            # One message at a time, as a feed does: each is a wake-up of the receiver.
            due = int(passed * rate) - sent
            if due <= 0:
                await asyncio.sleep(_TICK_SECONDS / 10)
        else:
            due = 200
        for text in islice(endless, max(0, due)):
            await socket.send(text)
            if rate:
                await asyncio.sleep(0)
        sent += max(0, due)


if __name__ == "__main__":
    pin(first=True)
    asyncio.run(main(float(sys.argv[1]), float(sys.argv[2]), deflate=sys.argv[3] == "deflate"))
