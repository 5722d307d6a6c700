"""Questions to Cloud Monitoring as Grafana's panels ask them; the catalogue says which make sense.

Catalogue in, the query part of a panel's target out. Pure. What the catalogue does not declare, or
what would be no number (the rate of a gauge), raises MetricError.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quotewatch.errors import MetricError
from quotewatch.metrics.catalogue import CATALOGUE
from quotewatch.metrics.metric import OTHER, PRODUCT, Metric
from quotewatch.metrics.series import PREFIX, type_of

RESOURCE = "generic_task"
RESOURCE_LABELS = ("job", "task_id")
ENVIRONMENT = "environment"
PERCENTS = (50, 95, 99)

# What Cloud Monitoring allows for what we export, less what would say nothing. A CUMULATIVE
# distribution has no percentiles before it is a delta.
_ALIGNERS: Mapping[str, Sequence[str]] = {
    "counter": ("ALIGN_RATE", "ALIGN_DELTA"),
    "gauge": ("ALIGN_MEAN", "ALIGN_MIN", "ALIGN_MAX"),
    "histogram": ("ALIGN_DELTA",),
}
_REDUCERS: Mapping[str, Sequence[str]] = {
    "counter": ("REDUCE_SUM",),
    "gauge": ("REDUCE_SUM", "REDUCE_MEAN", "REDUCE_MIN", "REDUCE_MAX"),
    "histogram": ("REDUCE_SUM", *(f"REDUCE_PERCENTILE_{percent}" for percent in PERCENTS)),
}
_NAMED = re.compile(r"\{(\w+)\}")

Where = Mapping[str, Sequence[str]]  # label -> the values that count


@dataclass(frozen=True)
class Query:
    """One question of a panel; `legend` names its lines where the question itself cannot."""

    body: Mapping[str, Any]
    legend: str = ""


def rate(name: str, *by: str, legend: str = "", where: Where | None = None) -> Query:
    """Ask for a counter per second."""
    return listed(name, "ALIGN_RATE", "REDUCE_SUM", by, legend, where)


def increase(name: str, *by: str, legend: str = "", where: Where | None = None) -> Query:
    """Ask by how much a counter grew in each period."""
    return listed(name, "ALIGN_DELTA", "REDUCE_SUM", by, legend, where)


def lowest(name: str, *by: str, legend: str = "") -> Query:
    """Ask for the lowest that a gauge stood at, of all processes."""
    return listed(name, "ALIGN_MIN", "REDUCE_MIN", by, legend)


def highest(name: str, *by: str, legend: str = "") -> Query:
    """Ask for the highest that a gauge stood at, of all processes."""
    return listed(name, "ALIGN_MAX", "REDUCE_MAX", by, legend)


def total(name: str, *by: str, legend: str = "") -> Query:
    """Ask for a gauge, added up over processes."""
    return listed(name, "ALIGN_MEAN", "REDUCE_SUM", by, legend)


def percentile(name: str, percent: int, *by: str) -> Query:
    """Ask below which value that many in a hundred lie."""
    legend = " ".join([f"p{percent}", *(f"{{{label}}}" for label in by)])
    return listed(name, "ALIGN_DELTA", f"REDUCE_PERCENTILE_{percent}", by, legend)


def buckets(name: str) -> Query:
    """Ask for a histogram as it is, one line a bucket: for heatmaps."""
    query = listed(name, "ALIGN_DELTA", "REDUCE_SUM")
    if CATALOGUE[name].kind != "histogram":
        raise MetricError(f"{name} is a {CATALOGUE[name].kind} and has no buckets")
    return Query({**query.body, "aliasBy": "{{bucket}}"})


def listed(
    name: str,
    aligner: str,
    reducer: str,
    by: Sequence[str] = (),
    legend: str = "",
    where: Where | None = None,
) -> Query:
    """Ask by aligner and reducer, the way Cloud Monitoring itself puts it."""
    metric = _declared(name)
    _check_one_of(metric, "aligner", aligner, _ALIGNERS[metric.kind])
    _check_one_of(metric, "reducer", reducer, _REDUCERS[metric.kind])
    paths = [_path(metric, label) for label in by]
    template = legend or " ".join(f"{{{label}}}" for label in by)
    conditions = _conditions(metric, where or {})
    return Query({
        "aliasBy": _filled(template, by, lambda label: f"{{{{{_path(metric, label)}}}}}"),
        "queryType": "timeSeriesList",
        "timeSeriesList": {
            "alignmentPeriod": "cloud-monitoring-auto",
            "crossSeriesReducer": reducer,
            "filters": [part for each in conditions for part in ("AND", *each)][1:],
            "groupBys": paths,
            "perSeriesAligner": aligner,
            "projectName": "$project",
            "view": "FULL",
        },
    })  # fmt: skip


def age(name: str, *by: str, within: str, legend: str = "", where: Where | None = None) -> Query:
    """Ask how long ago a stamp was, at the moment of asking: the dead grow old, too.

    A process that told nothing for longer than `within` is no longer among the answers.
    """
    stamp = f"last_over_time({_selector(name, 'gauge', where=where)}[{within}])"
    return promql(f"clamp_min(time() - max{_grouping(name, by)} ({stamp}), 0)", by, legend)


def age_of_set(name: str, *, within: str, legend: str) -> Query:
    """Ask for the age of a stamp that is 0 while there is nothing to tell the age of."""
    newest = f"max (last_over_time({_selector(name, 'gauge')}[{within}]))"
    return promql(f"clamp_min(time() - ({newest} > 0), 0)", (), legend)


def fullness(size: str, capacity: str, *, legend: str) -> Query:
    """Ask how full the fullest buffer is, in percent."""
    used, bound = _selector(size, "gauge"), _selector(capacity, "gauge")
    return promql(f"100 * max ({used} / {bound})", (), legend)


def work(name: str, *by: str, over: str = "5m") -> Query:
    """Ask for the seconds of work in each second: the sum of a histogram, as a rate."""
    selector = _selector(name, "histogram", "_sum")
    return promql(f"sum{_grouping(name, by)} (rate({selector}[{over}]))", by)


def growth(name: str, *by: str, over: str = "5m") -> Query:
    """Ask how fast a gauge grows each second."""
    return promql(f"max{_grouping(name, by)} (deriv({_selector(name, 'gauge')}[{over}]))", by)


def promql(expression: str, by: Sequence[str] = (), legend: str = "") -> Query:
    """Ask in PromQL: for arithmetic between metrics, and for ages."""
    template = legend or " ".join(f"{{{label}}}" for label in by)
    asked = {"expr": expression, "projectName": "$project", "step": "$__interval"}
    filled = _filled(template, by, lambda label: f"${{__field.labels.{label}}}")
    return Query({"promQLQuery": asked, "queryType": "promQL"}, filled)


def promql_name(name: str) -> str:
    """Return the name that PromQL knows a metric by."""
    domain, _, path = type_of(name).partition("/")
    return ":".join(re.sub(r"\W", "_", part) for part in (domain, path))


def metrics_of(body: Mapping[str, Any]) -> set[str]:
    """Read from a target which metrics of ours it asks for; unknown ones as they are written."""
    if "promQLQuery" not in body:
        filters = body["timeSeriesList"]["filters"]
        return {filters[at + 2].removeprefix(PREFIX) for at in _types_at(filters)}
    written = re.findall(rf"{promql_name('')}(\w+)", body["promQLQuery"]["expr"])
    return {_without_suffix(name) for name in written}


def _types_at(filters: Sequence[str]) -> list[int]:
    return [at for at in range(0, len(filters), 4) if filters[at] == "metric.type"]


def _without_suffix(name: str) -> str:
    bare = re.sub(r"_(bucket|count|sum)$", "", name)
    return bare if bare in CATALOGUE and CATALOGUE[bare].kind == "histogram" else name


def _declared(name: str) -> Metric:
    found = CATALOGUE.get(name)
    if found is None:
        raise MetricError(f"{name!r} is not in the catalogue; nothing of that name is exported")
    if found.forensic:
        raise MetricError(f"{name} is forensic: it is looked at by hand, not on a dashboard")
    return found


def _check_one_of(metric: Metric, what: str, given: str, allowed: Sequence[str]) -> None:
    if given not in allowed:
        wanted = ", ".join(allowed)
        raise MetricError(f"{metric.name} is a {metric.kind}: no {what} {given}; use {wanted}")


def _path(metric: Metric, label: str) -> str:
    if label in RESOURCE_LABELS:
        return f"resource.label.{label}"
    if label not in metric.labels:
        known = ", ".join((*metric.labels, *RESOURCE_LABELS))
        raise MetricError(f"{metric.name} has no label {label!r}; it has {known}")
    return f"metric.label.{label}"


def _conditions(metric: Metric, where: Where) -> list[tuple[str, str, str]]:
    return [
        ("metric.type", "=", type_of(metric.name)),
        ("resource.type", "=", RESOURCE),
        *((f"metric.label.{label}", "=~", f"${label}") for label in _chosen(metric)),
        *(_condition(metric, label, values) for label, values in sorted(where.items())),
    ]


def _chosen(metric: Metric) -> list[str]:
    """Return the labels that the dashboard's variables choose; each holds a regular expression."""
    return [ENVIRONMENT, *([PRODUCT] if metric.per_product else [])]


