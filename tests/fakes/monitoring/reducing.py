"""Reducers: what becomes of many aligned series when groups of them are made one."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from statistics import fmean
from typing import cast

from tests.fakes.monitoring.aligning import ADDABLE, NUMBERS
from tests.fakes.monitoring.flows import added
from tests.fakes.monitoring.percentiles import PERCENTS, of_distribution, of_numbers
from tests.fakes.monitoring.refusal import invalid, unknown_here
from tests.fakes.monitoring.store import Series
from tests.fakes.monitoring.values import Distribution, Point, Value

UNKNOWN_HERE = (
    "REDUCE_STDDEV", "REDUCE_COUNT_TRUE", "REDUCE_COUNT_FALSE", "REDUCE_FRACTION_TRUE",
)  # fmt: skip

Field = tuple[str, str]  # "metric" or "resource", and the label
Group = tuple[str, tuple[tuple[Field, str], ...]]


@dataclass(frozen=True, slots=True)
class Reducer:
    """What a reducer takes, makes and does; "" keeps the value type and the kind."""

    value_types: frozenset[str]
    combine: Callable[[list[Value]], Value | None]
    value_type: str = ""


def check(name: str, value_type: str) -> None:
    """Refuse a reducer that does not suit what was aligned."""
    if name in UNKNOWN_HERE:
        raise unknown_here(f"reducer {name}")
    if value_type not in REDUCERS[name].value_types:
        raise invalid(
            f'Field aggregation.crossSeriesReducer had an invalid value of "{name}": The reducer '
            f"cannot be applied to value type {value_type}."
        )


def reduce_series(name: str, aligned: Iterable[Series], fields: Sequence[Field]) -> list[Series]:
    """Make one series of each group; resources of different types never share one."""
    groups: dict[Group, list[Series]] = {}
    for series in aligned:
        groups.setdefault(_group(series, fields), []).append(series)
    return [_reduced(name, group, members) for group, members in groups.items()]


def _group(series: Series, fields: Sequence[Field]) -> Group:
    labels = {"metric": series.labels, "resource": series.resource_labels}
    kept = {field: labels[field[0]].get(field[1], "") for field in fields}
    return series.resource_type, tuple(kept.items())


def _reduced(name: str, group: Group, members: Sequence[Series]) -> Series:
    reducer, first = REDUCERS[name], members[0]
    resource_type, fields = group
    kept = {"metric": dict[str, str](), "resource": _project(first)}
    for (side, label), value in fields:
        kept[side][label] = value
    return Series(
        first.metric_type,
        kept["metric"],
        resource_type,
        kept["resource"],
        "GAUGE" if reducer.value_type else first.kind,
        reducer.value_type or first.value_type,
        list(_points(reducer, members)),
    )


def _project(series: Series) -> dict[str, str]:
    """Keep the project, which the real one always answers."""
    return {key: value for key, value in series.resource_labels.items() if key == "project_id"}


def _points(reducer: Reducer, members: Sequence[Series]) -> Iterable[Point]:
    values: dict[tuple[int, int], list[Value]] = {}
    for series in members:
        for point in series.points:
            values.setdefault((point.start_ns, point.end_ns), []).append(point.value)
    for (start_ns, end_ns), together in sorted(values.items()):
        combined = reducer.combine(together)
        if combined is not None:
            yield Point(end_ns if reducer.value_type else start_ns, end_ns, combined)


def _sum(values: list[Value]) -> Value:
    return reduce(added, values)


def _mean(values: list[Value]) -> Value:
    if isinstance(values[0], Distribution):
        return cast("Distribution", _sum(values)).mean
    return fmean(cast("list[float]", values))


def _percentile(percent: float, values: list[Value]) -> Value | None:
    if isinstance(values[0], Distribution):
        return of_distribution(cast("Distribution", _sum(values)), percent)
    return of_numbers(cast("list[float]", values), percent)


REDUCERS: dict[str, Reducer] = {
    "REDUCE_SUM": Reducer(ADDABLE, _sum),
    "REDUCE_MEAN": Reducer(ADDABLE, _mean, "DOUBLE"),
    "REDUCE_MAX": Reducer(NUMBERS, lambda values: max(cast("list[float]", values))),
    "REDUCE_MIN": Reducer(NUMBERS, lambda values: min(cast("list[float]", values))),
    "REDUCE_COUNT": Reducer(ADDABLE | {"BOOL"}, len, "INT64"),
} | {
    f"REDUCE_PERCENTILE_{name}": Reducer(ADDABLE, partial(_percentile, percent), "DOUBLE")
    for name, percent in PERCENTS.items()
}
