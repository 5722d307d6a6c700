"""ListTimeSeries of the fake: filters, intervals, views, pages, and what it refuses."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from google.api_core.exceptions import (
    GoogleAPICallError,
    InvalidArgument,
    MethodNotImplemented,
    NotFound,
)
from google.cloud.monitoring_v3 import types as wire

from tests.fakes.monitoring.desk import NOW, Desk, open_desk
from tests.fakes.monitoring.samples import PREFIX, TASK, series, stamp

ROWS = f'metric.type="{PREFIX}rows"'
TABLES = ("trades", "bars", "book_levels")
FULL = wire.ListTimeSeriesRequest.TimeSeriesView.FULL
HEADERS = wire.ListTimeSeriesRequest.TimeSeriesView.HEADERS


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Three tables in two tasks, three points each."""
    with open_desk() as desk:
        desk.declare("rows", "CUMULATIVE", "INT64", ["table"])
        for step in (1, 2, 3):
            desk.now = NOW + 10 * step
            written = [
                series("rows", step, desk.now, NOW, {"table": table}, {**TASK, "task_id": task})
                for table in TABLES
                for task in ("one", "two")
            ]
            desk.write(*written)
        yield desk


def asked(filter_text: str, **fields: Any) -> wire.ListTimeSeriesRequest:
    interval = {"start_time": stamp(NOW), "end_time": stamp(NOW + 60)}
    given = {"name": "projects/test", "filter": filter_text, "interval": interval} | fields
    return wire.ListTimeSeriesRequest(**given)


def answered(desk: Desk, request: wire.ListTimeSeriesRequest) -> list[wire.TimeSeries]:
    return list(desk.client.list_time_series(request=request))


def tables(found: list[wire.TimeSeries]) -> list[str]:
    return sorted({one.metric.labels["table"] for one in found})


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ('metric.label.table="bars"', ["bars"]),
        ('metric.labels.table = "bars"', ["bars"]),
        ('metric.label.table!="bars"', ["book_levels", "trades"]),
        ('metric.label.table=monitoring.regex.full_match("b.*")', ["bars", "book_levels"]),
        ('metric.label.table=monitoring.regex.full_match("b")', []),
        (r'metric.label.table=monitoring.regex.full_match("\\w+s")', [*sorted(TABLES)]),
        ('metric.label.table!=monitoring.regex.full_match("b.*")', ["trades"]),
        ('metric.label.table=one_of("bars", "trades")', ["bars", "trades"]),
        ('metric.label.table=starts_with("b")', ["bars", "book_levels"]),
        ('metric.label.table=ends_with("levels")', ["book_levels"]),
        ('metric.label.table=has_substring("ar")', ["bars"]),
        ('metric.label.table=starts_with("b") AND metric.label.table!="bars"', ["book_levels"]),
        ('metric.label.table=starts_with("b") metric.label.table!="bars"', ["book_levels"]),
        ('resource.label.job="write"', [*sorted(TABLES)]),
        ('resource.labels.job="predict"', []),
        ('resource.type="generic_task"', [*sorted(TABLES)]),
        ('resource.type="global"', []),
        ('project="test"', [*sorted(TABLES)]),
    ],
)
def test_filters_choose_series(desk: Desk, condition: str, found: list[str]) -> None:
    assert tables(answered(desk, asked(f"{ROWS} AND {condition}"))) == found
    assert tables(answered(desk, asked(f"{condition} {ROWS}"))) == found


@pytest.mark.parametrize(
    ("filter_text", "reason"),
    [
        ("", "single metric.type"),
        ('resource.type="generic_task"', "single metric.type"),
        (f'metric.type=starts_with("{PREFIX}")', "single metric.type"),
        (f"{ROWS} {ROWS}", "single metric.type"),
        (f'metric.type!="{PREFIX}rows"', "single metric.type"),
        ("nonsense", "unreadable from 'nonsense'"),
        (f"{ROWS} AND", "unreadable"),
        (f'{ROWS}resource.type="global"', "unreadable"),
        (f"{ROWS} metric.label.table=bars", "unreadable"),
        (f'{ROWS} metric.label.table>"bars"', "unreadable"),
        (f'{ROWS} metric.table="bars"', "unknown field 'metric.table'"),
        (f'{ROWS} metric.label.table=like("bars")', "unknown function like"),
        (f'{ROWS} metric.label.table=starts_with("a", "b")', "takes one argument"),
        (f'{ROWS} metric.label.table=monitoring.regex.full_match("(")', "regex"),
        (f'{ROWS} metric.label.tabel="bars"', "no metric.labels.tabel"),
        (f'{ROWS} resource.label.pod="bars"', "no resource.labels.pod"),
    ],
)
def test_filters_that_make_no_sense_are_refused(desk: Desk, filter_text: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(reason)):
        answered(desk, asked(filter_text))


