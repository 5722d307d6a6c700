"""What CreateTimeSeries of the fake refuses, and what it lets through."""

import math
import re
from collections.abc import Iterator

import pytest
from google.api_core.exceptions import InvalidArgument
from google.cloud.monitoring_v3 import types as wire

from tests.fakes.monitoring.desk import NOW, Desk, open_desk
from tests.fakes.monitoring.samples import TASK, distribution, point, request, series

BEGIN = NOW - 3_600
NODE = {"project_id": "test", "location": "here", "namespace": "n", "node_id": "1"}


@pytest.fixture
def desk() -> Iterator[Desk]:
    with open_desk() as desk:
        desk.declare("queue", "GAUGE", "INT64")
        desk.declare("queue_by_stream", "GAUGE", "INT64", ["stream"])
        desk.declare("age", "GAUGE", "DOUBLE")
        desk.declare("open", "GAUGE", "BOOL")
        desk.declare("rows", "CUMULATIVE", "INT64")
        desk.declare("amount", "CUMULATIVE", "DOUBLE")
        desk.declare("took", "CUMULATIVE", "DISTRIBUTION")
        desk.fake.calls.clear()
        yield desk


GOOD = {
    "gauge without start": series("queue", 1, NOW),
    "gauge that starts where it ends": series("queue", 1, NOW, NOW),
    "label": series("queue_by_stream", 1, NOW, labels={"stream": "trades"}),
    "double": series("age", 0.5, NOW),
    "bool": series("open", True, NOW),
    "counter": series("rows", 0, NOW, BEGIN),
    "counter of amounts": series("amount", 2.5, NOW, BEGIN),
    "histogram": series("took", distribution([1, 0, 2, 0], mean=1.5), NOW, BEGIN),
    "histogram with counts left off": series("took", distribution([3], mean=0.5), NOW, BEGIN),
    "empty histogram": series("took", distribution([]), NOW, BEGIN),
    "histogram of 200 buckets": series("took", distribution([1], range(199)), NOW, BEGIN),
    "label of 1024 characters": series("queue_by_stream", 1, NOW, labels={"stream": "x" * 1024}),
    "25 hours old": series("queue", 1, NOW - 90_000),
    "5 minutes ahead": series("queue", 1, NOW + 300),
    "global": series("queue", 1, NOW, resource={"project_id": "test"}, resource_type="global"),
    "node": series("queue", 1, NOW, resource=NODE, resource_type="generic_node"),
}

HISTOGRAMS = {
    "count is not the sum": (distribution([1, 1], count=3), "count must be the sum"),
    "count without buckets": (distribution([], count=3), "count must be the sum"),
    "bounds that fall": (distribution([1], [2.0, 1.0]), "strictly increasing"),
    "bounds that stay": (distribution([1], [1.0, 1.0]), "strictly increasing"),
    "no bounds": (distribution([1], []), "at least one bound"),
    "endless bound": (distribution([1], [1.0, math.inf]), "finite"),
    "201 buckets": (distribution([1], range(200)), "201 buckets"),
    "more counts than buckets": (distribution([1] * 5), "5 bucket_counts for 4"),
    "negative count": (distribution([2, -1]), "negative"),
    "mean of nothing": (distribution([0], mean=1.0), "must be 0 where count is 0"),
    "deviation of nothing": (distribution([], squared_deviation=1.0), "must be 0 where count"),
    "mean that is no number": (distribution([1], mean=math.nan), "must be finite"),
    "negative deviation": (distribution([1], squared_deviation=-1.0), "not negative"),
}

