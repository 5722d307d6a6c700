"""The table of losses: how a gap opens, shrinks, heals or is given up, row by row."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.table import Table

from quotewatch.intervals import Intervals
from quotewatch.market.outages import SILENT_US, US_PER_SECOND, Outage
from quotewatch.streams import TABLES
from quotewatch.tables.commit import Change, Committer
from quotewatch.tables.data_files import write_files
from quotewatch.tables.gaps import (
    Gap,
    Scope,
    compare,
    compare_outages,
    read_gaps,
    rows_of_gaps,
)
from quotewatch.tables.ledger import Ledger
from tests.tables.desk import open_desk

TRADES = Scope("trades", "raw_trades", symbol="BTC-USD")
FRAMES = Scope("frames", "raw_orderbook", epoch="e1")
ASIDE = Scope("quarantine", "raw_orderbook", epoch="e1")
PATIENCE = 120
ABSENT = "the exchange does not have these trades"

relaxed = settings(deadline=None, max_examples=40)  # nothing here is about time
Verdicts = Mapping[Scope, Mapping[str, str]]


class Book:
    """The gaps as the table would have them, run after run."""

    def __init__(self, known: Iterable[Gap] = ()) -> None:
        self.gaps = {gap.gap_id: gap for gap in known}
        self.rows: list[Gap] = []

    def run(
        self, us: int, missing: Mapping[Scope, str], verdicts: Verdicts | None = None
    ) -> list[Gap]:
        """Compare, and append what has changed; intervals are spelled as text."""
        holes = {scope: Intervals.parse(text) for scope, text in missing.items()}
        rows = compare(self.gaps.values(), holes, us, patience_us=PATIENCE, verdicts=verdicts)
        return self.append(rows)

    def append(self, rows: list[Gap]) -> list[Gap]:
        self.rows += rows
        self.gaps |= {gap.gap_id: gap for gap in rows}
        return rows


def said(rows: Iterable[Gap]) -> list[tuple[str, str, int | None]]:
    return [(gap.gap_id.rpartition(":")[2], gap.state, gap.missing) for gap in rows]


# Ids


def test_a_hole_opens_a_gap_that_names_it() -> None:
    (gap,) = Book().run(1_000, {TRADES: "101-105"})
    assert gap == Gap(
        "trades:raw_trades:BTC-USD:101-105", TRADES, "open", 1_000, 1_000, 101, 105, 5
    )


def test_what_does_not_change_writes_nothing() -> None:
    book = Book()
    book.run(1_000, {TRADES: "101-105", FRAMES: "3"})
    assert book.run(1_001, {TRADES: "101-105", FRAMES: "3"}) == []


def test_a_gap_that_is_filled_heals_once() -> None:
    book = Book()
    book.run(1_000, {TRADES: "101-105"})
    (healed,) = book.run(1_010, {})
    assert (healed.state, healed.missing, healed.at_us, healed.first_us) == (
        "healed", 0, 1_010, 1_000,
    )  # fmt: skip
    assert book.run(1_020, {}) == []


def test_a_gap_shrinks_and_keeps_the_ids_it_was_seen_with() -> None:
    book = Book()
    book.run(1_000, {TRADES: "101-110"})
    (smaller,) = book.run(1_010, {TRADES: "104-110"})
    assert (smaller.from_id, smaller.to_id, smaller.missing) == (101, 110, 7)
    assert smaller.state == "open"


def test_a_hole_split_in_two_stays_one_gap() -> None:
    book = Book()
    book.run(1_000, {TRADES: "101-110"})
    assert said(book.run(1_010, {TRADES: "101-104,106-110"})) == [("101-110", "open", 9)]
    assert said(book.run(1_020, {TRADES: "108"})) == [("101-110", "open", 1)]


def test_a_hole_that_grows_opens_a_second_gap_for_the_rest() -> None:
    book = Book()
    book.run(1_000, {TRADES: "101-105"})
    assert said(book.run(1_010, {TRADES: "101-112"})) == [("106-112", "open", 7)]
    assert said(book.run(1_020, {TRADES: "99-112"})) == [("99-100", "open", 2)]


def test_frames_are_given_up_by_a_later_run() -> None:
    book = Book()
    assert said(book.run(1_000, {FRAMES: "3-4"})) == [("3-4", "open", 2)]
    assert book.run(1_000 + PATIENCE - 1, {FRAMES: "3-4"}) == []
    (given_up,) = book.run(1_000 + PATIENCE, {FRAMES: "3-4"})
    assert (given_up.state, given_up.missing) == ("permanent", 2)
    assert given_up.reason == "not seen on the bus for two ack deadlines"
    assert book.run(9_000, {FRAMES: "3-4"}) == []


def test_one_run_alone_gives_nothing_up() -> None:
    assert said(Book().run(9_000, {FRAMES: "3"})) == [("3-3", "open", 1)]


def test_what_was_given_up_heals_when_it_comes_after_all() -> None:
    book = Book()
    book.run(1_000, {FRAMES: "3-4"})
    book.run(2_000, {FRAMES: "3-4"})
    assert said(book.run(3_000, {FRAMES: "4"})) == [("3-4", "permanent", 1)]
    (healed,) = book.run(4_000, {})
    assert (healed.state, healed.missing, healed.reason) == ("healed", 0, None)


def test_trades_are_not_given_up_without_a_verdict() -> None:
    book = Book()
    book.run(1_000, {TRADES: "101-105"})
    assert book.run(1_000_000, {TRADES: "101-105"}) == []


def test_trades_the_exchange_does_not_have_are_given_up_after_patience() -> None:
    book = Book()
    (gap,) = book.run(1_000, {TRADES: "101-105"})
    verdicts = {TRADES: {gap.gap_id: ABSENT}}
    (named,) = book.run(1_001, {TRADES: "103"}, verdicts)
    assert (named.state, named.missing, named.reason) == ("open", 1, ABSENT)
    assert book.run(1_010, {TRADES: "103"}, verdicts) == []
    (given_up,) = book.run(1_000 + PATIENCE, {TRADES: "103"}, verdicts)
    assert (given_up.state, given_up.missing, given_up.reason) == ("permanent", 1, ABSENT)


def test_what_was_put_aside_is_open_until_it_is_redriven() -> None:
    book = Book()
    assert said(book.run(1_000, {ASIDE: "7"})) == [("7-7", "open", 1)]
    assert book.run(1_000_000, {ASIDE: "7"}) == []
    assert said(book.run(2_000_000, {})) == [("7-7", "healed", 0)]


def test_ids_that_are_missing_again_open_their_gap_again() -> None:
    book = Book()
    book.run(1_000, {TRADES: "101-105"})
    book.run(1_010, {})
    (again,) = book.run(1_020, {TRADES: "102"})
    assert (again.gap_id, again.state, again.missing) == (
        "trades:raw_trades:BTC-USD:101-105", "open", 1,
    )  # fmt: skip


def test_scopes_do_not_mix() -> None:
    other = Scope("frames", "raw_orderbook", epoch="e2")
    book = Book()
    book.run(1_000, {FRAMES: "3", other: "3", TRADES: "3"})
    assert len(book.gaps) == 3
    assert [gap.scope for gap in book.run(1_010, {FRAMES: "3", TRADES: "3"})] == [other]


def test_a_row_is_newer_than_the_one_before_whatever_the_clock_says() -> None:
    book = Book()
    book.run(1_000, {TRADES: "101-105"})
    (healed,) = book.run(400, {})
    assert healed.at_us > 1_000


def test_a_second_run_on_what_the_first_wrote_writes_nothing() -> None:
    book = Book()
    holes = {TRADES: "101-105,109", FRAMES: "0-2"}
    assert len(book.run(1_000, holes)) == 3
    assert book.run(1_000, holes) == []


_moments = st.lists(
    st.tuples(
        st.sets(st.integers(0, 30)),  # what comes
        st.integers(0, 30),  # how far the journal vouches
        st.integers(0, 2 * PATIENCE),  # how much later it is
        st.booleans(),  # whether the exchange says that it has no more
    ),
    max_size=8,
)


@relaxed
@given(_moments, st.sampled_from([TRADES, FRAMES]))
def test_gaps_count_what_is_missing_and_open_again_only_for_a_reason(
    moments: list[tuple[set[int], int, int, bool]], scope: Scope
) -> None:
    book, there, newest, now_us = Book(), set[int](), -1, 1_000
    for came, told, later, gone in moments:
        there |= came
        newest, now_us = max(newest, told, *there, -1), now_us + later
        away = set(range(newest + 1)) - there
        verdicts = {scope: dict.fromkeys(book.gaps, ABSENT)} if gone else None
        before = dict(book.gaps)
        rows = book.run(now_us, {scope: str(Intervals.of_numbers(away))}, verdicts)

        left = [gap for gap in book.gaps.values() if gap.state != "healed"]
        assert sum(gap.missing or 0 for gap in left) == len(away)
        for gap in left:
            assert gap.missing == len(away & _ids(gap))
        # What is there stays there, so nothing that healed opens again.
        assert not any(before[gap.gap_id].state == "healed" for gap in rows if gap.gap_id in before)
        assert book.run(now_us, {scope: str(Intervals.of_numbers(away))}, verdicts) == []


@relaxed
@given(st.lists(st.sets(st.integers(0, 20)), min_size=1, max_size=8))
def test_a_gap_that_healed_is_open_again_if_and_only_if_its_ids_are_missing(
    history: list[set[int]],
) -> None:
    book = Book()
    for number, away in enumerate(history):
        book.run(1_000 + number, {TRADES: str(Intervals.of_numbers(away))})
        for gap in book.gaps.values():
            assert (gap.state == "healed") == (not away & _ids(gap))


def _ids(gap: Gap) -> set[int]:
    return {number for first, last in gap.span for number in range(first, last + 1)}


# Stretches without a book


def outage(from_s: float, to_s: float | None, symbol: str = "BTC-USD") -> Outage:
    to_us = None if to_s is None else _us(to_s)
    return Outage(symbol, "e1", _us(from_s), to_us, "close 1006")


def _us(seconds: float) -> int:
    return round(seconds * US_PER_SECOND)


def run(book: Book, us: int, *found: Outage, since_s: float = 0) -> list[Gap]:
    return book.append(compare_outages(book.gaps.values(), found, us, since_us=_us(since_s)))


def test_an_outage_is_open_while_it_lasts_and_permanent_once_it_is_over() -> None:
    book = Book()
    (begun,) = run(book, 1_000, outage(5, None))
    assert (begun.state, begun.from_us, begun.to_us) == ("open", _us(5), None)
    assert begun.scope == Scope("book", "raw_orderbook", "BTC-USD", "e1")
    assert run(book, 1_001, outage(5, None)) == []
    (over,) = run(book, 1_002, outage(5, 9))
    assert (over.gap_id, over.state, over.to_us) == (begun.gap_id, "permanent", _us(9))
    assert (over.first_us, over.at_us) == (1_000, 1_002)
    assert run(book, 1_003, outage(5, 9)) == []


def test_an_outage_that_later_entries_deny_is_healed() -> None:
    book = Book()
    run(book, 1_000, outage(5, None))
    (healed,) = run(book, 1_001)
    assert (healed.state, healed.reason) == ("healed", "later entries show a valid book")
    assert run(book, 1_002) == []


def test_an_outage_is_not_judged_by_entries_that_begin_after_it() -> None:
    book = Book()
    run(book, 1_000, outage(500, 510))
    assert run(book, 1_001, since_s=505) == []


def test_entries_that_have_just_begun_deny_nothing_and_claim_nothing() -> None:
    """A book is told of every ten seconds: before that nobody knows that it is valid."""
    book = Book()
    run(book, 1_000, outage(500, 510))
    assert run(book, 1_001, since_s=499) == []
    assert run(book, 1_002, outage(502, 504, "ETH-USD"), since_s=499) == []
    sure_s = 499 - SILENT_US / US_PER_SECOND - 1
    assert len(run(book, 1_003, outage(502, 504, "ETH-USD"), since_s=sure_s)) == 2


def test_ids_and_outages_leave_each_other_alone() -> None:
    book = Book()
    book.run(1_000, {FRAMES: "3"})
    run(book, 1_000, outage(5, None))
    assert [gap.scope.kind for gap in book.run(1_001, {})] == ["frames"]
    assert [gap.scope.kind for gap in run(book, 1_002)] == ["book"]


# Rows of the table


@pytest.fixture
def committer(tmp_path: Path) -> Iterator[Committer]:
    with open_desk(tmp_path) as opened:
        yield opened


def append(committer: Committer, gaps: list[Gap], by: str = "reconcile") -> None:
    def plan(table: Table, ledger: Ledger) -> Change:
        return Change(ledger, write_files(table, TABLES["gaps"], rows_of_gaps(gaps, by)))

    committer.commit("gaps", plan)


def test_gaps_come_back_as_they_were_written(committer: Committer) -> None:
    book = Book()
    book.run(1_000_000, {TRADES: "101-105", FRAMES: "3", ASIDE: "9"})
    run(book, 1_000_000, outage(5, None), outage(7, 8, "ETH-USD"))
    append(committer, book.rows)
    found = read_gaps(committer.tables.load("gaps"))
    assert sorted(found, key=_by_id) == sorted(book.gaps.values(), key=_by_id)


def test_the_newest_row_of_a_gap_counts_and_the_first_says_since_when(
    committer: Committer,
) -> None:
    book = Book()
    for us, holes in [(5_000, "101-105"), (6_000, "101"), (7_000, "")]:
        append(committer, book.run(us, {TRADES: holes}))
    (gap,) = read_gaps(committer.tables.load("gaps"))
    assert gap == replace(book.gaps[gap.gap_id], state="healed", at_us=7_000, first_us=5_000)


def test_the_rows_say_who_wrote_them_and_know_no_more(committer: Committer) -> None:
    append(committer, Book().run(5_000, {TRADES: "101-105"}), by="a test")
    (row,) = committer.tables.load("gaps").scan().to_arrow().to_pylist()
    assert _present(row) == {
        "gap_id": "trades:raw_trades:BTC-USD:101-105", "stream": "raw_trades", "kind": "trades",
        "state": "open", "by": "a test", "symbol": "BTC-USD", "from_id": 101, "to_id": 105,
        "missing": 5,
    }  # fmt: skip


def _present(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None and name != "at"}


def _by_id(gap: Gap) -> str:
    return gap.gap_id
