"""ListTimeSeries: a filter, an interval and an aggregation in, pages of series out.

Periods end where the interval ends and go back from there; a first one may begin before the
interval. The real one shows new points after some seconds or minutes, the fake at once.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from google.cloud.monitoring_v3 import types as wire

from tests.fakes.monitoring import aligning, reducing
from tests.fakes.monitoring.descriptors import project_of
from tests.fakes.monitoring.filters import Condition, parse
from tests.fakes.monitoring.pages import page_of, token_for
from tests.fakes.monitoring.protos import metric_pb2
from tests.fakes.monitoring.refusal import invalid, not_found, unknown_here
from tests.fakes.monitoring.rules import RESOURCES
from tests.fakes.monitoring.store import KINDS, VALUE_TYPES, Series, Store
from tests.fakes.monitoring.values import NS_PER_SECOND, Point, nanoseconds

PAGE_LIMIT = 100_000
SHORTEST_PERIOD_NS = 60 * NS_PER_SECOND
LONGEST_PERIOD_NS = 104 * 7 * 86_400 * NS_PER_SECOND

NO_ALIGNER, NO_REDUCER = "ALIGN_NONE", "REDUCE_NONE"

_Shape = tuple[str, str]  # kind and value type
_Labels = dict[str, set[str]]  # of metric and resource: the label keys there are


def list_time_series(
    store: Store, request: wire.ListTimeSeriesRequest
) -> wire.ListTimeSeriesResponse:
    """Answer one page."""
    if request.order_by:
        raise invalid("Field orderBy had an invalid value: it must be left blank.")
    if "secondary_aggregation" in request:
        raise unknown_here("secondary aggregation")
    project = project_of(request.name)
    begin_ns, end_ns = _interval(wire.ListTimeSeriesRequest.pb(request).interval)
    conditions = parse(request.filter)
    metric_type = _metric_type(conditions)
    series = store.of_type(metric_type, project)
    descriptor = store.descriptor(project, metric_type)
    if descriptor is None and not series:
        raise not_found(
            f'Cannot find metric(s) that match type = "{metric_type}". If a metric was created '
            "recently, it could take up to 10 minutes to become available."
        )
    declared = {label.key for label in descriptor.labels} if descriptor else set()
    labels = _known_labels(declared, series)
    _check_labels(conditions, labels)
    chosen = [each for each in series if all(_holds(each, one) for one in conditions)]
    _check_aggregation(request.aggregation, _shapes(descriptor, series))
    answered = _aggregated(chosen, request.aggregation, begin_ns, end_ns, labels)
    return _page(request, answered, descriptor.unit if descriptor else "")


def _interval(interval: Any) -> tuple[int, int]:
    if not (interval.HasField("start_time") and interval.HasField("end_time")):
        raise invalid("Field interval had an invalid value: startTime and endTime are required.")
    begin_ns, end_ns = nanoseconds(interval.start_time), nanoseconds(interval.end_time)
    if begin_ns >= end_ns:
        raise invalid("Field interval had an invalid value: startTime must be before endTime.")
    return begin_ns, end_ns


def _metric_type(conditions: Sequence[Condition]) -> str:
    types = [each for each in conditions if each.field == "metric.type"]
    if len(types) != 1 or not types[0].is_equality:
        raise invalid("Field filter had an invalid value: it must specify a single metric.type.")
    return types[0].arguments[0]


def _known_labels(declared: set[str], series: Iterable[Series]) -> _Labels:
    labels: _Labels = {"metric": set(declared), "resource": set().union(*RESOURCES.values())}
    for each in series:
        labels["metric"].update(each.labels)
        labels["resource"].update(each.resource_labels)
    return labels


def _check_labels(conditions: Iterable[Condition], labels: _Labels) -> None:
    # The real one's words. That it says so for any unknown label is assumed; a dashboard that
    # asks for a label that is not there is wrong in any case.
    for each in conditions:
        side = each.field.removesuffix(".label")
        if side in labels and each.label not in labels[side]:
            raise invalid(
                "The supplied filter does not specify a valid combination of metric and monitored "
                f"resource descriptors: there is no {side}.labels.{each.label}."
            )


def _holds(series: Series, condition: Condition) -> bool:
    actual = {
        "metric.type": series.metric_type,
        "resource.type": series.resource_type,
        "project": series.resource_labels.get("project_id", ""),
        "metric.label": series.labels.get(condition.label, ""),
        "resource.label": series.resource_labels.get(condition.label, ""),
    }
    return condition.holds(actual[condition.field])


def _shapes(
    descriptor: metric_pb2.MetricDescriptor | None, series: Iterable[Series]
) -> set[_Shape]:
    """Tell kind and value type of a metric, whether or not it has any series."""
    if descriptor is None:
        return {(each.kind, each.value_type) for each in series}
    return {(KINDS.Name(descriptor.metric_kind), VALUE_TYPES.Name(descriptor.value_type))}


def _check_aggregation(aggregation: wire.Aggregation, shapes: Iterable[_Shape]) -> None:
    aligner, reducer = _steps(aggregation)
    if aligner == NO_ALIGNER:
        if reducer != NO_REDUCER:
            raise invalid(f"{reducer} needs a perSeriesAligner other than {NO_ALIGNER}.")
        return
    for kind, value_type in shapes:
        made = aligning.check(aligner, kind, value_type)
        if reducer != NO_REDUCER:
            reducing.check(reducer, made)


def _steps(aggregation: wire.Aggregation) -> tuple[str, str]:
    aligner = wire.Aggregation.Aligner(aggregation.per_series_aligner)
    return aligner.name, wire.Aggregation.Reducer(aggregation.cross_series_reducer).name


def _aggregated(
    chosen: Sequence[Series],
    aggregation: wire.Aggregation,
    begin_ns: int,
    end_ns: int,
    labels: _Labels,
) -> list[Series]:
    aligner, reducer = _steps(aggregation)
    if aligner == NO_ALIGNER:
        return [_cut(series, begin_ns, end_ns) for series in chosen]
    period_ns = nanoseconds(wire.Aggregation.pb(aggregation).alignment_period)
    periods = _periods(begin_ns, end_ns, period_ns)
    aligned = [aligning.align(aligner, series, periods) for series in chosen]
    if reducer == NO_REDUCER:
        return aligned
    fields = [_group_field(text, labels) for text in aggregation.group_by_fields]
    return reducing.reduce_series(reducer, [each for each in aligned if each.points], fields)


def _cut(series: Series, begin_ns: int, end_ns: int) -> Series:
    """Keep the raw points of an interval, which holds its end and not its begin."""
    points = [point for point in series.points if begin_ns < point.end_ns <= end_ns]
    return replace(series, points=points)


def _periods(begin_ns: int, end_ns: int, period_ns: int) -> list[aligning.Period]:
    if not SHORTEST_PERIOD_NS <= period_ns <= LONGEST_PERIOD_NS:
        raise invalid(
            "Field aggregation.alignmentPeriod had an invalid value of "
            f"{period_ns / NS_PER_SECOND:g}s: it must be at least 60s and at most 104 weeks."
        )
    ends = range(end_ns, begin_ns, -period_ns)
    return [(end - period_ns, end) for end in reversed(ends)]


def _group_field(text: str, labels: _Labels) -> reducing.Field:
    match = re.fullmatch(r"(metric|resource)\.labels?\.(\w+)", text)
    # Whether the real one refuses a label that is not there is not documented.
    if match is None or match[2] not in labels[match[1]]:
        raise invalid(f"Field aggregation.groupByFields had an invalid value of {text!r}.")
    return match[1], match[2]


def _page(
    request: wire.ListTimeSeriesRequest, answered: Sequence[Series], unit: str
) -> wire.ListTimeSeriesResponse:
    """Answer a page of so many points, or of so many series where only heads are asked for."""
    page = page_of(request, PAGE_LIMIT)
    full = [series for series in answered if series.points]
    if request.view == wire.ListTimeSeriesRequest.TimeSeriesView.HEADERS:
        sent, length = [each.on_wire((), unit) for each in full[page]], len(full)
    else:
        flat = [(each, point) for each in full for point in reversed(each.points)]
        sent, length = list(_gathered(flat[page], unit)), len(flat)
    token = token_for(request, page.stop, length)
    return wire.ListTimeSeriesResponse(time_series=sent, next_page_token=token, unit=unit)


def _gathered(flat: Iterable[tuple[Series, Point]], unit: str) -> Iterable[wire.TimeSeries]:
    gathered: dict[int, tuple[Series, list[Point]]] = {}
    for series, point in flat:
        gathered.setdefault(id(series), (series, []))[1].append(point)
    for series, points in gathered.values():
        yield series.on_wire(points, unit)
