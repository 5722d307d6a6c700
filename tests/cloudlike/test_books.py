"""Book changes that a kill took along: each has to lie in a stretch that `gaps` names."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from quotewatch.local.proof.evidence import gather
from quotewatch.local.proof.sources import BusFrames
from quotewatch.tables.gaps import Gap, Scope, State
from tests.cloudlike import books
from tests.local.proof.made_up_run import EPOCH, START_US, SYMBOL, MadeUpRun

LIFE = "18e9e87bbb453c1d-00000000"  # the one after


@pytest.fixture
def run(tmp_path: Path) -> Iterator[MadeUpRun]:
    made_up = MadeUpRun(tmp_path)
    yield made_up
    made_up.bus.close()


def gap(from_us: int, to_us: int | None, symbol: str = SYMBOL) -> Gap:
    state: State = "open" if to_us is None else "permanent"
    scope = Scope("book", "raw_orderbook", symbol, EPOCH)
    return Gap("book", scope, state, 0, 0, from_us=from_us, to_us=to_us)


def judged(run: MadeUpRun, *gaps: Gap) -> books.LostBooks:
    run.audit()  # it writes the truth down
    return books.judge(run.truth, gather(BusFrames(run.bus)), gaps)


def test_what_is_stored_is_not_lost(run: MadeUpRun) -> None:
    run.publish("raw_orderbook", [run.update(1), run.update(2)])
    assert judged(run) == books.LostBooks(0, 0, 0.0)


def test_what_is_lost_counts_until_a_gap_of_its_product_names_it(run: MadeUpRun) -> None:
    run.publish("raw_orderbook", [run.update(1)])
    run.update(2)  # sent, and nowhere
    around = (START_US - 1_000_000, START_US + 1_000_000)
    assert judged(run).unnamed == 1
    assert judged(run, gap(*around, symbol="ETH-USD")).unnamed == 1
    assert judged(run, gap(*around)) == books.LostBooks(1, 0, 0.0)
    assert judged(run, gap(START_US - 1, None)).unnamed == 0


def test_of_what_a_gap_begins_too_late_for_it_is_said_by_how_much(run: MadeUpRun) -> None:
    run.update(1)
    assert judged(run, gap(START_US + 500_000, None)) == books.LostBooks(1, 1, 0.5)


def test_over_a_kill_each_product_that_had_a_book_needs_a_gap() -> None:
    first = {SYMBOL: 100, "ETH-USD": 500}
    assert books.unnamed_kills([300], first, [gap(200, 400)]) == []
    [said] = books.unnamed_kills([300], first, [gap(350, 400)])
    assert SYMBOL in said


def test_the_tail_of_a_gateway_that_was_killed_is_cut_off_and_not_missing(run: MadeUpRun) -> None:
    run.publish("raw_orderbook", [run.update(1)])
    run.update(2)
    final = run.event("final", stream="events", to_id=0)
    start = run.event("start", reason=f"after_crash {EPOCH}")
    run.publish("events", [start, final], epoch=LIFE)
    found = run.audit()
    assert (found.missing["raw_orderbook"], found.cut_off) == (0, 1)


def test_without_a_word_of_a_crash_it_is_missing(run: MadeUpRun) -> None:
    run.publish("raw_orderbook", [run.update(1)])
    run.update(2)
    run.end()
    assert run.audit().missing["raw_orderbook"] == 1
