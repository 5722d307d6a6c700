"""Run a target of a Grafana panel as its Cloud Monitoring data source does: checked, then asked.

A target it does not understand as a whole is refused: a key that is ignored is a mistake.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from google.cloud.monitoring_v3 import types as wire

from tests.fakes.monitoring.client import connected
from tests.fakes.monitoring.promql import answering_promql
from tests.fakes.monitoring.samples import stamp
from tests.fakes.monitoring.store import KINDS, VALUE_TYPES, Series
from tests.fakes.monitoring.values import Point, in_nanoseconds, read_point
from tests.servers.prometheus import Line, Prometheus

if TYPE_CHECKING:
    from tests.fakes.monitoring.server import MonitoringFake

SHORTEST_SECONDS = 60
_TARGET_KEYS = {"refId", "datasource", "queryType", "aliasBy", "hide", "intervalMs"}
_LIST_KEYS = {
    "projectName", "filters", "perSeriesAligner", "crossSeriesReducer", "groupBys",
    "alignmentPeriod", "view", "preprocessor",
}  # fmt: skip
_PROMQL_KEYS = {"projectName", "expr", "step"}


class TargetError(ValueError):
    """A panel's target that Grafana or Cloud Monitoring could not use."""


def grafana_query(
    fake: "MonitoringFake",
    target: Mapping[str, Any],
    begin: float,
    end: float,
    *,
    variables: Mapping[str, str] | None = None,
    interval_seconds: int = SHORTEST_SECONDS,
    prometheus: Prometheus | None = None,
) -> list[Series]:
    """Ask what a panel asks, from begin to end in seconds; points come newest first.

    `variables` are the dashboard's. A `prometheus` made by `answering_promql` saves the start of
    one for each promQL target.
    """
    known = {"__interval": f"{interval_seconds}s", "__rate_interval": f"{4 * interval_seconds}s"}
    filled = _filled(target, known | dict(variables or {}))
    kind = filled.get("queryType")
    if kind == "timeSeriesList":
        _check_keys(filled, _TARGET_KEYS | {"timeSeriesList"}, ("timeSeriesList",))
        return _list(fake.address, filled["timeSeriesList"], begin, end, interval_seconds)
    if kind == "promQL":
        _check_keys(filled, _TARGET_KEYS | {"promQLQuery"}, ("promQLQuery",))
        return _promql(fake, filled["promQLQuery"], (begin, end), interval_seconds, prometheus)
    raise TargetError(f"queryType {kind!r} is neither timeSeriesList nor promQL")


def _list(
    address: str, query: Mapping[str, Any], begin: float, end: float, interval_seconds: int
) -> list[Series]:
    _check_keys(query, _LIST_KEYS, ("projectName", "crossSeriesReducer", "filters"))
    if query.get("preprocessor", "none") != "none":
        raise TargetError("a preprocessor replaces the aligner: name the aligner instead")
    period = _period_seconds(query.get("alignmentPeriod", ""), interval_seconds)
    request = wire.ListTimeSeriesRequest(
        name=f"projects/{query['projectName']}",
        filter=filter_text(query["filters"]),
        interval={"start_time": stamp(begin), "end_time": stamp(end)},
        view=query.get("view", "FULL"),
        aggregation={
            "alignment_period": {"seconds": period},
            "per_series_aligner": query.get("perSeriesAligner", "ALIGN_MEAN"),
            "cross_series_reducer": query["crossSeriesReducer"],
            "group_by_fields": list(query.get("groupBys", ())),
        },
    )
    with connected(address) as client:
        return [read_series(series) for series in client.list_time_series(request=request)]


def filter_text(filters: Sequence[str]) -> str:
    """Join the flat list of a target: three parts a condition, then AND."""
    if len(filters) % 4 != 3 or any(joint != "AND" for joint in filters[3::4]):
        raise TargetError(f"filters are groups of three joined by AND, not {filters}")
    conditions = (filters[at : at + 3] for at in range(0, len(filters), 4))
    # Grafana joins them by a space, which means AND.
    return " ".join(_condition(*condition) for condition in conditions)


