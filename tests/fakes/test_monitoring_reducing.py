"""Reducers of the fake against values computed by hand, and what no aggregation may be."""

import re
from collections.abc import Iterator, Sequence
from itertools import product

import pytest
from google.api_core.exceptions import GoogleAPICallError, InvalidArgument, MethodNotImplemented

from tests.fakes.monitoring import Distribution
from tests.fakes.monitoring.desk import METRIC, NOW, Desk, course, open_desk

PERCENTILES = {"99": 3.95, "95": 3.75, "50": 1.75, "05": 0.25}
NONE = "REDUCE_NONE"


@pytest.fixture
def desk() -> Iterator[Desk]:
    with open_desk() as desk:
        yield desk


def histogram(*counts: int, total: float = 0.0) -> Distribution:
    return Distribution((1.0, 2.0, 4.0), counts, total, 0.0)


@pytest.mark.parametrize(
    ("aligner", "reducer", "groups", "period", "reason"),
    [
        ("ALIGN_MAX", NONE, (), 59, "at least 60s"),
        ("ALIGN_MAX", NONE, (), 0, "at least 60s"),
        ("ALIGN_MAX", NONE, (), 63_000_000, "at most 104 weeks"),
        ("ALIGN_NONE", "REDUCE_SUM", (), 60, "needs a perSeriesAligner"),
        ("ALIGN_MAX", "REDUCE_SUM", ["metric.label.tabel"], 60, "groupByFields"),
        ("ALIGN_MAX", "REDUCE_SUM", ["table"], 60, "groupByFields"),
        ("ALIGN_STDDEV", NONE, (), 60, "fake: aligner ALIGN_STDDEV"),
        ("ALIGN_MAX", "REDUCE_STDDEV", (), 60, "fake: reducer REDUCE_STDDEV"),
    ],
)
def test_an_aggregation_that_makes_no_sense_is_refused(
    desk: Desk, aligner: str, reducer: str, groups: Sequence[str], period: float, reason: str
) -> None:
    desk.hold("GAUGE", "INT64", [(60, 1)], table="bars")

    with pytest.raises(GoogleAPICallError, match=re.escape(reason)):
        desk.aggregated(aligner, reducer, groups, period)


@pytest.mark.parametrize(
    ("reducer", "value", "value_type"),
    [
        ("REDUCE_SUM", 10, "INT64"),
        ("REDUCE_MEAN", 2.5, "DOUBLE"),
        ("REDUCE_MAX", 4, "INT64"),
        ("REDUCE_MIN", 1, "INT64"),
        ("REDUCE_COUNT", 4, "INT64"),
        ("REDUCE_PERCENTILE_99", 3.97, "DOUBLE"),
        ("REDUCE_PERCENTILE_95", 3.85, "DOUBLE"),
        ("REDUCE_PERCENTILE_50", 2.5, "DOUBLE"),
        ("REDUCE_PERCENTILE_05", 1.15, "DOUBLE"),
    ],
)
def test_reducers_make_one_series_of_many(
    desk: Desk, reducer: str, value: float, value_type: str
) -> None:
    for number in (3, 1, 4, 2):
        desk.hold("GAUGE", "INT64", [(60, number)], task=f"task{number}")
    (series,) = desk.aggregated("ALIGN_MAX", reducer)

    assert course(series) == {60: pytest.approx(value)}
    assert series.value_type == value_type
    assert (dict(series.labels), dict(series.resource_labels)) == ({}, {"project_id": "test"})


