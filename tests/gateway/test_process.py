"""`python -m ingest_gateway` as the container runs it."""

import asyncio
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from quotewatch.bus.sqlite import SqliteBus
from quotewatch.bus.topology import topology
from quotewatch.frames import Frame, decode
from quotewatch.streams import CAPTURED
from tests.gateway.processes import endless, process, until
from tests.gateway.running import PATIENCE_SECONDS, Line, feed, update


class OnBus:
    """What waits on the bus of a data folder."""

    def __init__(self, data: Path) -> None:
        self._bus = SqliteBus(data / "bus.db")
        wanted = topology()
        self._bus.create(wanted.topics, wanted.subscriptions)

    def frames(self, stream: str) -> list[Frame]:
        waiting = self._bus.peek(f"{stream}.write", max_messages=100_000)
        frames = [decode(message.message) for message in waiting]
        return sorted(frames, key=lambda frame: (frame.id.epoch, frame.id.seq))

    def numbers(self) -> list[int]:
        """Return the numbers of the updates kept."""
        rows = [row for frame in self.frames("raw_orderbook") for row in frame.rows.to_pylist()]
        return [int(row["changes"][0]["size"]) for row in rows if row["kind"] == "update"]

    def events(self, kind: str) -> list[dict[str, object]]:
        rows = [row for frame in self.frames("events") for row in frame.rows.to_pylist()]
        return [row for row in rows if row["kind"] == kind]

    def close(self) -> None:
        self._bus.close()


@pytest.fixture
def on_bus(tmp_path: Path) -> Iterator[OnBus]:
    opened = OnBus(tmp_path)
    yield opened
    opened.close()


def test_sigterm_in_a_burst_keeps_everything_that_was_read(tmp_path: Path, on_bus: OnBus) -> None:
    sent: list[int] = []

    async def scenario() -> None:
        async with feed(endless(sent)) as url, process(tmp_path, url) as gateway:
            await until(lambda: len(on_bus.numbers()) > 500)
            assert await gateway.end(signal.SIGTERM) == 0
            assert gateway.lines("stopped")[0]["safe"] is True

    asyncio.run(scenario())
    numbers = on_bus.numbers()
    assert numbers == list(range(1, len(numbers) + 1))
    finals = {row["stream"]: row["to_id"] for row in on_bus.events("final") if not row["symbol"]}
    for stream in CAPTURED:
        seqs = [frame.id.seq for frame in on_bus.frames(stream)]
        assert seqs == list(range(len(seqs)))
        assert finals[stream] == (seqs[-1] if seqs else None)


def is_empty(spool: Path) -> bool:
    """Say whether no frame is left; a folder that goes while we look is looked at again."""
    try:
        return not list(spool.glob("*/*.frame"))
    except FileNotFoundError:
        return False


def test_kill_9_loses_the_open_window_alone_and_the_next_start_says_so(
    tmp_path: Path, on_bus: OnBus
) -> None:
    sent: list[int] = []

    async def scenario() -> None:
        async with feed(endless(sent)) as url:
            async with process(tmp_path, url) as gateway:
                await until(lambda: len(on_bus.numbers()) > 500)
                await gateway.end(signal.SIGKILL)
            async with process(tmp_path, url) as again:
                await until(lambda: len(on_bus.events("start")) == 2)
                await until(lambda: is_empty(tmp_path / "spool"))
                assert await again.end(signal.SIGTERM) == 0

    asyncio.run(scenario())
    numbers = on_bus.numbers()
    assert numbers == list(range(1, len(numbers) + 1))
    first, second = on_bus.events("start")
    died = on_bus.frames("raw_orderbook")[0].id.epoch
    assert (first["reason"], second["reason"]) == (None, f"after_crash {died}")
    for stream in CAPTURED:
        seqs = [frame.id.seq for frame in on_bus.frames(stream) if frame.id.epoch == died]
        assert seqs == list(range(len(seqs)))