def _condition(key: str, operator: str, value: str) -> str:
    if operator in ("=~", "!=~"):
        return f'{key}{operator[:-1]}monitoring.regex.full_match("{value}")'
    if operator not in ("=", "!="):
        raise TargetError(f"operator {operator!r} of {key} is none of =, !=, =~, !=~")
    return f"{key}{operator}{_wildcards(value)}"


def _wildcards(value: str) -> str:
    """Write a value with stars as the function that Grafana makes of it."""
    inner = value.strip("*")
    if "*" not in value:
        return f'"{value}"'
    if "*" in inner:
        raise TargetError(f"{value!r}: a star stands at the begin or the end; or use =~")
    begins, ends = value.startswith("*"), value.endswith("*")
    function = "has_substring" if begins and ends else "ends_with" if begins else "starts_with"
    return f'{function}("{inner}")'


def read_series(series: wire.TimeSeries) -> Series:
    """Take an answered series from the wire."""
    message = wire.TimeSeries.pb(series)
    return Series(
        message.metric.type,
        dict(message.metric.labels),
        message.resource.type,
        dict(message.resource.labels),
        KINDS.Name(message.metric_kind),
        VALUE_TYPES.Name(message.value_type),
        [read_point(point) for point in message.points],
    )


def _promql(
    fake: "MonitoringFake",
    query: Mapping[str, Any],
    span: tuple[float, float],
    interval_seconds: int,
    prometheus: Prometheus | None,
) -> list[Series]:
    _check_keys(query, _PROMQL_KEYS, ("projectName", "expr"))
    step = _seconds(query.get("step") or f"{interval_seconds}s")
    if prometheus is not None:
        lines = prometheus.query_range(query["expr"], *span, step)
    else:
        with answering_promql(fake.held()) as started:
            lines = started.query_range(query["expr"], *span, step)
    return [_series(line) for line in lines]


def _series(line: Line) -> Series:
    labels = {name: value for name, value in line.labels.items() if name != "__name__"}
    name = line.labels.get("__name__", "")
    stamped = ((in_nanoseconds(at), value) for at, value in reversed(line.points))
    points = [Point(at_ns, at_ns, value) for at_ns, value in stamped]
    return Series(name, labels, "", {}, "GAUGE", "DOUBLE", points)


def _filled(given: Any, variables: Mapping[str, str]) -> Any:
    """Put variables in their places, at any depth."""
    match given:
        case str():
            return re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda found: _value(found, variables), given)
        case Mapping():
            # The data source's uid is Grafana's own business.
            return {key: _filled(given[key], variables) for key in given if key != "datasource"}
        case Sequence():
            return [_filled(each, variables) for each in given]
    return given


def _value(found: re.Match[str], variables: Mapping[str, str]) -> str:
    name = found[1] or found[2]
    if name not in variables:
        raise TargetError(f"variable ${name} has no value; known are {sorted(variables)}")
    return variables[name]


def _check_keys(given: Mapping[str, Any], known: set[str], needed: Sequence[str]) -> None:
    unknown = sorted(given.keys() - known)
    missing = [key for key in needed if not given.get(key)]
    if unknown or missing:
        raise TargetError(f"unknown keys {unknown}, missing keys {missing}")


def _period_seconds(text: str, interval_seconds: int) -> int:
    if text == "cloud-monitoring-auto":
        return max(SHORTEST_SECONDS, interval_seconds)
    match = re.fullmatch(r"\+(\d+)s", text)
    if match is None:
        raise TargetError(f"alignmentPeriod {text!r} is neither cloud-monitoring-auto nor +60s")
    return int(match[1])


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+)(s|m|h)?", text)
    if match is None:
        raise TargetError(f"step {text!r} is not a duration")
    return int(match[1]) * {"s": 1, "m": 60, "h": 3_600}[match[2] or "s"]