@pytest.mark.parametrize("rest", [f"OR {ROWS}", "AND NOT x", "AND (x)"])
def test_what_the_parser_does_not_know_it_says(desk: Desk, rest: str) -> None:
    with pytest.raises(MethodNotImplemented, match="fake: filter with OR, NOT or brackets"):
        answered(desk, asked(f"{ROWS} {rest}"))


def test_a_metric_that_nobody_knows_is_not_found(desk: Desk) -> None:
    with pytest.raises(NotFound, match=re.escape("Cannot find metric(s) that match type")):
        answered(desk, asked(f'metric.type="{PREFIX}row"'))


def test_a_declared_metric_without_points_answers_nothing(desk: Desk) -> None:
    desk.declare("silent")

    assert answered(desk, asked(f'metric.type="{PREFIX}silent"')) == []


def test_another_projects_series_are_not_seen(desk: Desk) -> None:
    with pytest.raises(NotFound):
        answered(desk, asked(ROWS, name="projects/other"))


def test_raw_points_come_newest_first_as_they_were_written(desk: Desk) -> None:
    first = answered(desk, asked(f'{ROWS} metric.label.table="bars"'))[0]

    assert [point.value.int64_value for point in first.points] == [3, 2, 1]
    assert first.points[0].interval.end_time.timestamp() == NOW + 30
    assert first.points[0].interval.start_time.timestamp() == NOW
    assert (first.metric_kind, first.value_type) == (3, 2)  # CUMULATIVE, INT64
    assert (first.unit, dict(first.resource.labels)) == ("1", {**TASK, "task_id": "one"})


def test_an_interval_holds_its_end_and_not_its_begin(desk: Desk) -> None:
    interval = {"start_time": stamp(NOW + 10), "end_time": stamp(NOW + 20)}
    found = answered(desk, asked(ROWS, interval=interval))

    assert {tuple(point.value.int64_value for point in one.points) for one in found} == {(2,)}
    interval = {"start_time": stamp(NOW + 30), "end_time": stamp(NOW + 60)}
    assert answered(desk, asked(ROWS, interval=interval)) == []


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_pages_of_points_together_are_the_whole(desk: Desk, size: int) -> None:
    pages = list(desk.client.list_time_series(request=asked(ROWS, page_size=size)).pages)

    counts = [sum(len(one.points) for one in page.time_series) for page in pages]
    assert sum(counts) == 18
    assert set(counts[:-1]) <= {size}
    assert len(pages) == -(-18 // size)
    whole = [
        (dict(one.metric.labels), dict(one.resource.labels), point.value.int64_value)
        for one in answered(desk, asked(ROWS))
        for point in one.points
    ]
    assert whole == [
        (dict(one.metric.labels), dict(one.resource.labels), point.value.int64_value)
        for page in pages
        for one in page.time_series
        for point in one.points
    ]


def test_pages_of_heads_are_counted_in_series(desk: Desk) -> None:
    request = asked(ROWS, view=HEADERS, page_size=4)
    pages = list(desk.client.list_time_series(request=request).pages)

    assert [len(page.time_series) for page in pages] == [4, 2]
    assert not any(one.points for page in pages for one in page.time_series)


@pytest.mark.parametrize("token", ["nonsense", "2.00000000", "x"])
def test_the_token_of_another_question_is_refused(desk: Desk, token: str) -> None:
    with pytest.raises(InvalidArgument, match="pageToken"):
        answered(desk, asked(ROWS, page_token=token))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"interval": {"end_time": stamp(NOW)}}, "startTime and endTime are required"),
        ({"interval": {"start_time": stamp(NOW)}}, "startTime and endTime are required"),
        (
            {"interval": {"start_time": stamp(NOW), "end_time": stamp(NOW)}},
            "startTime must be before endTime",
        ),
        ({"order_by": "time"}, "must be left blank"),
        ({"page_size": -1}, "pageSize"),
        ({"name": "test"}, "is not projects/"),
        ({"secondary_aggregation": {"group_by_fields": ["x"]}}, "fake: secondary aggregation"),
    ],
)
def test_other_fields_are_checked_too(desk: Desk, fields: Mapping[str, Any], reason: str) -> None:
    with pytest.raises(GoogleAPICallError, match=re.escape(reason)):
        answered(desk, asked(ROWS, **fields))
