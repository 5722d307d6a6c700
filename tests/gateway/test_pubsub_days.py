"""The gateway over the official Pub/Sub emulator: a good day, and one on which the emulator dies.

The emulator keeps everything in memory. Killed, it takes along what it had acknowledged and nobody
had pulled; all the rest has to arrive.
"""

import asyncio
import re
import signal
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

from quotewatch.bus.pubsub import PubSubBus
from quotewatch.coinbase import exchange
from quotewatch.errors import BusError
from quotewatch.frames import decode
from quotewatch.streams import CAPTURED
from tests.emulator import free_port, running_emulator
from tests.gateway.desk import TIME
from tests.gateway.processes import Process, process, until
from tests.gateway.running import Line, feed, match, update

Row = dict[str, Any]

_SPOOLED = re.compile(r"([a-z_]+)\.([0-9]+)\.frame")


class Drain:
    """Takes everything off the emulator, as `write` does."""

    def __init__(self, address: str, project: str) -> None:
        # Read once: a condition that is looked at again and again must not cost more each time.
        self._rows: dict[str, dict[tuple[str, int], list[Row]]] = {name: {} for name in CAPTURED}
        self._bus = PubSubBus(project, emulator_host=address)

    def take(self) -> "Drain":
        """Take what is there by now; nothing while the emulator is away or still empty."""
        for stream, rows in self._rows.items():
            subscription = f"{stream}.write"
            try:
                while deliveries := self._bus.pull(subscription):
                    for frame in (decode(delivery.message) for delivery in deliveries):
                        rows[frame.id.epoch, frame.id.seq] = frame.rows.to_pylist()
                    self._bus.ack(subscription, [delivery.ack_id for delivery in deliveries])
            except BusError:
                continue
        return self

    def seqs(self, stream: str) -> set[int]:
        return {seq for _, seq in self._rows[stream]}

    def rows(self, stream: str) -> list[Row]:
        """Return the rows of a stream, each frame once, in order."""
        return [row for key in sorted(self._rows[stream]) for row in self._rows[stream][key]]

    def sizes(self) -> list[int]:
        """Return the numbers of the updates taken, in order."""
        rows = [row for row in self.rows("raw_orderbook") if row["kind"] == "update"]
        return [int(row["changes"][0]["size"]) for row in rows]

    def last_seqs(self) -> dict[str, int]:
        """Return what the gateway said at its end that the last seq of each stream was."""
        finals = [row for row in self.rows("events") if row["kind"] == "final"]
        return {row["stream"]: row["to_id"] for row in finals if row["symbol"] is None}

    def close(self) -> None:
        self._bus.close()


@contextmanager
def drain(address: str, project: str) -> Iterator[Drain]:
    with closing(Drain(address, project)) as opened:
        yield opened


@asynccontextmanager
async def gateway_on(
    address: str, project: str, data: Path, url: str, **variables: str
) -> AsyncIterator[Process]:
    pubsub = {
        "QUOTEWATCH_BUS": "pubsub",
        "QUOTEWATCH_PROJECT": project,
        "PUBSUB_EMULATOR_HOST": address,
    }
    async with process(data, url, **pubsub, **variables) as started:
        yield started


def new_project() -> str:
    return f"gateway-{uuid.uuid4().hex[:8]}"


def spooled(data: Path) -> dict[str, set[int]]:
    """Return the seqs in the spool: each frame is there until the bus has acknowledged it."""
    found: dict[str, set[int]] = {stream: set() for stream in CAPTURED}
    for path in (data / "spool").glob("*/*.frame"):
        if name := _SPOOLED.fullmatch(path.name):
            found[name[1]].add(int(name[2]))
    return found


def numbered(sent: list[int]) -> Callable[[Line], Awaitable[None]]:
    """Send numbered updates and matches, and heartbeats, for as long as they are read."""

    async def talk(line: Line) -> None:
        await line.welcome()
        while True:
            sent.append(len(sent) + 1)
            await line.send(update(size=str(sent[-1])), match(sent[-1]))
            if not len(sent) % 20:
                await line.send(exchange.Heartbeat(sent[-1], "BTC-USD", sent[-1], TIME))
                await asyncio.sleep(0.02)

    return talk


def failing(gateway: Process) -> set[object]:
    """Return the streams whose publishing has failed: what they had settled has left the spool."""
    return {line["stream"] for line in gateway.lines("publish_failed")}


def failures(gateway: Process) -> float:
    text = gateway.get("/metrics")[1]
    (line,) = re.findall(r"^gateway_publish_failures_total\{.*\} (.*)$", text, re.MULTILINE)
    return float(line)


