"""The tap adds up what is on the bus and takes it from nobody else."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from quotewatch.bus.port import Message
from quotewatch.bus.topology import write_subscription
from quotewatch.local.tally import Latencies, SeqCheck
from quotewatch.local.tap import Tap
from tests.local.proof.made_up_run import SYMBOL, MadeUpRun


@pytest.fixture
def run(tmp_path: Path) -> Iterator[MadeUpRun]:
    made = MadeUpRun(tmp_path)
    yield made
    made.bus.close()


def test_counts_rows_frames_and_gaps(run: MadeUpRun) -> None:
    run.publish("raw_orderbook", [run.update(1), run.update(2)])
    run.publish("raw_trades", [run.trade(7)])
    run.end(run.event("gap", symbol=SYMBOL, stream="raw_trades", from_id=3, to_id=6, count=4))
    tap = Tap(run.bus)
    tap.drain()
    tally = tap.tally
    assert {name: stream.rows for name, stream in tally.streams.items()} == {
        "raw_orderbook": 2, "raw_trades": 1, "features": 0, "events": 5, "predictions": 0,
    }  # fmt: skip
    assert tally.missed_trades == 4
    assert (tally.holes, tally.doubled) == (0, 0)
    assert tally.products[SYMBOL].last_price == "65000.500000000000000000"
    assert tally.count_events("gap").total() == 1


def test_takes_nothing_from_the_writer(run: MadeUpRun) -> None:
    run.publish("raw_orderbook", [run.update(1)])
    Tap(run.bus).drain()
    assert run.bus.backlog(write_subscription("raw_orderbook")).messages == 1


def test_sees_lost_and_doubled_frames(run: MadeUpRun) -> None:
    run.publish("raw_orderbook", [run.update(1)], times=0)
    run.publish("raw_orderbook", [run.update(2)], times=2)
    run.publish("raw_trades", [run.trade(1)], times=0)
    run.end()  # the last frame of trades is known from `final` alone
    tap = Tap(run.bus)
    tap.drain()
    assert (tap.tally.holes, tap.tally.doubled) == (2, 1)
    assert tap.tally.streams["raw_orderbook"].rows == 1


def test_a_message_that_is_no_frame_is_counted_and_passed_over(run: MadeUpRun) -> None:
    run.bus.publish("events", [Message(b"?")])
    run.end()
    tap = Tap(run.bus)
    tap.drain()
    assert tap.unreadable == 1
    assert tap.tally.streams["events"].frames == 1


def test_books_are_valid_from_snapshot_to_loss(run: MadeUpRun) -> None:
    tap = Tap(run.bus)
    states = []
    for event in (
        run.event("snapshot", symbol=SYMBOL, book=1),
        run.event("invalid", symbol=SYMBOL, book=1, reason="crossed"),
        run.event("snapshot", symbol=SYMBOL, book=3),
        run.event("close", reason="1006"),
    ):
        run.publish("events", [event])
        tap.drain()
        states.append((tap.tally.products[SYMBOL].valid, tap.tally.products[SYMBOL].book))
    assert states == [(True, 1), (False, 1), (True, 3), (False, 3)]


def test_percentiles_are_exact_to_a_tenth_of_a_millisecond() -> None:
    latencies = Latencies()
    assert latencies.percentile(0.5) is None
    latencies.add(pa.array(range(10, 1_010, 10)))
    assert latencies.percentile(0.50) == 50.0
    assert latencies.percentile(0.99) == 99.0


def test_a_number_that_comes_late_fills_its_hole() -> None:
    check = SeqCheck()
    assert [check.see(seq) for seq in (0, 3, 1, 3)] == [True, True, True, False]
    assert (check.holes, check.doubled) == ({2}, 1)
