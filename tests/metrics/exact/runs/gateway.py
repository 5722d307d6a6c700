"""A gateway on real sockets whose clock moves when it is told to: windows end, durations are known.

0       all that the first connection says, and what the second begins with
+0.25   a window of features ends; its spool takes a quarter of a second
+0.50   a window of book and trades ends
+10     a second window of each; the journal's high water
+11     a third, while the bus still holds the first frame of features back
+12     the gauges are read
"""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ingest_gateway.spool import DirectorySpool, SpooledFrame
from quotewatch.bus.port import Message
from quotewatch.bus.sqlite import SqliteBus
from quotewatch.clock import NS_PER_SECOND
from quotewatch.coinbase import exchange
from quotewatch.errors import BusUnavailableError, SpoolError
from quotewatch.market.windows import WINDOW_CAPACITY
from quotewatch.metrics.catalogue import CATALOGUE
from tests.gateway.running import (
    Line,
    Running,
    acknowledgement,
    feed,
    match,
    running,
    settings_for,
    snapshot,
    update,
)
from tests.metrics.exact.known import Known, recorder_of
from tests.metrics.exported import (
    Exported,
    by,
    by_all,
    exported,
    histogram,
    one,
)

OWNERS = ("gateway",)
STARTED = 1_000.0  # monotonic
STARTED_S = 1_786_253_022  # since 1970: 05:23:42
FEATURES_WINDOW, RAW_WINDOW = 0.25, 0.5  # seconds
# When the exchange says it sent a message, and how long ago that was at the start.
AHEAD, AHEAD_SECONDS = "2026-08-09T05:23:42.196708Z", 0.196708
JUST_NOW, JUST_NOW_SECONDS = "2026-08-09T05:23:41.998000Z", 0.002
QUARTER, QUARTER_SECONDS = "2026-08-09T05:23:41.750000Z", 0.25
MINUTE, MINUTE_SECONDS = "2026-08-09T05:22:41.000000Z", 61.0


class StandingClock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.seconds = STARTED

    def now_ns(self) -> int:
        return STARTED_S * NS_PER_SECOND + round((self.seconds - STARTED) * NS_PER_SECOND)

    def monotonic(self) -> float:
        return self.seconds


