import random
from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotewatch.market.labels import NEVER, Known, Rows, Sighting, State, in_force, label, moved
from tests.market.brute_force import End, Row, label_of

SECOND = 1_000_000


def rows_of(given_rows: Sequence[Row]) -> tuple[Rows, dict[tuple[str, int], int]]:
    codes: dict[tuple[str, int], int] = {}
    for row in given_rows:
        codes.setdefault(row.life, len(codes))
    prices = [int((row.bid + row.ask) * 10**8) for row in given_rows]
    return Rows(
        np.array([codes[row.life] for row in given_rows], np.int64),
        np.array([row.conn for row in given_rows], np.int64),
        np.array([row.us for row in given_rows], np.int64),
        np.array([row.arrival for row in given_rows], np.int64),
        np.array(prices, np.int64),
    ), codes


def row(us: int, arrival: int, price: str = "100", **given_values: object) -> Row:
    plain: dict[str, object] = {"symbol": "BTC-USD", "book": 1, "conn": 1}
    mid = Decimal(price)
    return Row(us=us, arrival=arrival, bid=mid - 1, ask=mid + 1, **{**plain, **given_values})  # type: ignore[arg-type]


def states(given_rows: Sequence[Row], horizon_us: int, known: Known) -> list[State]:
    rows, _ = rows_of(given_rows)
    outcome = label(rows, np.arange(len(given_rows)), horizon_us, known)
    return [State(each) for each in outcome.states]


COMPLETE = Known(features_until=NEVER, events_until=NEVER)


def test_a_move_of_exactly_one_part_in_ten_thousand_is_none() -> None:
    before = np.array([10_000, 10_000, 10_000, 10_000], np.int64)
    after = np.array([10_001, 10_002, 9_999, 9_998], np.int64)
    assert moved(before, after).tolist() == [0, 1, 0, 1]


