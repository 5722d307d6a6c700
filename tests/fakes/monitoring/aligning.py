"""Aligners: what becomes of one series when its points are brought to one for each period.

Which aligner suits which kind and value type is the API's reference, and it means it: on
CUMULATIVE distributions it refuses even ALIGN_PERCENTILE_99. They take ALIGN_DELTA and a reducer.
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial, reduce
from statistics import fmean
from typing import cast

from tests.fakes.monitoring.flows import Flow, added, subtracted
from tests.fakes.monitoring.percentiles import PERCENTS, of_distribution
from tests.fakes.monitoring.refusal import invalid, unknown_here
from tests.fakes.monitoring.store import Series
from tests.fakes.monitoring.values import NS_PER_SECOND, Distribution, Point, Value

NUMBERS = frozenset({"INT64", "DOUBLE"})
ADDABLE = NUMBERS | {"DISTRIBUTION"}
UNKNOWN_HERE = (
    "ALIGN_INTERPOLATE", "ALIGN_STDDEV", "ALIGN_COUNT_TRUE", "ALIGN_COUNT_FALSE",
    "ALIGN_FRACTION_TRUE", "ALIGN_PERCENT_CHANGE",
)  # fmt: skip

Period = tuple[int, int]  # without its begin, with its end
Picked = Callable[[list[Value]], Value | None]


@dataclass(frozen=True, slots=True)
class Aligner:
    """What an aligner takes, makes and does; "" keeps what came in."""

    kinds: frozenset[str]
    value_types: frozenset[str]
    align: Callable[[Series, list[Period]], list[Point]]
    kind: str = ""
    value_type: str = ""


def check(name: str, kind: str, value_type: str) -> str:
    """Refuse an aligner that does not suit a metric; answer the value type that it makes."""
    if name in UNKNOWN_HERE:
        raise unknown_here(f"aligner {name}")
    aligner = ALIGNERS[name]
    if kind not in aligner.kinds or value_type not in aligner.value_types:
        raise invalid(
            f'Field aggregation.perSeriesAligner had an invalid value of "{name}": The aligner '
            f"cannot be applied to metrics with kind {kind} and value type {value_type}."
        )
    return aligner.value_type or value_type


def align(name: str, series: Series, periods: list[Period]) -> Series:
    """Bring a series to one point for each period that it knows of."""
    aligner = ALIGNERS[name]
    kind, value_type = aligner.kind or series.kind, aligner.value_type or series.value_type
    points = aligner.align(series, periods)
    if kind == "GAUGE":
        points = [replace(point, start_ns=point.end_ns) for point in points]
    return replace(series, kind=kind, value_type=value_type, points=points)


def _deltas(series: Series, periods: list[Period]) -> list[Point]:
    flow = Flow(series)
    return [
        Point(begin, end, _grown(flow, begin, end, series.value_type))
        for begin, end in periods
        if flow.covers(begin, end)
    ]


def _grown(flow: Flow, begin_ns: int, end_ns: int, value_type: str) -> Value:
    # Rounded at the boundaries, not between: so whole numbers add up over all periods.
    return subtracted(
        _settled(flow.total(end_ns), value_type), _settled(flow.total(begin_ns), value_type)
    )


def _settled(total: Value, value_type: str) -> Value:
    if isinstance(total, Distribution):
        return total.rounded()
    return round(total) if value_type == "INT64" else total


def _rates(series: Series, periods: list[Period]) -> list[Point]:
    flow = Flow(series)
    points = []
    for begin, end in periods:
        if flow.covers(begin, end):
            grown = cast("float", subtracted(flow.total(end), flow.total(begin)))
            points.append(Point(begin, end, grown * NS_PER_SECOND / (end - begin)))
    return points


def _picked(pick: Picked, series: Series, periods: list[Period]) -> list[Point]:
    ends = [point.end_ns for point in series.points]
    points = []
    for begin, end in periods:
        within = series.points[bisect_right(ends, begin) : bisect_right(ends, end)]
        value = pick([point.value for point in within]) if within else None
        if value is not None:
            points.append(Point(begin, end, value))
    return points


def _sum(values: list[Value]) -> Value:
    return reduce(added, values)


def _percentile(percent: float, values: list[Value]) -> Value | None:
    return of_distribution(cast("Distribution", _sum(values)), percent)


_COUNTED = frozenset({"CUMULATIVE", "DELTA"})
_MEASURED = frozenset({"GAUGE", "DELTA"})
_GAUGE = frozenset({"GAUGE"})


def _measure(pick: object, value_type: str = "", types: frozenset[str] = NUMBERS) -> Aligner:
    kind = "GAUGE" if value_type else ""
    return Aligner(_MEASURED, types, partial(_picked, cast("Picked", pick)), kind, value_type)


ALIGNERS: dict[str, Aligner] = {
    "ALIGN_DELTA": Aligner(_COUNTED, ADDABLE, _deltas, kind="DELTA"),
    "ALIGN_RATE": Aligner(_COUNTED, NUMBERS, _rates, kind="GAUGE", value_type="DOUBLE"),
    "ALIGN_MEAN": _measure(fmean, "DOUBLE"),
    "ALIGN_MAX": _measure(max),
    "ALIGN_MIN": _measure(min),
    "ALIGN_SUM": _measure(_sum, types=ADDABLE),
    "ALIGN_COUNT": _measure(len, "INT64", NUMBERS | {"BOOL"}),
    "ALIGN_NEXT_OLDER": Aligner(
        _GAUGE, ADDABLE | {"BOOL"}, partial(_picked, lambda values: values[-1])
    ),
} | {
    f"ALIGN_PERCENTILE_{name}": _measure(
        partial(_percentile, percent), "DOUBLE", frozenset({"DISTRIBUTION"})
    )
    for name, percent in PERCENTS.items()
}
