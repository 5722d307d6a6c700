"""Bad days behind the gateway: nothing is lost while bus, spool or memory can take it."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from ingest_gateway import publisher
from ingest_gateway.spool import DirectorySpool, ObjectSpool, Spool, SpooledFrame
from quotewatch.bus.port import Message
from quotewatch.bus.sqlite import SqliteBus
from quotewatch.errors import BusError, BusUnavailableError, SpoolError
from quotewatch.objects.local import LocalObjects
from tests.gateway.running import (
    PATIENCE_SECONDS,
    Line,
    Running,
    Talk,
    feed,
    running,
    settings_for,
    update,
)

UPDATES = 400


class FlakyBus(SqliteBus):
    """The real bus behind a line that can be cut."""

    down = True

    def publish(
        self, topic: str, messages: Sequence[Message], *, timeout_seconds: float = 10.0
    ) -> list[str]:
        if self.down:
            raise BusUnavailableError("the line is cut")
        return super().publish(topic, messages, timeout_seconds=timeout_seconds)


class ForgetfulBus(SqliteBus):
    """A bus that has forgotten its topics until somebody makes them again."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.forgot = True

    def publish(
        self, topic: str, messages: Sequence[Message], *, timeout_seconds: float = 10.0
    ) -> list[str]:
        if self.forgot:
            raise BusError(f"no topic {topic}")
        return super().publish(topic, messages, timeout_seconds=timeout_seconds)

    def remember(self) -> bool:
        self.forgot = False
        return True


def in_bucket(path: Path, epoch: str) -> Spool:
    return ObjectSpool(LocalObjects(path.parent / "bucket"), "spool", epoch)


class FullSpool(DirectorySpool):
    """A spool on a disk that is full."""

    def add(self, frame: SpooledFrame) -> None:
        raise SpoolError(f"{frame.stream} {frame.seq}: no space left on device")


async def busy(line: Line, may_send: Callable[[int], bool] = lambda _: True) -> None:
    """Send updates of both products, with pauses in which windows end."""
    await line.welcome()
    for number in range(UPDATES):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not may_send(number):  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)
        size = f"{number + 1}"
        await line.send(update(size=size), update("ETH-USD", size=size))
        if number % 20 == 0:
            await asyncio.sleep(0.01)
    await line.stay()


@contextlib.asynccontextmanager
async def busy_gateway(path: Path, *, talk: Talk = busy, **parts: object) -> AsyncIterator[Running]:
    async with feed(talk) as url, running(path, settings_for(url), **parts) as gateway:  # type: ignore[arg-type]
        yield gateway


def assert_all_there(gateway: Running, stream: str = "raw_orderbook") -> None:
    """Every update once, in frames without holes."""
    sizes: dict[str, list[int]] = {"BTC-USD": [], "ETH-USD": []}
    for row in gateway.rows(stream):
        if row["kind"] == "update":
            sizes[row["symbol"]].append(int(row["changes"][0]["size"]))
    assert all(found == list(range(1, UPDATES + 1)) for found in sizes.values())
    for frames in gateway.frames.values():
        assert sorted(frame.id.seq for frame in frames) == list(range(len(frames)))


def all_read(gateway: Running) -> bool:
    return gateway.gateway.tape.counts["l2update"] == 2 * UPDATES


def test_a_bus_that_comes_back_gets_everything_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        bus = FlakyBus(tmp_path / "bus.db")
        async with busy_gateway(tmp_path, bus=bus) as gateway:
            await gateway.until(lambda: all_read(gateway))
            await gateway.until(lambda: gateway.gateway.parts.spool.pending_frames() > 3)
            assert gateway.rows("raw_orderbook") == []
            assert gateway.gateway.readings.problems(gateway.gateway.ticked) != []
            bus.down = False
            await gateway.until(lambda: len(gateway.rows("raw_orderbook")) == 2 * UPDATES + 2)
        assert_all_there(gateway)
        assert gateway.gateway.parts.spool.pending_frames() == 0
        assert gateway.recorder.value("gateway_publish_failures_total") > 0
        assert gateway.events("drop") == []
        bus.close()

    asyncio.run(scenario())


def test_a_bus_that_forgot_its_topics_gets_everything_as_soon_as_they_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "_REFUSED_SECONDS", 3_600.0)  # what is mended is not waited for

    async def scenario() -> None:
        bus = ForgetfulBus(tmp_path / "bus.db")
        async with busy_gateway(tmp_path, bus=bus, repair=bus.remember) as gateway:
            await gateway.until(lambda: len(gateway.rows("raw_orderbook")) == 2 * UPDATES + 2)
        assert_all_there(gateway)
        bus.close()

    asyncio.run(scenario())


def test_a_locked_sqlite_bus_loses_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with busy_gateway(tmp_path) as gateway:
            blocker = sqlite3.connect(tmp_path / "bus.db", isolation_level=None)
            blocker.execute("BEGIN EXCLUSIVE")
            await gateway.until(lambda: all_read(gateway), collect=False)
            blocker.execute("ROLLBACK")
            blocker.close()
            await gateway.until(lambda: len(gateway.rows("raw_orderbook")) == 2 * UPDATES + 2)
        assert_all_there(gateway)

    asyncio.run(scenario())