BAD = {
    "foreign type": (series("a.googleapis.com/b", 1, NOW), "must begin with custom"),
    "no descriptor": (series("unheard_of", 1, NOW), "has no descriptor"),
    "gauge's value type": (series("queue", 1.0, NOW), "the descriptor says INT64"),
    "counter's value type": (series("amount", 1, NOW, BEGIN), "the descriptor says DOUBLE"),
    "bool for a number": (series("queue", True, NOW), "the descriptor says INT64"),
    "number for a histogram": (series("took", 1, NOW, BEGIN), "the descriptor says DISTRIBUTION"),
    "unknown label": (series("queue", 1, NOW, labels={"x": "y"}), r"unrecognized labels \['x'\]"),
    "missing label": (series("queue_by_stream", 1, NOW), r"labels \['stream'\] are missing"),
    "1025 characters": (
        series("queue_by_stream", 1, NOW, labels={"stream": "x" * 1025}),
        "more than 1024 characters",
    ),
    "31 labels": (
        series("queue", 1, NOW, labels={f"label{at}": "" for at in range(31)}),
        "more than 30 labels",
    ),
    "a resource that is not ours to write": (
        series("queue", 1, NOW, resource_type="cloud_run_revision"),
        "cannot be written to it",
    ),
    "a resource label too few": (
        series("queue", 1, NOW, resource={"project_id": "test"}),
        "generic_task has",
    ),
    "a resource label too many": (
        series("queue", 1, NOW, resource={**TASK, "zone": "a"}),
        "generic_task has",
    ),
    "an empty resource label": (
        series("queue", 1, NOW, resource={**TASK, "task_id": ""}),
        r"\['task_id'\] are empty",
    ),
    "a long resource label": (
        series("queue", 1, NOW, resource={**TASK, "task_id": "x" * 1025}),
        "task_id has more than 1024",
    ),
    "another project": (
        series("queue", 1, NOW, resource={**TASK, "project_id": "other"}),
        "project_id is another project",
    ),
    "too old": (series("queue", 1, NOW - 90_001), "25h in the past"),
    "too far ahead": (series("queue", 1, NOW + 301), "5 minutes in the future"),
    "gauge over a time": (series("queue", 1, NOW, NOW - 1), "the same for GAUGE"),
    "counter without start": (series("rows", 1, NOW), "start time is required"),
    "counter over no time": (series("rows", 1, NOW, NOW), "must be before the end"),
    "counter backwards": (series("rows", 1, NOW, NOW + 1), "must be before the end"),
    "not a number": (series("age", math.nan, NOW), "invalid value of nan"),
    "endless": (series("age", math.inf, NOW), "invalid value of inf"),
} | {
    name: (series("took", value, NOW, BEGIN), reason)
    for name, (value, reason) in HISTOGRAMS.items()
}


@pytest.mark.parametrize("written", GOOD.values(), ids=GOOD)
def test_what_the_rules_allow_is_stored(desk: Desk, written: wire.TimeSeries) -> None:
    desk.write(written)

    assert desk.fake.writes == [request(written)]
    assert desk.fake.refusals == []
    assert len(desk.fake.series(written.metric.type)) == 1


@pytest.mark.parametrize(("written", "reason"), BAD.values(), ids=BAD)
def test_what_the_rules_forbid_is_refused(
    desk: Desk, written: wire.TimeSeries, reason: str
) -> None:
    said = desk.why_refused(written)

    assert re.search(reason, said)
    assert desk.fake.writes == []
    assert desk.fake.series(written.metric.type) == []
    assert re.search(reason, desk.fake.refusals[0])


def test_exactly_one_point_is_written_at_a_time(desk: Desk) -> None:
    none, two = series("queue", 1, NOW), series("queue", 1, NOW)
    none.points = []
    two.points = [point(1, NOW - 10), point(1, NOW)]

    assert "exactly one point" in desk.why_refused(none)
    assert "exactly one point" in desk.why_refused(two)


def test_a_point_without_an_end_is_refused(desk: Desk) -> None:
    written = series("queue", 1, NOW)
    written.points = [wire.Point(value={"int64_value": 1})]

    assert "endTime is required" in desk.why_refused(written)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("metric_kind", "CUMULATIVE", "the descriptor says GAUGE"),
        ("value_type", "DOUBLE", "the descriptor says INT64"),
    ],
)
def test_kind_and_value_type_may_be_left_off_but_not_differ(
    desk: Desk, field: str, value: str, reason: str
) -> None:
    written = series("queue", 1, NOW)
    setattr(written, field, value)

    assert reason in desk.why_refused(written)


def test_exponential_buckets_are_unknown_here(desk: Desk) -> None:
    value = distribution([1])
    value.bucket_options.exponential_buckets.scale = 1.0

    assert "fake: distributions without" in desk.why_refused(series("took", value, NOW, BEGIN))


def test_200_series_are_a_request_and_201_are_none(desk: Desk) -> None:
    many = [
        series("queue_by_stream", 1, NOW, labels={"stream": f"stream{number}"})
        for number in range(201)
    ]

    assert "201 TimeSeries" in desk.why_refused(*many)
    assert desk.fake.series("queue_by_stream") == []
    assert len(desk.fake.refusals) == 1

    desk.write(*many[:200])
    assert len(desk.fake.series("queue_by_stream")) == 200


def test_a_request_of_nothing_is_refused(desk: Desk) -> None:
    assert "0 TimeSeries" in desk.why_refused()


def test_a_request_names_a_project(desk: Desk) -> None:
    with pytest.raises(InvalidArgument, match="is not projects"):
        desk.client.create_time_series(name="test", time_series=[series("queue", 1, NOW)])


def test_of_a_series_twice_in_a_request_the_first_is_written(desk: Desk) -> None:
    said = desk.why_refused(series("queue", 1, NOW), series("queue", 2, NOW + 10))

    assert "Field timeSeries[1] had an invalid value: Duplicate TimeSeries" in said
    assert desk.fake.latest("queue") == 1


def test_series_of_two_tasks_are_two(desk: Desk) -> None:
    desk.write(
        series("queue", 1, NOW),
        series("queue", 2, NOW, resource={**TASK, "task_id": "instance-2"}),
    )

    assert len(desk.fake.series("queue")) == 2