def test_kill_9_during_an_outage_of_the_bus_loses_no_closed_window(
    tmp_path: Path, on_bus: OnBus
) -> None:
    sent: list[int] = []
    spooled: list[str] = []

    async def scenario() -> None:
        async with feed(endless(sent)) as url:
            async with process(tmp_path, url) as gateway:
                await until(on_bus.numbers)
                blocker = sqlite3.connect(tmp_path / "bus.db", isolation_level=None)
                blocker.execute("BEGIN EXCLUSIVE")
                frames = tmp_path / "spool"
                await until(lambda: len(list(frames.glob("*/raw_orderbook.*.frame"))) > 10)
                await gateway.end(signal.SIGKILL)
                spooled.extend(path.name for path in frames.glob("*/raw_orderbook.*.frame"))
                blocker.execute("ROLLBACK")
                blocker.close()
            async with process(tmp_path, "ws://127.0.0.1:1") as again:
                await until(lambda: is_empty(frames))
                assert await again.end(signal.SIGTERM) == 0

    asyncio.run(scenario())
    numbers = on_bus.numbers()
    assert numbers == list(range(1, len(numbers) + 1))
    kept = {frame.id.seq for frame in on_bus.frames("raw_orderbook")}
    assert {int(name.split(".")[1]) for name in spooled} <= kept


def test_health_follows_the_feed(tmp_path: Path) -> None:
    ready = asyncio.Event()

    async def patient(line: Line) -> None:
        await ready.wait()
        await line.welcome()
        await line.send(update())
        await line.stay()

    async def scenario() -> None:
        async with feed(patient) as url, process(tmp_path, url) as gateway:
            await until(lambda: gateway.lines("open"))
            assert (await asyncio.to_thread(gateway.get, "/healthz"))[0] == 200
            status, text = await asyncio.to_thread(gateway.get, "/readyz")
            assert (status, text) == (503, "feed: no product has a valid book\n")
            ready.set()
            await until(lambda: gateway.lines("snapshot"))
            await until(lambda: gateway.get("/readyz")[0] == 200)
            name = 'coinbase_messages_received_total{environment="local",type="l2update"} 1.0'
            await until(lambda: name in gateway.get("/metrics")[1])
            assert (await asyncio.to_thread(gateway.get, "/nowhere"))[0] == 404

    asyncio.run(scenario())


def test_bad_settings_are_all_named_and_nothing_starts(tmp_path: Path) -> None:
    async def scenario() -> None:
        variables = {
            "QUOTEWATCH_PRODUCTS": "btcusd",
            "QUOTEWATCH_FRAME_MS_RAW": "soon",
            "QUOTEWATCH_BUS": "pubsub",
            "ENVIRONMENT": "Prod!",
        }
        async with process(tmp_path, "http://wrong", **variables) as gateway:
            assert await asyncio.to_thread(gateway.child.wait, PATIENCE_SECONDS) == 2
            text = gateway.log.read_text()
        for name in (*variables, "QUOTEWATCH_FEED_URL"):
            if name != "QUOTEWATCH_BUS":
                assert name in text
        assert "QUOTEWATCH_PROJECT" in text
        assert "Traceback" not in text
        assert not (tmp_path / "bus.db").exists()

    asyncio.run(scenario())


def test_sigterm_is_obeyed_while_a_name_lookup_hangs(tmp_path: Path, on_bus: OnBus) -> None:
    hanging = tmp_path / "hanging"
    hanging.mkdir()
    (hanging / "sitecustomize.py").write_text(
        "import socket, sys, time\n"
        "def hang(*_, **__):\n"
        '    sys.stderr.write(\'{"event": "hanging"}\\n\')\n'
        "    time.sleep(300)\n"
        "socket.getaddrinfo = hang\n"
    )
    root = Path(__file__).parents[2]

    async def scenario() -> None:
        # The health server is bound to an address, so the feed's is the only lookup.
        variables = {"PYTHONPATH": f"{hanging}:{root}"}
        async with process(tmp_path, "ws://slow.example:1", **variables) as gateway:
            await until(lambda: gateway.lines("hanging"))
            assert await gateway.end(signal.SIGTERM) == 0

    asyncio.run(scenario())
    assert on_bus.events("final") != []
