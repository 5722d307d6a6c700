"""One run with known input: the exact value of every metric of the gateway, and nothing beside it.

The clock stands still but where the run moves it, so windows end and durations are what it says.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from ingest_gateway.journal import reason_label
from ingest_gateway.spool import DirectorySpool, SpooledFrame
from quotewatch.bus.port import Message
from quotewatch.bus.sqlite import SqliteBus
from quotewatch.clock import NS_PER_SECOND
from quotewatch.errors import BusUnavailableError, SpoolError
from quotewatch.market.windows import WINDOW_CAPACITY
from quotewatch.metrics.catalogue import CATALOGUE
from quotewatch.metrics.declared.capture import EVENT_REASONS
from quotewatch.metrics.metric import OTHER
from tests.gateway.running import (
    Line,
    acknowledgement,
    feed,
    match,
    running,
    settings_for,
    snapshot,
    update,
)
from tests.metrics.exported import Samples, exported

STARTED = 1_000.0  # monotonic
STARTED_S = 1_786_253_022  # since 1970
METRICS = [
    name
    for name, metric in CATALOGUE.items()
    if [*metric.owners] == ["gateway"] and not name.startswith("pipeline_")
]


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
        self.taken_bytes: Counter[str] = Counter()
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
        self.taken_bytes[topic] += sum(len(message.data) for message in messages)
        return ids


class ScriptedSpool(DirectorySpool):
    """Does not take book frames."""

    def add(self, frame: SpooledFrame) -> None:
        if frame.stream == "raw_orderbook":
            raise SpoolError("no space left on device")
        super().add(frame)


@dataclass
class Run:
    """What /metrics said while features waited for the bus, and after the end."""

    during: Mapping[str, Samples]
    after: Mapping[str, Samples]
    taken_bytes: Mapping[str, int]


async def talk(line: Line, go: asyncio.Event) -> None:
    await go.wait()
    await line.welcome()
    if line.number:
        await line.send(*[update() for _ in range(3)])
        await line.send(match(6), match(7), match(2, "ETH-USD"))
        await line.stay()
    await line.send(*[update() for _ in range(5)], *[update("ETH-USD") for _ in range(2)])
    await line.send(match(1), match(2), match(5), match(5), match(1, "ETH-USD"))
    await line.send(update("ETH-USD", price="-1"))
    for _ in range(2):
        assert (await line.request()).product_ids == ["ETH-USD"]
    await line.send(acknowledgement(["BTC-USD", "ETH-USD"]), snapshot("ETH-USD"))
    await line.socket.close(1001, "restart 17")


async def known_run(path: Path) -> Run:
    clock, bus, go = StandingClock(), ScriptedBus(path / "bus.db"), asyncio.Event()
    published = "gateway_frames_published_total"
    async with (
        feed(lambda line: talk(line, go)) as url,
        running(path, settings_for(url), bus=bus, make_spool=ScriptedSpool, clock=clock) as run,
    ):
        counts, value = run.gateway.tape.counts, run.recorder.value
        await run.until(lambda: value("trade_buffer_capacity"))  # rates count from here
        await run.until(lambda: value(published, stream="events") == 1)
        go.set()
        await run.until(lambda: counts["match"] == 8)
        clock.seconds += 10
        await run.until(lambda: value(published, stream="events") == 2)
        await run.until(lambda: value(published, stream="raw_trades") == 1)
        await run.until(lambda: value(published, stream="raw_orderbook") == 1)
        clock.seconds += 2
        await run.until(lambda: run.gateway.readings._published == clock.seconds)
        during = exported(run.recorder)
        bus.let_features.set()
        await run.until(lambda: value(published, stream="features") == 1)
    bus.close()
    return Run(during, exported(run.recorder), bus.taken_bytes)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return asyncio.run(known_run(tmp_path_factory.mktemp("metrics")))


def one(value: float) -> Samples:
    return {("", ()): value}


def by(label: str, values: Mapping[str, float]) -> Samples:
    return {("", ((label, name),)): value for name, value in values.items()}


def events(values: Mapping[tuple[str, str], float]) -> Samples:
    """A label that says nothing is not exported."""
    found: Samples = {}
    for (kind, reason), value in values.items():
        found["", (("kind", kind), ("reason", reason))] = value
    return found


def publish_seconds() -> Samples:
    """Seven frames: one took the two seconds that the clock was moved, six took none."""
    bounds = ["0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0"]
    counts = dict.fromkeys(bounds, 6.0) | dict.fromkeys(["5.0", "60.0", "+Inf"], 7.0)
    buckets = {("_bucket", (("le", bound),)): count for bound, count in counts.items()}
    return buckets | {("_count", ()): 7.0, ("_sum", ()): 2.0}


def expected(run: Run) -> dict[str, Samples]:
    streams = ("raw_orderbook", "raw_trades", "features", "events")
    return {
        "coinbase_messages_received_total": by(
            "type", {"subscriptions": 3, "snapshot": 5, "l2update": 11, "match": 8}
        ),
        "coinbase_match_sequence": by("product", {"BTC-USD": 70, "ETH-USD": 20}),
        "coinbase_last_trade_id": by("product", {"BTC-USD": 7, "ETH-USD": 2}),
        "coinbase_sequence_gaps_total": one(1),
        "coinbase_trades_missed_total": one(2),
        "websocket_reconnections_total": one(1),
        "gateway_events_total": events(
            {
                ("start", ""): 1,
                ("open", ""): 2,
                ("snapshot", ""): 5,
                ("gap", "trade_id"): 1,
                ("drop", "duplicate"): 1,
                ("reject", "bad_price"): 1,
                ("invalid", "rejected"): 1,
                ("close", "1001"): 1,
                ("close", "stop"): 1,
                ("high_water", ""): 6,
                ("final", ""): 6,
            }
        ),
        "gateway_rows_total": by(
            "stream", {"raw_orderbook": 15, "raw_trades": 7, "features": 10, "events": 26}
        ),
        "gateway_frames_published_total": by("stream", dict.fromkeys(streams, 1) | {"events": 4}),
        "gateway_bytes_published_total": by("stream", run.taken_bytes),
        "gateway_publish_failures_total": one(1),
        "gateway_publish_seconds": publish_seconds(),
        "gateway_queue_bytes": one(run.taken_bytes["features"]),
        "gateway_spool_frames": one(1),
        "gateway_spool_failures_total": one(1),
        "gateway_books_valid": one(2),
        "gateway_connections_open": one(1),
        "last_update_timestamp_seconds": one(STARTED_S),
        "trade_buffer_size": one(3),
        "trade_buffer_capacity": one(2 * WINDOW_CAPACITY),
        "orderbook_updates_per_second": one(1.1),
    }


@pytest.mark.parametrize("name", METRICS)
def test_a_known_run_gives_every_metric_its_exact_value(known: Run, name: str) -> None:
    # Gauges are read while everything runs: after the end most of them are at rest.
    found = known.during if CATALOGUE[name].kind == "gauge" else known.after
    assert found[name] == expected(known)[name]


def test_after_the_end_nothing_waits_and_nothing_is_connected(known: Run) -> None:
    for name in ("gateway_queue_bytes", "gateway_spool_frames", "gateway_connections_open"):
        assert known.after[name] == one(0)


def test_no_label_of_a_run_is_free_text(known: Run) -> None:
    for name, samples in known.after.items():
        for _, labels in samples:
            for label, value in labels:
                if label not in {"product", "le"}:
                    assert value in CATALOGUE[name].values[label]


@pytest.mark.parametrize(
    ("reason", "label"),
    [
        (None, ""),
        ("1001 restart 17", "1001"),
        ("4711 made up by the peer", OTHER),
        ("0 connect: ConnectionRefusedError: [Errno 111]", "0"),
        ("silence for 20 s", "silence"),
        ("error KeyError", "error"),
        ("after_crash 0018c0ffee-12345678", "after_crash"),
        ("whatever a peer says", OTHER),
    ],
)
def test_the_reason_of_an_event_counts_under_one_of_a_list(reason: str | None, label: str) -> None:
    assert reason_label(reason) == label
    assert label in EVENT_REASONS | {OTHER}
