"""Aligners of the fake against values computed by hand."""

from collections.abc import Iterator
from itertools import product
from typing import TypeAlias

import pytest
from google.api_core.exceptions import InvalidArgument

from tests.fakes.monitoring import Distribution
from tests.fakes.monitoring.desk import METRIC, Desk, course, open_desk
from tests.fakes.monitoring.values import Value

Points: TypeAlias = list[tuple[float, float, Value]]
BOUNDS = (1.0, 2.0, 4.0)


@pytest.fixture
def desk() -> Iterator[Desk]:
    with open_desk() as desk:
        yield desk


def aligned(desk: Desk, aligner: str) -> dict[float, Value]:
    (series,) = desk.aggregated(aligner)
    return course(series)


def histogram(*counts: int, total: float = 0.0, squares: float = 0.0) -> Distribution:
    return Distribution(BOUNDS, counts, total, squares)


COUNTED = {
    "at the boundaries": ([(0, 60, 90), (0, 120, 100), (0, 180, 160)], [90, 10, 60]),
    "between the boundaries": ([(0, 30, 20), (0, 60, 90), (0, 120, 100)], [90, 10]),
    "even between two points": ([(0, 45, 45), (0, 105, 105)], [60, 45]),
    "even over a period without points": ([(0, 30, 30), (0, 150, 150)], [60, 60, 30]),
    "from the start time on": ([(30, 60, 9), (30, 120, 10)], [9, 1]),
    "a start before the interval": ([(-60, 0, 7), (-60, 60, 10)], [3]),
    "a reset that shows": ([(0, 60, 80), (70, 100, 20), (70, 120, 30)], [80, 30]),
    "a reset that only its start shows": ([(0, 60, 80), (70, 120, 500)], [80, 500]),
    "two resets in a period": ([(0, 10, 1), (20, 30, 2), (40, 60, 4)], [7]),
    "parts that add up": ([(0, 90, 10)], [7, 3]),
    "nothing that happened": ([(0, 60, 5), (0, 120, 5)], [5, 0]),
}


@pytest.mark.parametrize(("points", "deltas"), COUNTED.values(), ids=COUNTED)
def test_align_delta_tells_what_was_added(desk: Desk, points: Points, deltas: list[int]) -> None:
    desk.hold("CUMULATIVE", "INT64", points)
    (series,) = desk.aggregated("ALIGN_DELTA")

    assert list(course(series).values()) == deltas
    assert (series.kind, series.value_type) == ("DELTA", "INT64")
    assert all(one.end_ns - one.start_ns == 60_000_000_000 for one in series.points)


@pytest.mark.parametrize(("points", "deltas"), COUNTED.values(), ids=COUNTED)
def test_align_rate_is_the_delta_per_second(desk: Desk, points: Points, deltas: list[int]) -> None:
    desk.hold("CUMULATIVE", "DOUBLE", points)
    (series,) = desk.aggregated("ALIGN_RATE")

    exact = deltas if deltas != [7, 3] else [20 / 3, 10 / 3]
    assert list(course(series).values()) == pytest.approx([each / 60 for each in exact])
    assert (series.kind, series.value_type) == ("GAUGE", "DOUBLE")


def test_after_the_last_point_nothing_is_known(desk: Desk) -> None:
    desk.hold("CUMULATIVE", "INT64", [(0, 60, 6), (0, 90, 9)])

    assert aligned(desk, "ALIGN_DELTA") == {60: 6, 120: 3}


def test_deltas_are_added_by_their_intervals(desk: Desk) -> None:
    desk.hold("DELTA", "INT64", [(0, 30, 3), (30, 60, 4), (60, 180, 12)])

    assert aligned(desk, "ALIGN_DELTA") == {60: 7, 120: 6, 180: 6}
    assert aligned(desk, "ALIGN_SUM") == {60: 7, 180: 12}
    assert aligned(desk, "ALIGN_MAX") == {60: 4, 180: 12}


def test_histograms_grow_like_numbers(desk: Desk) -> None:
    desk.hold("CUMULATIVE", "DISTRIBUTION", [
        (0, 60, histogram(1, 1, 0, 0, total=2.0, squares=2.5)),
        (0, 120, histogram(3, 1, 2, 0, total=9.0, squares=25.0)),
        (130, 180, histogram(0, 0, 0, 1, total=5.0, squares=25.0)),
    ])  # fmt: skip
    values = aligned(desk, "ALIGN_DELTA").values()

    assert [value.counts for value in values if isinstance(value, Distribution)] == [
        (1, 1, 0, 0),
        (2, 0, 2, 0),
        (0, 0, 0, 1),
    ]
    means = [value.mean for value in values if isinstance(value, Distribution)]
    assert means == pytest.approx([1.0, 7 / 4, 5.0])
    squares = [value.squares for value in values if isinstance(value, Distribution)]
    assert squares == pytest.approx([2.5, 22.5, 25.0])


@pytest.mark.parametrize(
    ("aligner", "values", "value_type"),
    [
        ("ALIGN_MEAN", [3.5, 3.0], "DOUBLE"),
        ("ALIGN_MAX", [6, 4], "INT64"),
        ("ALIGN_MIN", [1, 2], "INT64"),
        ("ALIGN_SUM", [7, 6], "INT64"),
        ("ALIGN_COUNT", [2, 2], "INT64"),
        ("ALIGN_NEXT_OLDER", [6, 4], "INT64"),
    ],
)
def test_gauges_are_taken_by_period(
    desk: Desk, aligner: str, values: list[float], value_type: str
) -> None:
    desk.hold("GAUGE", "INT64", [(0, 99), (10, 1), (60, 6), (70, 2), (120, 4), (181, 99)])
    (series,) = desk.aggregated(aligner)

    assert course(series) == dict(zip([60, 120], values, strict=True))
    assert (series.kind, series.value_type) == ("GAUGE", value_type)
    assert all(one.end_ns == one.start_ns for one in series.points)


