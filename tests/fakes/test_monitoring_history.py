"""What earlier points of a series make the fake refuse: order, pace, resets, bounds."""

from collections.abc import Iterator
from typing import TypeAlias

import pytest

from tests.fakes.monitoring.desk import NOW, Desk, open_desk
from tests.fakes.monitoring.protos import distribution_pb2
from tests.fakes.monitoring.samples import distribution, series

BEGIN = NOW - 3_600
Value: TypeAlias = float | distribution_pb2.Distribution


@pytest.fixture
def desk() -> Iterator[Desk]:
    with open_desk() as desk:
        desk.declare("queue", "GAUGE", "INT64")
        desk.declare("rows", "CUMULATIVE", "INT64")
        desk.declare("amount", "CUMULATIVE", "DOUBLE")
        desk.declare("took", "CUMULATIVE", "DISTRIBUTION")
        yield desk


@pytest.mark.parametrize("earlier", [0, 1, 3_600])
def test_a_point_that_is_not_newer_is_refused(desk: Desk, earlier: float) -> None:
    desk.write(series("queue", 1, NOW))

    assert "written in order" in desk.why_refused(series("queue", 2, NOW - earlier))
    assert desk.fake.latest("queue") == 1


def test_a_point_less_than_five_seconds_later_is_refused(desk: Desk) -> None:
    desk.write(series("queue", 1, NOW))

    assert "more frequently" in desk.why_refused(series("queue", 2, NOW + 4.999))
    desk.write(series("queue", 3, NOW + 5))
    assert desk.fake.latest("queue") == 3


def test_the_pace_is_kept_for_each_series_alone(desk: Desk) -> None:
    desk.write(series("queue", 1, NOW))
    desk.write(series("rows", 1, NOW + 1, BEGIN))

    assert desk.fake.refusals == []


def test_a_gauge_may_go_down(desk: Desk) -> None:
    desk.write(series("queue", 5, NOW))
    desk.write(series("queue", -5, NOW + 10))

    assert desk.fake.latest("queue") == -5


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("rows", 7, 6),
        ("amount", 7.5, 7.25),
        ("took", distribution([3, 1]), distribution([2, 1])),
        ("took", distribution([3, 1]), distribution([2, 2])),
    ],
)
def test_what_is_counted_does_not_go_down_without_a_reset(
    desk: Desk, name: str, before: Value, after: Value
) -> None:
    desk.write(series(name, before, NOW, BEGIN))

    assert "went down" in desk.why_refused(series(name, after, NOW + 10, BEGIN))
    desk.write(series(name, before, NOW + 10, BEGIN))
    desk.write(series(name, after, NOW + 20, NOW + 15))
    assert len(desk.fake.series(name)[0].points) == 3


@pytest.mark.parametrize("begin", [BEGIN - 1, BEGIN + 1, NOW - 1, NOW, NOW + 0.0009])
def test_a_reset_that_overlaps_the_time_before_is_refused(desk: Desk, begin: float) -> None:
    desk.write(series("rows", 7, NOW, BEGIN))

    assert "at least a millisecond after" in desk.why_refused(series("rows", 8, NOW + 10, begin))


def test_a_reset_begins_a_millisecond_after_the_end(desk: Desk) -> None:
    desk.write(series("rows", 7, NOW, BEGIN))
    desk.write(series("rows", 1, NOW + 10, NOW + 0.001))
    desk.write(series("rows", 2, NOW + 20, NOW + 0.001))

    assert [point.value for point in desk.fake.series("rows")[0].points] == [7, 1, 2]


def test_after_a_reset_the_old_start_is_over(desk: Desk) -> None:
    desk.write(series("rows", 7, NOW, BEGIN))
    desk.write(series("rows", 1, NOW + 10, NOW + 1))

    assert "at least a millisecond" in desk.why_refused(series("rows", 8, NOW + 20, BEGIN))


@pytest.mark.parametrize("begin", [BEGIN, NOW + 1])
def test_a_series_keeps_its_bounds(desk: Desk, begin: float) -> None:
    desk.write(series("took", distribution([1], [1.0, 2.0]), NOW, BEGIN))

    other = distribution([2], [1.0, 3.0])
    assert "bucket bounds differ" in desk.why_refused(series("took", other, NOW + 10, begin))


def test_a_refused_point_leaves_no_trace_in_the_order(desk: Desk) -> None:
    desk.write(series("queue", 1, NOW))
    desk.why_refused(series("queue", 1.5, NOW + 100))
    desk.write(series("queue", 2, NOW + 10))

    assert desk.fake.latest("queue") == 2
