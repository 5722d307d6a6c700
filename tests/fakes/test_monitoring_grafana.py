"""A Grafana panel's targets, asked of the fake; PromQL by a real Prometheus over what it holds."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from google.api_core.exceptions import NotFound

from tests.fakes.monitoring import Series, grafana_query
from tests.fakes.monitoring.desk import NOW, Desk, five_minutes, open_desk
from tests.fakes.monitoring.grafana import TargetError, filter_text
from tests.fakes.monitoring.samples import PREFIX
from tests.fakes.monitoring.values import in_nanoseconds

BACKLOG = "pubsub.googleapis.com/subscription/num_undelivered_messages"
ROWS, TOOK = "custom_googleapis_com:quotewatch_rows", "custom_googleapis_com:quotewatch_took"
QUEUE = "custom_googleapis_com:quotewatch_queue"
TARGET = {
    "refId": "A",
    "datasource": {"type": "stackdriver", "uid": "${datasource}"},
    "queryType": "timeSeriesList",
    "aliasBy": "{{metric.label.table}}",
}
QUERY = {
    "projectName": "$project",
    "filters": ["metric.type", "=", f"{PREFIX}rows", "AND", "resource.type", "=", "generic_task"],
    "perSeriesAligner": "ALIGN_RATE",
    "crossSeriesReducer": "REDUCE_SUM",
    "groupBys": ["metric.label.table"],
    "alignmentPeriod": "cloud-monitoring-auto",
    "view": "FULL",
}


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    with open_desk() as desk:
        five_minutes(desk)
        yield desk


def asked(desk: Desk, **changes: Any) -> list[Series]:
    given = {key: value for key, value in (QUERY | changes).items() if value is not None}
    target = {**TARGET, "timeSeriesList": given}
    return grafana_query(desk.fake, target, NOW, NOW + 300, variables={"project": "test"})


def values(found: Series) -> list[Any]:
    return [point.value for point in reversed(found.points)]


def test_a_target_is_asked_as_a_panel_asks(desk: Desk) -> None:
    bars, trades = sorted(asked(desk), key=lambda one: one.labels["table"])

    assert (bars.labels["table"], trades.labels["table"]) == ("bars", "trades")
    assert values(trades) == pytest.approx([1.0] * 5)
    # 2 by one task and 60 by the other, through its reset.
    assert values(bars) == pytest.approx([62.0] * 5)
    assert trades.points[0].end_ns == in_nanoseconds(NOW + 300)


def test_a_quantile_is_taken_over_the_growth_of_a_histogram(desk: Desk) -> None:
    filters = ["metric.type", "=", f"{PREFIX}took"]
    found = asked(
        desk,
        filters=filters,
        perSeriesAligner="ALIGN_DELTA",
        crossSeriesReducer="REDUCE_PERCENTILE_95",
        groupBys=[],
        alignmentPeriod="+150s",
    )

    assert [values(one) for one in found] == [pytest.approx([3.75, 3.75])]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"projectName": None}, "missing keys ['projectName']"),
        ({"projectName": ""}, "missing keys ['projectName']"),
        ({"crossSeriesReducer": None}, "missing keys ['crossSeriesReducer']"),
        ({"filters": []}, "missing keys ['filters']"),
        ({"filters": ["metric.type", "="]}, "groups of three"),
        ({"filters": ["metric.type", "=", "x", "OR", "a", "=", "b"]}, "joined by AND"),
        ({"filters": ["metric.type", ">", "x"]}, "operator '>'"),
        ({"filters": ["metric.type", "=", "a*b"]}, "a star stands at"),
        ({"groupBy": ["x"]}, "unknown keys ['groupBy']"),
        ({"preprocessor": "rate"}, "replaces the aligner"),
        ({"alignmentPeriod": "60s"}, "neither cloud-monitoring-auto nor"),
        ({"alignmentPeriod": None}, "neither cloud-monitoring-auto nor"),
        ({"projectName": "$projekt"}, "variable $projekt has no value"),
    ],
)
def test_a_target_that_grafana_could_not_use_is_refused(
    desk: Desk, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(TargetError, match=re.escape(reason)):
        asked(desk, **changes)


def test_a_target_of_another_kind_is_refused(desk: Desk) -> None:
    with pytest.raises(TargetError, match="queryType 'slo'"):
        grafana_query(desk.fake, TARGET | {"queryType": "slo"}, NOW, NOW + 300)


def test_what_monitoring_refuses_fails_the_target(desk: Desk) -> None:
    with pytest.raises(NotFound):
        asked(desk, filters=["metric.type", "=", f"{PREFIX}row"])


@pytest.mark.parametrize(
    ("operator", "value", "text"),
    [
        ("=", "bars", '="bars"'),
        ("!=", "bars", '!="bars"'),
        ("=~", "b.*", '=monitoring.regex.full_match("b.*")'),
        ("!=~", "b.*", '!=monitoring.regex.full_match("b.*")'),
        ("=", "b*", '=starts_with("b")'),
        ("=", "*rs", '=ends_with("rs")'),
        ("!=", "*ar*", '!=has_substring("ar")'),
    ],
)
def test_filters_are_written_as_grafana_writes_them(operator: str, value: str, text: str) -> None:
    first = ["metric.type", "=", "x", "AND"]

    assert filter_text([*first, "metric.label.table", operator, value]) == (
        f'metric.type="x" metric.label.table{text}'
    )


def promql(desk: Desk, expression: str, **fields: Any) -> list[Series]:
    query = {"projectName": "$project", "expr": expression, **fields}
    target = {"queryType": "promQL", "promQLQuery": query}
    return grafana_query(desk.fake, target, NOW, NOW + 300, variables={"project": "test"})


def test_a_promql_target_is_asked_of_a_real_prometheus(desk: Desk) -> None:
    (found,) = promql(desk, f'sum by (table) (rate({ROWS}{{table="trades"}}[2m]))', step="1m")

    assert found.labels == {"table": "trades"}
    assert values(found)[1:] == pytest.approx([1.0] * 4)
    assert found.points[0].end_ns == in_nanoseconds(NOW + 300)


def test_grafanas_own_intervals_are_filled_in(desk: Desk) -> None:
    expression = f'increase({ROWS}{{table="trades"}}[$__rate_interval])'
    (found,) = promql(desk, expression, step="$__interval")

    assert found.points[0].value == pytest.approx(240)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"projectName": ""}, "missing keys ['projectName']"),
        ({"step": "soon"}, "not a duration"),
        ({"stepp": "1m"}, "unknown keys ['stepp']"),
    ],
)
def test_a_promql_target_that_grafana_could_not_use_is_refused(
    desk: Desk, fields: dict[str, str], reason: str
) -> None:
    with pytest.raises(TargetError, match=re.escape(reason)):
        promql(desk, ROWS, **fields)
