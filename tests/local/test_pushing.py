"""Messages of a subscription reach a stage one by one; what fails comes again."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from quotewatch.bus.port import Message, Subscription
from quotewatch.bus.sqlite import SqliteBus
from quotewatch.errors import ObjectStoreUnavailableError
from quotewatch.local.pushing import Pump
from tests.bus.clocks import HandClock


@dataclass
class Said:
    """What came of one message."""

    failed: bool = False

    def plain(self) -> dict[str, Any]:
        return {"frames": 1, "answers": 3, "versions": {}, "error": None}


@dataclass
class Handler:
    """Keeps what it is pushed; refuses the first so often."""

    refusals: int = 0
    seen: list[bytes] = field(default_factory=list)

    def handle(self, message: Message) -> Said:
        if self.refusals:
            self.refusals -= 1
            raise ObjectStoreUnavailableError("the bucket did not answer")
        self.seen.append(message.data)
        return Said()


@dataclass
class Endless(Handler):
    """Answers a message by sending itself another."""

    bus: SqliteBus | None = None
    clock: HandClock | None = None

    def handle(self, message: Message) -> Said:
        assert self.bus is not None
        assert self.clock is not None
        self.clock.sleep(0.5)
        self.bus.publish("topic", [message])
        return super().handle(message)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def bus(tmp_path: Path, clock: HandClock) -> Iterator[SqliteBus]:
    with closing(SqliteBus(tmp_path / "bus.db", clock=clock, sleep=clock.sleep)) as opened:
        opened.create(["topic"], [Subscription("topic.stage", "topic")])
        yield opened


def pump(bus: SqliteBus, clock: HandClock, handler: Handler, seconds: float = 0.0) -> Pump:
    return Pump(bus, "topic.stage", handler, seconds=seconds, monotonic=clock.monotonic)


def test_everything_that_waits_is_pushed_once_and_added_up(
    bus: SqliteBus, clock: HandClock
) -> None:
    bus.publish("topic", [Message(str(number).encode()) for number in range(50)])
    handler = Handler()
    report = pump(bus, clock, handler).run_once()
    assert handler.seen == [str(number).encode() for number in range(50)]
    assert report.plain() == {
        "messages": 50, "again": 0, "frames": 50, "answers": 150, "error": None,
    }  # fmt: skip
    assert bus.backlog("topic.stage").messages == 0


def test_what_fails_comes_again_and_is_said(bus: SqliteBus, clock: HandClock) -> None:
    bus.publish("topic", [Message(b"a")])
    handler = Handler(refusals=1)
    report = pump(bus, clock, handler).run_once()
    assert (report.failed, report.again, handler.seen) == (True, 1, [])
    assert report.plain()["error"] == "the bucket did not answer"
    clock.sleep(2)
    assert not pump(bus, clock, handler).run_once().failed
    assert handler.seen == [b"a"]


def test_a_run_lasts_as_long_as_it_was_given(bus: SqliteBus, clock: HandClock) -> None:
    began = clock.monotonic()
    report = pump(bus, clock, Handler(), seconds=3.0).run_once()
    assert report.messages == 0
    assert 3.0 <= clock.monotonic() - began < 3.5


def test_a_run_ends_in_time_though_there_is_always_more(bus: SqliteBus, clock: HandClock) -> None:
    bus.publish("topic", [Message(b"a")])
    handler = Endless(bus=bus, clock=clock)
    report = pump(bus, clock, handler, seconds=2.0).run_once()
    assert 4 <= report.messages <= 5
    assert bus.backlog("topic.stage").messages == 1