def _condition(metric: Metric, label: str, values: Sequence[str]) -> tuple[str, str, str]:
    path = _path(metric, label)
    unknown = sorted(set(values) - metric.values.get(label, frozenset()) - {OTHER})
    if unknown or not values:
        raise MetricError(f"{metric.name}: {label} never says {unknown or 'nothing'}")
    if len(values) == 1:
        return path, "=", values[0]
    return path, "=~", f"({'|'.join(sorted(values))})"


def _selector(name: str, kind: str, suffix: str = "", where: Where | None = None) -> str:
    metric = _declared(name)
    if metric.kind != kind:
        raise MetricError(f"{name} is a {metric.kind}, and a {kind} is needed here")
    chosen = [f'{label}=~"${label}"' for label in _chosen(metric)]
    asked = [_matcher(metric, label, values) for label, values in sorted((where or {}).items())]
    inner = ",".join([*chosen, *asked, f'monitored_resource="{RESOURCE}"'])
    return f"{promql_name(name)}{suffix}{{{inner}}}"


def _matcher(metric: Metric, label: str, values: Sequence[str]) -> str:
    _, operator, text = _condition(metric, label, values)
    return f'{label}{operator}"{text}"'


def _grouping(name: str, by: Sequence[str]) -> str:
    for label in by:
        _path(_declared(name), label)
    return f" by ({', '.join(by)})" if by else ""


def _filled(template: str, by: Sequence[str], written: Callable[[str], str]) -> str:
    """Put labels into a legend the way the question's language spells them."""
    stray = set(_NAMED.findall(template)) - set(by)
    if stray:
        raise MetricError(f"legend {template!r}: the lines do not differ by {sorted(stray)}")
    return _NAMED.sub(lambda found: written(found[1]), template)