def test_what_the_feed_sends_is_what_pubsub_has(tmp_path: Path, pubsub_emulator: str) -> None:
    project = new_project()

    async def talk(line: Line) -> None:
        await line.welcome()
        for number in range(1, 201):
            await line.send(update(size=str(number)), match(number))
            if not number % 20:
                await asyncio.sleep(0.02)  # windows end: several frames a stream
        await line.stay()

    async def scenario(taken: Drain) -> None:
        async with feed(talk) as url, gateway_on(pubsub_emulator, project, tmp_path, url) as run:
            await until(lambda: len(taken.take().sizes()) == 200)
            assert await run.end(signal.SIGTERM) == 0
            assert run.lines("stopped")[0]["safe"] is True
        taken.take()

    with drain(pubsub_emulator, project) as taken:
        asyncio.run(scenario(taken))
        assert taken.sizes() == list(range(1, 201))
        assert [row["trade_id"] for row in taken.rows("raw_trades")] == list(range(1, 201))
        features = taken.rows("features")
        assert len(features) == 200
        assert {row["symbol"] for row in features} == {"BTC-USD"}
        kinds = {row["kind"] for row in taken.rows("events")}
        assert kinds >= {"start", "open", "snapshot", "close", "final"}
        for stream, last in taken.last_seqs().items():
            assert taken.seqs(stream) == set(range(last + 1))
    assert not any(spooled(tmp_path).values())


def test_an_emulator_that_dies_under_load_and_forgets_everything_gets_the_rest(
    tmp_path: Path,
) -> None:
    project, sent = new_project(), list[int]()

    async def outage(gateway: Process, old: Drain, emulator: ExitStack) -> dict[str, set[int]]:
        """Kill the emulator while frames come; return what it had not acknowledged."""
        await until(lambda: len(old.take().sizes()) > 500)
        await asyncio.to_thread(emulator.close)
        await until(lambda: failing(gateway) == set(CAPTURED))
        unacknowledged = spooled(tmp_path)
        status, text = gateway.get("/readyz")
        assert status == 503
        for stream in CAPTURED:
            assert f"bus: {stream} cannot be published\n" in text
        assert gateway.get("/healthz")[0] == 200  # a restart would mend nothing
        await until(lambda: failures(gateway) >= 8)
        return unacknowledged

    async def recovery(gateway: Process, new: Drain) -> None:
        """Go on until what was read after the outage is there, then stop."""
        read = len(sent)
        await until(lambda: new.take().sizes()[-1:] > [read])
        await until(lambda: gateway.get("/readyz")[0] == 200)
        assert await gateway.end(signal.SIGTERM) == 0
        assert gateway.lines("stopped")[0]["safe"] is True
        new.take()

    async def scenario(emulator: ExitStack) -> tuple[Drain, Drain, dict[str, set[int]]]:
        address = emulator.enter_context(running_emulator(tmp_path / "first.txt"))
        with drain(address, project) as old, drain(address, project) as new:
            async with (
                feed(numbered(sent)) as url,
                gateway_on(address, project, tmp_path, url) as gateway,
            ):
                unacknowledged = await outage(gateway, old, emulator)
                again = running_emulator(tmp_path / "second.txt", address)
                await asyncio.to_thread(emulator.enter_context, again)
                await recovery(gateway, new)
        return old, new, unacknowledged

    with ExitStack() as emulator:
        old, new, unacknowledged = asyncio.run(scenario(emulator))
    last = new.last_seqs()
    for stream in CAPTURED:
        assert unacknowledged[stream]
        assert new.seqs(stream) >= unacknowledged[stream]
        assert new.seqs(stream) == set(range(min(new.seqs(stream)), last[stream] + 1))
        # What neither has, the old one had acknowledged and took along.
        lost = set(range(last[stream] + 1)) - old.seqs(stream) - new.seqs(stream)
        assert all(seq < min(unacknowledged[stream]) for seq in lost)
    numbers = new.sizes()
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    ids = [row["trade_id"] for row in new.rows("raw_trades")]
    assert ids == list(range(ids[0], ids[-1] + 1))
    assert not any(spooled(tmp_path).values())


def test_what_a_gateway_could_not_publish_before_it_was_stopped_the_next_one_does(
    tmp_path: Path,
) -> None:
    project, sent = new_project(), list[int]()

    async def talk(line: Line) -> None:
        await line.welcome()
        for number in range(1, 101):
            await line.send(update(size=str(number)))
            sent.append(number)
        await line.stay()

    async def stopped_during_an_outage(address: str) -> None:
        async with feed(talk) as url, gateway_on(address, project, tmp_path, url) as gateway:
            await until(lambda: gateway.lines("bus_unavailable"))
            await until(lambda: len(sent) == 100 and "raw_orderbook" in failing(gateway))
            began = time.monotonic()
            assert await gateway.end(signal.SIGTERM) == 0
            assert time.monotonic() - began < 10  # then the platform kills
            assert gateway.lines("stopped")[0]["safe"] is True

    async def published_later(address: str, taken: Drain) -> None:
        async with gateway_on(address, project, tmp_path, "ws://127.0.0.1:1") as again:
            await until(lambda: len(taken.take().sizes()) == 100 and taken.last_seqs())
            assert await again.end(signal.SIGTERM) == 0

    address = f"127.0.0.1:{free_port()}"
    asyncio.run(stopped_during_an_outage(address))
    assert all(spooled(tmp_path)[stream] for stream in ("raw_orderbook", "features", "events"))
    with running_emulator(tmp_path / "log.txt", address), drain(address, project) as taken:
        asyncio.run(published_later(address, taken))
        assert {row["reason"] for row in taken.rows("events") if row["kind"] == "start"} == {None}
        assert taken.sizes() == list(range(1, 101))
