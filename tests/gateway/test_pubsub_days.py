"""The gateway over the official Pub/Sub emulator: a good day, and one on which the emulator dies.

The emulator keeps everything in memory. Killed, it takes along what it had acknowledged and nobody
had pulled; all the rest has to arrive.
"""

import asyncio
import re
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

from quotewatch.bus.pubsub import PubSubBus
from quotewatch.errors import BusError, BusUnavailableError
from quotewatch.frames import Frame, decode
from quotewatch.streams import STREAMS
from tests.emulator import running_emulator
from tests.gateway.processes import Process, endless, process, until
from tests.gateway.running import Line, feed, match, update

RAW = ("raw_orderbook", "raw_trades")
_SPOOLED = re.compile(r"([a-z_]+)\.([0-9]+)\.frame")


class Drain:
    """Takes everything off the emulator, as `write` does."""

    def __init__(self, address: str, project: str) -> None:
        self.frames: dict[str, list[Frame]] = {stream: [] for stream in STREAMS}
        self._bus = PubSubBus(project, emulator_host=address)

    def take(self) -> None:
        """Take what is there by now; nothing while the emulator is away or still empty."""
        for stream, frames in self.frames.items():
            subscription = f"{stream}.write"
            try:
                while deliveries := self._bus.pull(subscription):
                    frames += [decode(delivery.message) for delivery in deliveries]
                    self._bus.ack(subscription, [delivery.ack_id for delivery in deliveries])
            except BusError:
                continue

    def seqs(self, stream: str) -> set[int]:
        return {frame.id.seq for frame in self.frames[stream]}

    def rows(self, stream: str) -> list[dict[str, Any]]:
        """Return the rows of a stream, each frame once, in order."""
        once = {frame.id.seq: frame for frame in self.frames[stream]}
        return [row for seq in sorted(once) for row in once[seq].rows.to_pylist()]

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
    found: dict[str, set[int]] = {stream: set() for stream in STREAMS}
    for path in (data / "spool").glob("*/*.frame"):
        if name := _SPOOLED.fullmatch(path.name):
            found[name[1]].add(int(name[2]))
    return found


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
            await until(lambda: taken.take() or len(taken.sizes()) == 200)
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
            assert [frame.id.seq for frame in taken.frames[stream]] == list(range(last + 1))
    assert spooled(tmp_path) == {stream: set() for stream in STREAMS}


def test_an_emulator_that_dies_under_load_and_forgets_everything_gets_the_rest(
    tmp_path: Path,
) -> None:
    project, sent = new_project(), list[int]()

    async def outage(gateway: Process, old: Drain, stack: ExitStack) -> dict[str, set[int]]:
        """Kill the emulator while frames come; return what it had not acknowledged."""
        await until(lambda: old.take() or len(old.sizes()) > 500)
        await asyncio.to_thread(stack.close)
        # What was acknowledged in its last moment leaves the spool a moment later.
        await until(lambda: len(spooled(tmp_path)["raw_orderbook"]) > 5)
        unacknowledged = spooled(tmp_path)
        await until(lambda: gateway.get("/readyz")[0] == 503)
        assert "bus: raw_orderbook cannot be published" in gateway.get("/readyz")[1]
        assert gateway.get("/healthz")[0] == 200  # a restart would mend nothing
        await until(lambda: failures(gateway) >= 6)
        return unacknowledged

    async def scenario() -> tuple[Drain, Drain, dict[str, set[int]]]:
        stack = ExitStack()
        address = stack.enter_context(running_emulator(tmp_path / "first.txt"))
        with stack, drain(address, project) as old, drain(address, project) as new:
            async with (
                feed(endless(sent)) as url,
                gateway_on(address, project, tmp_path, url) as gateway,
            ):
                unacknowledged = await outage(gateway, old, stack)
                with running_emulator(tmp_path / "second.txt", address):
                    read = len(sent)
                    await until(lambda: new.take() or new.sizes()[-1:] > [read])
                    await until(lambda: gateway.get("/readyz")[0] == 200)
                    assert await gateway.end(signal.SIGTERM) == 0
                    assert gateway.lines("stopped")[0]["safe"] is True
                    new.take()
        return old, new, unacknowledged

    old, new, unacknowledged = asyncio.run(scenario())
    last = new.last_seqs()
    for stream in STREAMS:
        owed = unacknowledged[stream] or set(range(last[stream], last[stream]))
        assert new.seqs(stream) >= owed
        # Beside what the old emulator had acknowledged and took along, nothing is missing.
        first = min(new.seqs(stream))
        assert new.seqs(stream) == set(range(first, last[stream] + 1))
        lost = set(range(last[stream] + 1)) - old.seqs(stream) - new.seqs(stream)
        assert not lost & unacknowledged[stream]
    numbers = new.sizes()
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert spooled(tmp_path) == {stream: set() for stream in STREAMS}


def test_a_gateway_that_starts_before_its_emulator_loses_nothing(tmp_path: Path) -> None:
    """Also one that is told to stop while the emulator is away: the next life publishes."""
    project, sent = new_project(), list[int]()

    async def talk(line: Line) -> None:
        await line.welcome()
        for number in range(1, 101):
            sent.append(number)
            await line.send(update(size=str(number)))
        await line.stay()

    async def scenario() -> None:
        with running_emulator(tmp_path / "first.txt") as address:
            pass  # a free port that nobody listens on any more
        async with feed(talk) as url, gateway_on(address, project, tmp_path, url) as gateway:
            await until(lambda: gateway.lines("bus_unavailable"))
            await until(lambda: len(spooled(tmp_path)["raw_orderbook"]) > 0 and len(sent) == 100)
            await until(lambda: gateway.lines("publish_failed"))
            began = asyncio.get_running_loop().time()
            assert await gateway.end(signal.SIGTERM) == 0
            assert asyncio.get_running_loop().time() - began < 10  # then the platform kills
        assert spooled(tmp_path)["events"] != set()
        with running_emulator(tmp_path / "second.txt", address), drain(address, project) as taken:
            async with gateway_on(address, project, tmp_path, "ws://127.0.0.1:1") as again:
                await until(lambda: taken.take() or taken.last_seqs() and len(taken.sizes()) == 100)
                assert again.lines("leftover_published")
                assert await again.end(signal.SIGTERM) == 0
            assert taken.sizes() == list(range(1, 101))

    asyncio.run(scenario())