def test_next_older_is_the_last_and_not_the_largest(desk: Desk) -> None:
    desk.hold("GAUGE", "BOOL", [(10, True), (50, False)])

    assert aligned(desk, "ALIGN_NEXT_OLDER") == {60: False}
    assert aligned(desk, "ALIGN_COUNT") == {60: 2}


def test_longer_periods_end_where_the_interval_ends(desk: Desk) -> None:
    desk.hold("GAUGE", "INT64", [(-60, 1), (10, 2), (60, 3), (80, 4), (180, 5)])
    (series,) = desk.aggregated("ALIGN_SUM", period=120)

    assert course(series) == {60: 5, 180: 9}


PERCENTILES = {"99": 3.95, "95": 3.75, "50": 1.75, "05": 0.25}


@pytest.mark.parametrize(("name", "value"), PERCENTILES.items())
@pytest.mark.parametrize("kind", ["GAUGE", "DELTA"])
def test_percentiles_lie_within_their_bucket(
    desk: Desk, kind: str, name: str, value: float
) -> None:
    halves = [(0, 30, histogram(2, 1, 4, 0)), (30, 60, histogram(0, 3, 0, 0))]
    desk.hold(kind, "DISTRIBUTION", halves)
    (series,) = desk.aggregated(f"ALIGN_PERCENTILE_{name}")

    assert course(series) == {60: pytest.approx(value)}
    assert (series.kind, series.value_type) == ("GAUGE", "DOUBLE")
    assert series.points[0].start_ns == series.points[0].end_ns


@pytest.mark.parametrize(
    ("bounds", "counts", "median"),
    [
        (BOUNDS, (0, 0, 0, 1), 4.0),  # beyond the last bound: on it
        (BOUNDS, (0, 0, 2, 0), 3.0),
        ((-2.0, 0.0), (1, 0, 0), -2.0),  # below the first bound, which is not above 0
        ((-2.0, 0.0), (0, 2, 0), -1.0),
    ],
)
def test_outer_buckets_end_at_their_only_bound(
    desk: Desk, bounds: tuple[float, ...], counts: tuple[int, ...], median: float
) -> None:
    desk.hold("DELTA", "DISTRIBUTION", [(0, 60, Distribution(bounds, counts, 0.0, 0.0))])

    assert aligned(desk, "ALIGN_PERCENTILE_50") == {60: median}


def test_of_nothing_there_is_no_percentile(desk: Desk) -> None:
    desk.hold("DELTA", "DISTRIBUTION", [(0, 60, histogram(0, 0, 0, 0))])

    assert desk.aggregated("ALIGN_PERCENTILE_99") == []


NUMBERS, ALL_KINDS = ("INT64", "DOUBLE"), ("GAUGE", "CUMULATIVE", "DELTA")
ALL_TYPES = ("BOOL", *NUMBERS, "DISTRIBUTION")
SUITS = {
    "ALIGN_DELTA": (("CUMULATIVE", "DELTA"), (*NUMBERS, "DISTRIBUTION")),
    "ALIGN_RATE": (("CUMULATIVE", "DELTA"), NUMBERS),
    "ALIGN_MEAN": (("GAUGE", "DELTA"), NUMBERS),
    "ALIGN_MAX": (("GAUGE", "DELTA"), NUMBERS),
    "ALIGN_MIN": (("GAUGE", "DELTA"), NUMBERS),
    "ALIGN_SUM": (("GAUGE", "DELTA"), (*NUMBERS, "DISTRIBUTION")),
    "ALIGN_COUNT": (("GAUGE", "DELTA"), ("BOOL", *NUMBERS)),
    "ALIGN_NEXT_OLDER": (("GAUGE",), ALL_TYPES),
    **{f"ALIGN_PERCENTILE_{name}": (("GAUGE", "DELTA"), ("DISTRIBUTION",)) for name in PERCENTILES},
}


@pytest.mark.parametrize("aligner", SUITS)
def test_aligners_take_the_kinds_that_the_reference_names(desk: Desk, aligner: str) -> None:
    kinds, value_types = SUITS[aligner]
    for kind, value_type in product(ALL_KINDS, ALL_TYPES):
        desk.fake.store.series.clear()
        value = histogram(1, 0, 0, 0) if value_type == "DISTRIBUTION" else 1
        desk.hold(kind, value_type, [(0, 60, value)])
        suits = kind in kinds and value_type in value_types
        assert was_taken(desk, aligner) == suits, f"{aligner} on {kind} {value_type}"


def test_an_aligner_that_does_not_suit_is_refused_before_there_are_points(desk: Desk) -> None:
    desk.declare(METRIC, "CUMULATIVE", "DISTRIBUTION")

    assert not was_taken(desk, "ALIGN_PERCENTILE_99")
    assert was_taken(desk, "ALIGN_DELTA")


def was_taken(desk: Desk, aligner: str) -> bool:
    try:
        desk.aggregated(aligner)
    except InvalidArgument as error:
        assert "The aligner cannot be applied to metrics with kind" in str(error)  # noqa: PT017
        return False
    return True


def test_without_an_aligner_the_period_does_not_matter(desk: Desk) -> None:
    desk.hold("GAUGE", "INT64", [(60, 1)])

    assert course(desk.aggregated("ALIGN_NONE", period=0)[0]) == {60: 1}
