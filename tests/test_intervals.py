"""Intervals behave as sets of numbers do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotewatch.intervals import Intervals

LARGEST = 2**63 - 1

relaxed = settings(deadline=None, max_examples=50)  # nothing here is about time
small = st.integers(0, 60)
sets = st.sets(small)
# What a hostile frame may carry stands beside what an exchange sends.
wide = st.sets(st.one_of(small, st.integers(LARGEST - 60, LARGEST)))
spans = st.lists(st.tuples(small, small).map(lambda pair: (min(pair), max(pair))))


def spread(intervals: Intervals) -> set[int]:
    return {number for first, last in intervals for number in range(first, last + 1)}


def assert_canonical(intervals: Intervals) -> None:
    edges = [edge for pair in intervals for edge in pair]
    assert edges == sorted(edges)
    ends, starts = edges[1::2], edges[2::2]
    # Neither overlapping nor touching: equal sets are equal texts.
    assert all(start - end > 1 for end, start in zip(ends, starts, strict=False))


@relaxed
@given(wide)
def test_numbers_come_back(numbers: set[int]) -> None:
    made = Intervals.of_numbers(numbers)
    assert spread(made) == numbers
    assert made.count == len(numbers)
    assert (made.first, made.last) == (min(numbers, default=None), max(numbers, default=None))
    assert bool(made) == bool(numbers)
    assert_canonical(made)


@relaxed
@given(wide, st.randoms())
def test_order_and_repetition_of_numbers_do_not_matter(numbers: set[int], chance: object) -> None:
    shuffled = [*numbers, *numbers]
    getattr(chance, "shuffle")(shuffled)  # noqa: B009 - hypothesis gives it no type
    assert Intervals.of_numbers(shuffled) == Intervals.of_numbers(sorted(numbers))


@relaxed
@given(spans)
def test_pairs_may_overlap_and_touch(pairs: list[tuple[int, int]]) -> None:
    made = Intervals.of(pairs)
    assert spread(made) == {n for first, last in pairs for n in range(first, last + 1)}
    assert_canonical(made)


@relaxed
@given(wide, wide)
def test_union_is_that_of_sets(one: set[int], other: set[int]) -> None:
    joined = Intervals.of_numbers(one) | Intervals.of_numbers(other)
    assert spread(joined) == one | other
    assert_canonical(joined)


@relaxed
@given(sets, sets)
def test_intersection_and_difference_are_those_of_sets(one: set[int], other: set[int]) -> None:
    left, right = Intervals.of_numbers(one), Intervals.of_numbers(other)
    assert spread(left & right) == one & other
    assert spread(left - right) == one - other
    assert_canonical(left & right)
    assert_canonical(left - right)


@relaxed
@given(wide)
def test_text_comes_back_and_is_the_same_for_the_same_set(numbers: set[int]) -> None:
    made = Intervals.of_numbers(numbers)
    again = Intervals.parse(str(made))
    assert again == made
    assert str(again) == str(made)
    assert hash(again) == hash(made)


@relaxed
@given(wide, st.lists(st.one_of(small, st.integers(LARGEST - 60, LARGEST))))
def test_holds_asks_for_many_what_in_asks_for_one(numbers: set[int], asked: list[int]) -> None:
    made = Intervals.of_numbers(numbers)
    expected = [number in numbers for number in asked]
    assert made.holds(np.array(asked, np.int64)).tolist() == expected
    assert [number in made for number in asked] == expected


@relaxed
@given(sets)
def test_holes_lie_between_the_lowest_and_the_highest(numbers: set[int]) -> None:
    made = Intervals.of_numbers(numbers)
    whole = set(range(min(numbers), max(numbers) + 1)) if numbers else set()
    assert spread(made.holes()) == whole - numbers
    assert spread(made.complement_within(made)) == whole - numbers


@relaxed
@given(sets, sets.filter(bool))
def test_the_complement_spans_what_was_asked(numbers: set[int], span: set[int]) -> None:
    outside = Intervals.of_numbers(numbers).complement_within(Intervals.of_numbers(span))
    assert spread(outside) == set(range(min(span), max(span) + 1)) - numbers


def test_a_run_is_one_piece() -> None:
    assert str(Intervals.of_numbers(np.arange(100_000))) == "0-99999"
    assert Intervals.of_numbers([5, 1, 2, 9]).pieces == 3


@pytest.mark.parametrize("text", ["-1", "5-3", "a", "1-", "1,,x", "1-2-3", "1.5"])
def test_what_is_no_list_of_intervals_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"interval|literal"):
        Intervals.parse(text)


def test_nothing_is_nothing() -> None:
    none = Intervals.none()
    assert str(none) == ""
    assert Intervals.parse("") == none == Intervals.of([]) == none & none == none - none
    assert (none.first, none.last, none.count, none.pieces) == (None, None, 0, 0)
    assert none != ""
