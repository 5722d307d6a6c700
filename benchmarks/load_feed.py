"""A feed that only sends: level2_batch messages of 100 products, stamped as they go, at a rate.

Messages are framed by hand, so that the sender needs a fraction of the core that it loads. After
the last message every level is put back as the snapshots had it, and the stream begins again.
"""

import asyncio
import json
import sys
import time
from datetime import UTC, datetime

from websockets.asyncio.server import ServerConnection, serve

from benchmarks.level2_batch import PRODUCTS, generate
from quotewatch.coinbase import exchange

_TICK_SECONDS = 0.005
_STAMP = b'"time":"'
_TEXT_FRAME = 0x81
_SHORT, _MEDIUM = 126, 1 << 16

Levels = dict[tuple[str, str], str]


def main() -> None:
    """Serve one client; say how much was sent."""
    rate, seconds = float(sys.argv[1]), float(sys.argv[2])
    asyncio.run(_serve(rate, seconds))


async def _serve(rate: float, seconds: float) -> None:
    snapshots, updates = _messages()
    served: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def talk(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(exchange.encode(_acknowledgement()), text=True)
        for snapshot in snapshots:
            await socket.send(snapshot, text=True)
        served.set_result(await _send_paced(socket, updates, rate, seconds))
        await socket.close()

    async with serve(talk, "127.0.0.1", 0, compression=None) as server:
        _say({"port": next(iter(server.sockets)).getsockname()[1]})
        _say({"sent": await served})


async def _send_paced(
    socket: ServerConnection, updates: list[bytes], rate: float, seconds: float
) -> int:
    """Send so many a second; a client that falls behind is waited for by TCP, as ever."""
    began = time.monotonic()
    sent = 0
    beats = 0.0  # when the next heartbeats are due: a product without is given up after a while
    while (elapsed := time.monotonic() - began) < seconds:
        due = int(elapsed * rate)
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode() + b'"}'
        chosen = (updates[number % len(updates)] for number in range(sent, due))
        socket.transport.write(b"".join(_frame(update + stamp) for update in chosen))
        sent = max(sent, due)
        if elapsed >= beats:
            beats += 1.0
            socket.transport.write(b"".join(map(_frame, _heartbeats(stamp))))
        await asyncio.sleep(_TICK_SECONDS)
        while socket.transport.get_write_buffer_size() > _MEDIUM:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(_TICK_SECONDS)
    return sent


def _heartbeats(stamp: bytes) -> list[bytes]:
    start = '{{"type":"heartbeat","last_trade_id":0,"sequence":0,"product_id":"{}","time":"'
    return [start.format(product).encode() + stamp for product in PRODUCTS]


def _frame(text: bytes) -> bytes:
    size = len(text)
    if size < _SHORT:
        return bytes([_TEXT_FRAME, size]) + text
    if size < _MEDIUM:
        return bytes([_TEXT_FRAME, _SHORT]) + size.to_bytes(2, "big") + text
    return bytes([_TEXT_FRAME, _SHORT + 1]) + size.to_bytes(8, "big") + text


def _messages() -> tuple[list[bytes], list[bytes]]:
    """Return the snapshots, and the updates up to where their time goes."""
    stream = list(generate())
    count = len(PRODUCTS)
    snapshots, updates = stream[:count], stream[count:]
    updates += [_way_back(raw, updates) for raw in snapshots]
    return snapshots, [raw[: raw.rindex(_STAMP) + len(_STAMP)] for raw in updates]


def _way_back(snapshot: bytes, updates: list[bytes]) -> bytes:
    """Return the update that puts a product's levels back."""
    first = json.loads(snapshot)
    product = first["product_id"]
    before: Levels = {("buy", price): size for price, size in first["bids"]}
    before |= {("sell", price): size for price, size in first["asks"]}
    after = dict(before)
    mark = f'"{product}"'.encode()
    for raw in updates:
        if mark in raw:
            for side, price, size in json.loads(raw)["changes"]:
                after[side, price] = size
    changes = [
        [side, price, before.get((side, price), "0")]
        for side, price in after
        if after[side, price] != before.get((side, price))
    ]
    return json.dumps(
        {"type": "l2update", "product_id": product, "changes": changes, "time": ""},
        separators=(",", ":"),
    ).encode()


def _acknowledgement() -> exchange.Subscriptions:
    names = ("level2_50", "matches", "heartbeat")
    return exchange.Subscriptions(
        [exchange.SubscribedChannel(name, list(PRODUCTS)) for name in names]
    )


def _say(fact: dict[str, int]) -> None:
    sys.stdout.write(json.dumps(fact) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