def test_a_full_disk_under_the_spool_loses_nothing_while_the_bus_takes_frames(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        bus = FlakyBus(tmp_path / "bus.db")
        async with busy_gateway(tmp_path, bus=bus, make_spool=FullSpool) as gateway:
            await gateway.until(lambda: all_read(gateway))
            bus.down = False
            await gateway.until(lambda: len(gateway.rows("raw_orderbook")) == 2 * UPDATES + 2)
        assert_all_there(gateway)
        assert gateway.recorder.value("gateway_spool_failures_total") > 0
        bus.close()

    asyncio.run(scenario())


def test_memory_stays_bounded_while_the_spool_holds_an_outage(tmp_path: Path) -> None:
    memory = 100_000

    async def scenario() -> None:
        bus = FlakyBus(tmp_path / "bus.db")
        running_ones: list[Running] = []

        def is_spooled(number: int) -> bool:
            """Let the spool keep up with the feed, however slow the disk is."""
            if number % 10 or not running_ones:
                return bool(running_ones)
            tape, outbox = running_ones[0].gateway.tape, running_ones[0].gateway.parts.outbox
            return (
                tape.counts["l2update"] == 2 * number
                and not any(map(tape.rows_of, ("raw_orderbook", "features")))
                and outbox.held_bytes < memory // 2
            )

        async with busy_gateway(
            tmp_path, talk=partial(busy, may_send=is_spooled), bus=bus, memory_bytes=memory
        ) as gateway:
            running_ones.append(gateway)
            await gateway.until(lambda: is_spooled(UPDATES))
            assert gateway.gateway.parts.spool.pending_bytes() > memory // 4
            held = gateway.gateway.parts.outbox
            await gateway.until(lambda: held.held_bytes < memory // 4)
            bus.down = False
            await gateway.until(lambda: len(gateway.rows("raw_orderbook")) == 2 * UPDATES + 2)
        assert_all_there(gateway)
        bus.close()

    asyncio.run(scenario())


def test_what_nothing_can_take_is_dropped_and_written_down(tmp_path: Path) -> None:
    async def scenario() -> None:
        bus = FlakyBus(tmp_path / "bus.db")
        async with busy_gateway(
            tmp_path, bus=bus, make_spool=FullSpool, memory_bytes=3_000
        ) as gateway:
            await gateway.until(lambda: all_read(gateway))
            await gateway.until(lambda: gateway.gateway.journal.counts["drop", "queue_full"])
            bus.down = False
            await gateway.until(lambda: gateway.events("drop"))
        dropped = {
            stream: sum(row["count"] for row in gateway.events("drop") if row["stream"] == stream)
            for stream in gateway.frames
        }
        kept = gateway.rows("raw_orderbook")
        assert dropped["raw_orderbook"] + len(kept) == 2 * UPDATES + 2
        # The book whose messages were dropped is given up: nothing else would tell.
        assert "dropped" in gateway.reasons("invalid")
        for frames in gateway.frames.values():
            assert sorted(frame.id.seq for frame in frames) == list(range(len(frames)))
        bus.close()

    asyncio.run(scenario())


def test_where_the_disk_is_memory_frames_go_to_the_bucket_once_publishing_fails(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        bus = FlakyBus(tmp_path / "bus.db")
        async with busy_gateway(tmp_path, bus=bus, make_spool=in_bucket) as gateway:
            await gateway.until(lambda: all_read(gateway))
            assert gateway.rows("raw_orderbook") == []
        # It stopped with the bus still down: everything is in the bucket.
        bus.down = False
        bus.close()
        nobody = settings_for("ws://127.0.0.1:1")
        async with running(tmp_path, nobody, make_spool=in_bucket) as later:
            await later.until(lambda: len(later.rows("raw_orderbook")) == 2 * UPDATES + 2)
        old = [frame for frame in later.frames["events"] if frame.id.epoch != later.gateway.epoch]
        kinds = [row["kind"] for frame in old for row in frame.rows.to_pylist()]
        assert "final" in kinds
        for stream in ("raw_orderbook", "features"):
            assert sorted(frame.id.seq for frame in later.frames[stream]) == list(
                range(len(later.frames[stream]))
            )

    asyncio.run(scenario())


def test_a_stop_without_room_still_says_what_was_lost_and_is_not_called_safe(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with feed(welcome_and_stay) as url:
            settings = settings_for(url, frame_ms_raw=60_000, frame_ms_features=60_000)
            async with running(tmp_path, settings, memory_bytes=1) as gateway:
                await gateway.until(lambda: gateway.gateway.tape.counts["l2update"])
                gateway.gateway.parts.outbox.losses.clear()
        assert set(gateway.reasons("drop")) == {"queue_full"}
        assert gateway.events("final") != []
        assert gateway.safe is False

    asyncio.run(scenario())


async def welcome_and_stay(line: Line) -> None:
    await line.welcome()
    await line.send(update())
    await line.stay()