class ScriptedBus(SqliteBus):
    """Fails the first publish of trades, and holds features back until it is let."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.taken: defaultdict[str, list[list[int]]] = defaultdict(list)  # sizes by call
        self.let_features = threading.Event()
        self._to_fail = ["raw_trades"]

    def publish(
        self, topic: str, messages: Sequence[Message], *, timeout_seconds: float = 10.0
    ) -> list[str]:
        if topic in self._to_fail:
            self._to_fail.remove(topic)
            raise BusUnavailableError("the line is cut")
        if topic == "features":
            self.let_features.wait()
        ids = super().publish(topic, messages, timeout_seconds=timeout_seconds)
        self.taken[topic].append([len(message.data) for message in messages])
        return ids


class ScriptedSpool(DirectorySpool):
    """Does not take book frames, and features not before it is let."""

    def __init__(self, path: Path, epoch: str) -> None:
        super().__init__(path, epoch)
        self.asked = threading.Event()
        self.let_features = threading.Event()

    def add(self, frame: SpooledFrame) -> None:
        if frame.stream == "raw_orderbook":
            raise SpoolError("no space left on device")
        if frame.stream == "features":
            self.asked.set()
            self.let_features.wait()
        super().add(frame)


@dataclass
class Cues:
    """What the exchange waits for before it goes on."""

    begin: asyncio.Event
    once_more: asyncio.Event
    twice_more: asyncio.Event


def known_run(folder: Path) -> Known:
    return asyncio.run(_known_run(folder))


async def _known_run(folder: Path) -> Known:
    clock, bus, recorder = StandingClock(), ScriptedBus(folder / "bus.db"), recorder_of("gateway")
    cues = Cues(asyncio.Event(), asyncio.Event(), asyncio.Event())
    async with feed(lambda line: talk(line, cues)) as url:
        settings = settings_for(
            url, frame_ms_features=FEATURES_WINDOW * 1_000, frame_ms_raw=RAW_WINDOW * 1_000
        )
        async with running(
            folder, settings, bus=bus, make_spool=ScriptedSpool, clock=clock, recorder=recorder
        ) as run:
            during = await direct(run, clock, bus, cues)
    bus.close()
    known = Known(products=2)
    known.note("gateway", recorder, wanted({name: _sizes(bus, name) for name in bus.taken}))
    # Gauges are read while everything runs: after the end most of them are at rest.
    for name, samples in during.items():
        if CATALOGUE[name].kind == "gauge":
            known.found["gateway"][name] = samples
    return known


async def talk(line: Line, cues: Cues) -> None:
    """Speak for the exchange: two connections, the first of which it closes."""
    await cues.begin.wait()
    await line.welcome()
    if line.number:
        await line.send(exchange.LastMatch(5, "sell", "0.5", "100.5", "BTC-USD", 50, AHEAD))
        await line.send(*[update(time=AHEAD) for _ in range(3)])
        await line.send(*[match(number, time=AHEAD) for number in (6, 7)])
        await line.send(match(2, "ETH-USD", AHEAD))
        # What a heartbeat knows is missing once the next one says it too.
        await line.send(*[exchange.Heartbeat(9, "BTC-USD", 90, AHEAD)] * 2)
        await line.send(
            exchange.Ticker(), *[b'{"type": "novelty"}'] * 2, *[b'{"type": "match"'] * 2
        )
        await line.send(exchange.Error("Failed", "whatever"))
        await cues.once_more.wait()
        await line.send(update(time=AHEAD))
        await cues.twice_more.wait()
        await line.send(*[update(time=AHEAD) for _ in range(2)])
        await line.stay()
    await line.send(*[update(time=AHEAD) for _ in range(2)])
    await line.send(*[update(time=QUARTER) for _ in range(2)], update(time=MINUTE))
    await line.send(*[update("ETH-USD", time=JUST_NOW) for _ in range(2)])
    await line.send(match(1, time=AHEAD), match(2, time=QUARTER), match(5, time=QUARTER))
    await line.send(match(5), match(1, "ETH-USD", JUST_NOW))
    await line.send(update("ETH-USD", price="-1"))
    for _ in range(2):
        assert (await line.request()).product_ids == ["ETH-USD"]
    await line.send(acknowledgement(["BTC-USD", "ETH-USD"]), snapshot("ETH-USD"))
    await line.socket.close(1001, "restart 17")


async def direct(run: Running, clock: StandingClock, bus: ScriptedBus, cues: Cues) -> Exported:
    """Move the clock whenever all is done that was to be; return what stood there near the end."""
    counts, spool = run.gateway.tape.counts, run.gateway.parts.spool
    assert isinstance(spool, ScriptedSpool)

    def published(stream: str) -> float:
        return run.recorder.value("gateway_frames_published_total", stream=stream)

    def encoded() -> float:
        name = "pipeline_callback_duration_seconds_count"
        return run.recorder.value(name, stage="features")

    await run.until(lambda: run.recorder.value("trade_buffer_capacity"))  # rates count from here
    await run.until(lambda: published("events") == 1)
    cues.begin.set()
    await run.until(lambda: run.gateway.journal.counts["reject", "refused"])  # it came last
    clock.seconds = STARTED + FEATURES_WINDOW
    await run.until(spool.asked.is_set)
    clock.seconds = STARTED + RAW_WINDOW
    spool.let_features.set()
    await run.until(lambda: encoded() == 1)
    await run.until(lambda: published("raw_orderbook") == published("raw_trades") == 1)
    await run.until(lambda: published("events") == 2)
    cues.once_more.set()
    await run.until(lambda: counts["l2update"] == 12)
    clock.seconds = STARTED + 10
    await run.until(lambda: encoded() == published("raw_orderbook") == 2)
    await run.until(lambda: published("events") == 3)
    await turn(run)
    cues.twice_more.set()
    await run.until(lambda: counts["l2update"] == 14)
    clock.seconds = STARTED + 11
    await run.until(lambda: encoded() == published("raw_orderbook") == 3)
    clock.seconds = STARTED + 12
    await run.until(lambda: run.gateway.readings._published == clock.seconds)
    during = exported(run.recorder)
    bus.let_features.set()
    await run.until(lambda: published("features") == 3)
    assert [len(sizes) for sizes in bus.taken["features"]] == [1, 2]  # two frames at once
    return during


async def turn(run: Running) -> None:
    """Let the clockwork turn: a window that a jump of the clock ended late ends a second time."""
    for _ in range(2):  # the first may be halfway
        run.gateway.ticked = 0.0
        await run.until(lambda: run.gateway.ticked)


def wanted(taken_bytes: Mapping[str, int]) -> Exported:
    return {
        "coinbase_messages_received_total": by(
            "type",
            {
                "subscriptions": 3,
                "snapshot": 5,
                "l2update": 14,
                "match": 8,
                "last_match": 1,
                "heartbeat": 2,
                "error": 1,
                "unused": 1,
                "unknown_type": 2,
                "unreadable": 2,
            },
        ),
        "coinbase_match_sequence": by("product", {"BTC-USD": 70, "ETH-USD": 20}),
        "coinbase_last_trade_id": by("product", {"BTC-USD": 9, "ETH-USD": 2}),
        "coinbase_sequence_gaps_total": one(2),
        "coinbase_trades_missed_total": one(2 + 2),
        "websocket_reconnections_total": one(1),
        "gateway_events_total": by_all(
            ("kind", "reason"),
            {
                ("start", ""): 1,
                ("open", ""): 2,
                ("snapshot", ""): 5,
                ("gap", "trade_id"): 1,
                ("gap", "heartbeat"): 1,
                ("drop", "duplicate"): 2,
                ("reject", "bad_price"): 1,
                ("reject", "unknown_type"): 1,  # said once a connection
                ("reject", "malformed_json"): 2,
                ("reject", "refused"): 1,
                ("invalid", "rejected"): 1,
                ("close", "1001"): 1,
                ("close", "stop"): 1,
                ("high_water", ""): 6,
                ("final", ""): 6,
            },
        ),
        "gateway_rows_total": by(
            "stream", {"raw_orderbook": 18, "raw_trades": 7, "features": 13, "events": 32}
        ),
        "gateway_frames_published_total": by(
            "stream", {"raw_orderbook": 3, "raw_trades": 1, "features": 3, "events": 5}
        ),
        "gateway_bytes_published_total": by("stream", taken_bytes),
        "gateway_publish_failures_total": one(1),
        # Those of features waited from the end of their windows until +12, all others not at all.
        "gateway_publish_seconds": histogram("gateway_publish_seconds", [11.75, 2, 1, *[0] * 9]),
        "gateway_queue_bytes": one(taken_bytes["features"]),
        "gateway_spool_frames": one(3),
        "gateway_spool_failures_total": one(3),
        "gateway_books_valid": one(2),
        "gateway_connections_open": one(1),
        "last_update_timestamp_seconds": one(STARTED_S + 10),
        "trade_buffer_size": one(3),
        "trade_buffer_capacity": one(2 * WINDOW_CAPACITY),
        "orderbook_updates_per_second": one(1.2),  # twelve until +10
        "pipeline_callback_duration_seconds": histogram(
            "pipeline_callback_duration_seconds", [0.25, 0, 0], stage="features"
        ),
    }


def _sizes(bus: ScriptedBus, stream: str) -> int:
    return sum(sum(sizes) for sizes in bus.taken[stream])