def test_groups_keep_their_fields_and_lose_the_others(desk: Desk) -> None:
    for table, task in product(("bars", "trades"), ("one", "two")):
        desk.hold("GAUGE", "INT64", [(60, len(table))], task, table=table, status="ok")

    by_table = desk.aggregated("ALIGN_MAX", "REDUCE_SUM", ["metric.label.table"])
    assert [(dict(one.labels), course(one)) for one in by_table] == [
        ({"table": "bars"}, {60: 8}),
        ({"table": "trades"}, {60: 12}),
    ]
    by_task = desk.aggregated("ALIGN_MAX", "REDUCE_SUM", ["resource.labels.task_id"])
    assert [(one.resource_labels["task_id"], course(one)) for one in by_task] == [
        ("one", {60: 10}),
        ("two", {60: 10}),
    ]
    assert len(desk.aggregated("ALIGN_MAX", "REDUCE_SUM", ["metric.labels.status"])) == 1


def test_resources_of_different_types_are_never_reduced_to_one(desk: Desk) -> None:
    desk.hold("GAUGE", "INT64", [(60, 1)])
    desk.fake.put(METRIC, {}, "global", {"project_id": "test"}, "GAUGE", "INT64", [(NOW + 60, 2)])

    found = desk.aggregated("ALIGN_MAX", "REDUCE_SUM")
    assert sorted((one.resource_type, course(one)) for one in found) == [
        ("generic_task", {60: 1}),
        ("global", {60: 2}),
    ]


def test_series_that_have_nothing_at_a_time_are_left_out_of_it(desk: Desk) -> None:
    desk.hold("GAUGE", "INT64", [(60, 1), (120, 2)], task="one")
    desk.hold("GAUGE", "INT64", [(120, 5)], task="two")

    assert course(desk.aggregated("ALIGN_MAX", "REDUCE_SUM")[0]) == {60: 1, 120: 7}
    assert course(desk.aggregated("ALIGN_MAX", "REDUCE_MEAN")[0]) == {60: 1.0, 120: 3.5}


def test_histograms_of_many_tasks_are_merged_before_their_percentile(desk: Desk) -> None:
    desk.hold("CUMULATIVE", "DISTRIBUTION", [(0, 60, histogram(2, 1, 4, 0, total=9.0))], "one")
    desk.hold("CUMULATIVE", "DISTRIBUTION", [(0, 60, histogram(0, 3, 0, 0, total=6.0))], "two")

    for name, value in PERCENTILES.items():
        (series,) = desk.aggregated("ALIGN_DELTA", f"REDUCE_PERCENTILE_{name}")
        assert course(series) == {60: pytest.approx(value)}
    (merged,) = desk.aggregated("ALIGN_DELTA", "REDUCE_SUM")
    sum_of_both = course(merged)[60]
    assert isinstance(sum_of_both, Distribution)
    assert (sum_of_both.counts, sum_of_both.total) == ((2, 4, 4, 0), 15.0)
    (mean,) = desk.aggregated("ALIGN_DELTA", "REDUCE_MEAN")
    assert course(mean) == {60: 1.5}


def test_histograms_have_no_maximum_and_bools_no_sum(desk: Desk) -> None:
    desk.hold("CUMULATIVE", "DISTRIBUTION", [(0, 60, histogram(1, 0, 0, 0))])
    with pytest.raises(InvalidArgument, match="cannot be applied to value type DISTRIBUTION"):
        desk.aggregated("ALIGN_DELTA", "REDUCE_MAX")

    desk.fake.store.series.clear()
    desk.hold("GAUGE", "BOOL", [(60, True)])
    with pytest.raises(InvalidArgument, match="cannot be applied to value type BOOL"):
        desk.aggregated("ALIGN_NEXT_OLDER", "REDUCE_SUM")


def test_histograms_with_different_bounds_are_not_merged_here(desk: Desk) -> None:
    desk.hold("DELTA", "DISTRIBUTION", [(0, 60, histogram(1, 0, 0, 0))], "one")
    other = Distribution((1.0, 3.0), (1, 0, 0), 0.0, 0.0)
    desk.hold("DELTA", "DISTRIBUTION", [(0, 60, other)], "two")

    with pytest.raises(MethodNotImplemented, match="different bounds"):
        desk.aggregated("ALIGN_SUM", "REDUCE_SUM")