def test_prices_of_any_size_are_compared_exactly() -> None:
    large = 10**26
    before = np.array([large, large], object)
    after = np.array([large + large // 10_000, large + large // 10_000 + 1], object)
    assert moved(before, after).tolist() == [0, 1]
    wide = np.array([NEVER // 3], np.int64)
    assert moved(wide, wide + wide // 10_000 + 1).tolist() == [1]


def test_in_force_is_the_last_row_up_to_the_horizon_and_of_several_the_newest_to_arrive() -> None:
    rows, _ = rows_of([row(0, 0), row(500_000, 1, "101"), row(500_000, 2, "102"), row(500_001, 3)])
    assert in_force(rows, np.array([0]), 500_000).tolist() == [2]
    assert in_force(rows, np.array([0]), 499_999).tolist() == [0]
    assert in_force(rows, np.array([0]), 10**12).tolist() == [3]


def test_a_row_waits_until_its_connection_is_two_seconds_beyond_its_horizon() -> None:
    late = [row(0, 0), row(2_500_000, 1)]
    known = Known(features_until=1, events_until=1)
    assert states(late, 500_000, known)[0] == State.WAITING
    assert states([row(0, 0), row(2_500_001, 1)], 500_000, known)[0] == State.LABELLED


def test_what_lies_behind_a_frame_that_may_still_come_counts_for_nothing() -> None:
    both = [row(0, 0), row(9 * SECOND, 5)]
    assert states(both, 500_000, Known(features_until=4, events_until=99))[0] == State.WAITING
    assert states(both, 500_000, Known(features_until=5))[0] == State.LABELLED


def test_a_quiet_book_is_known_to_live_only_as_far_as_the_journal_is_complete() -> None:
    """Another product carries the connection on; nobody else tells of this one's end."""
    quiet, busy = row(0, 0), row(9 * SECOND, 5, symbol="ETH-USD")
    for events_until, expected in ((5, State.WAITING), (6, State.LABELLED)):
        known = Known(features_until=5, events_until=events_until)
        assert states([quiet, busy], 500_000, known)[0] == expected
    ended = Known(features_until=5, events_until=6, ends={0: 3})
    assert states([quiet, busy], 500_000, ended)[0] == State.CLOSED


def test_an_end_that_is_known_may_not_be_the_first() -> None:
    """A later life of the book is stored, what ended this one is on its way."""
    seen = [row(0, 0), row(9 * SECOND, 5, symbol="ETH-USD")]
    known = Known(features_until=9, events_until=3, ends={0: 7})
    assert states(seen, 500_000, known)[0] == State.WAITING
    known = Known(features_until=9, events_until=9, ends={0: 7})
    assert states(seen, 500_000, known)[0] == State.LABELLED


def test_no_label_rests_on_a_part_of_the_journal_that_is_lost() -> None:
    seen = [row(0, 0), row(9 * SECOND, 5, symbol="ETH-USD"), row(20 * SECOND, 9, symbol="ETH-USD")]
    for lost, expected in (
        ((3, 4), State.HOLE),
        ((-1, 0), State.LABELLED),
        ((5, 8), State.LABELLED),
    ):
        known = Known(features_until=9, events_until=10, unwritten=[lost])
        assert states(seen, 500_000, known)[0] == expected
    # A later row of the book proves that it lived.
    seen.append(row(9 * SECOND, 6))
    known = Known(features_until=9, events_until=10, unwritten=[(3, 4)])
    assert states(seen, 500_000, known)[0] == State.LABELLED


def test_the_journal_says_how_far_a_silent_connection_has_come() -> None:
    told = [Sighting(1, 9 * SECOND, 3)]
    known = Known(features_until=3, events_until=4, sightings=told)
    assert states([row(0, 0)], 500_000, known) == [State.LABELLED]
    assert states([row(0, 0, conn=2)], 500_000, known) == [State.WAITING]
    early = Known(features_until=2, events_until=4, sightings=told)
    assert states([row(0, 0)], 500_000, early) == [State.WAITING]


def test_a_book_that_ended_before_the_horizon_has_no_label_and_one_that_ended_after_has() -> None:
    seen = [row(0, 0), row(400_000, 1), row(9 * SECOND, 2, symbol="ETH-USD")]
    known = Known(features_until=2, events_until=3, ends={0: 2})
    assert states(seen, 500_000, known)[:2] == [State.LABELLED, State.LABELLED]
    known = Known(features_until=2, events_until=3, ends={0: 1})
    assert states(seen, 400_000, known)[:2] == [State.LABELLED, State.CLOSED]


def test_the_last_seconds_of_a_connection_that_ended_have_no_label() -> None:
    seen = [row(0, 0), row(SECOND, 1), row(3 * SECOND, 2)]
    known = Known(features_until=2, events_until=9, ends={0: 3}, conn_ends={1: 3})
    # Something newer of it may be on its way as long as not all of it is known.
    assert states(seen, 500_000, known)[0] == State.LABELLED
    assert states(seen, 500_000, known)[1:] == [State.WAITING, State.WAITING]
    known = Known(features_until=3, events_until=9, ends={0: 3}, conn_ends={1: 3})
    assert states(seen, 500_000, known) == [State.LABELLED, State.CLOSED, State.CLOSED]


def test_an_epoch_that_is_over_leaves_nothing_waiting() -> None:
    seen = [row(0, 0), row(SECOND, 1), row(3 * SECOND, 2), row(0, 3, symbol="ETH-USD", conn=7)]
    known = Known(features_until=NEVER, events_until=NEVER, over=True)
    assert State.WAITING not in states(seen, 500_000, known)


def test_no_label_is_made_where_lost_rows_may_have_been() -> None:
    seen = [row(0, 0), row(SECOND, 1), row(5 * SECOND, 2), row(9 * SECOND, 3), row(20 * SECOND, 4)]
    known = Known(features_until=4, events_until=9, holes=[(SECOND, 5 * SECOND)])
    found = states(seen, SECOND, known)
    assert found[:4] == [State.HOLE, State.HOLE, State.HOLE, State.LABELLED]


# Against the slow way


@st.composite
def epochs(draw: st.DrawFn) -> tuple[list[Row], list[End]]:
    """Two products on one connection and one on another: late rows, resyncs, ends."""
    rows: list[Row] = []
    ends: list[End] = []
    books = {"A": 1, "B": 1, "C": 1}
    conns = {"A": 1, "B": 1, "C": 2}
    newest = {1: 0, 2: 0}
    count = draw(st.integers(1, 60))
    for arrival in range(count):
        symbol = draw(st.sampled_from("ABC"))
        what = draw(st.integers(0, 19))
        if what == 0:
            ends.append(End(arrival, symbol=symbol, book=books[symbol]))
            books[symbol] += 2
            continue
        conn = conns[symbol]
        step = draw(st.sampled_from((0, 1, 100_000, 499_999, 500_000, 700_000, 4_000_000)))
        late = draw(st.sampled_from((0, 0, 0, 1, 500_000, 2_000_000)))
        newest[conn] += step
        us = max(0, newest[conn] - late)
        cents = draw(st.sampled_from((0, 1, 2, 100)))
        bid = Decimal(99) + Decimal(cents) / 100
        rows.append(Row(symbol, books[symbol], conn, us, arrival, bid, bid + 2))
    return rows, ends


def ends_by_code(
    rows: Sequence[Row], ends: Sequence[End], codes: dict[tuple[str, int], int]
) -> dict[int, int]:
    found = {}
    for (symbol, book), code in codes.items():
        told = [end.arrival for end in ends if end.symbol == symbol and book <= (end.book or 0)]
        told += [each.arrival for each in rows if each.symbol == symbol and each.book > book]
        if told:
            found[code] = min(told)
    return found


@settings(max_examples=300, deadline=None)
@given(epochs(), st.sampled_from((1, 500_000, 5_000_000)), st.integers(0, 2**32))
def test_whatever_was_known_before_the_labels_are_those_of_the_slow_way(
    epoch: tuple[list[Row], list[End]], horizon_us: int, seed: int
) -> None:
    rows, ends = epoch
    last = max([each.arrival for each in rows] + [end.arrival for end in ends], default=0)
    said: dict[Row, tuple[int, Row]] = {}
    refused: set[Row] = set()
    for until in [*sorted(random.Random(seed).sample(range(last + 1), min(3, last))), last]:
        known_rows = [each for each in rows if each.arrival <= until]
        # The journal is stored by itself, and may come later than the rows.
        journal_until = last + 1 if until == last else random.Random(seed).randint(0, until + 1)
        known_ends = [end for end in ends if end.arrival < journal_until]
        if not known_rows:
            continue
        random.Random(seed).shuffle(known_rows)
        columns, codes = rows_of(known_rows)
        known = Known(until, journal_until, ends_by_code(known_rows, known_ends, codes))
        outcome = label(columns, np.arange(len(known_rows)), horizon_us, known)
        for place, each in enumerate(known_rows):
            state = State(outcome.states[place])
            if state == State.LABELLED:
                answer = int(outcome.labels[place]), known_rows[outcome.at_horizon[place]]
                assert said.setdefault(each, answer) == answer
                assert each not in refused
            elif state == State.CLOSED:
                refused.add(each)
                assert each not in said
    for each in rows:
        assert said.get(each) == label_of(each, rows, ends, horizon_us)


@pytest.mark.parametrize("horizon_us", [1, 500_000])
def test_nothing_is_said_of_no_rows(horizon_us: int) -> None:
    rows, _ = rows_of([])
    outcome = label(rows, np.arange(0), horizon_us, COMPLETE)
    assert outcome.states.size == outcome.labels.size == 0
