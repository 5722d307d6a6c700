"""Conditions of alerts in PromQL, made from the catalogue. Pure: names in, expressions out.

`${name}` is filled in where the alert is deployed: the environment and the thresholds. What the
catalogue does not declare raises MetricError.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from quotewatch.errors import MetricError
from quotewatch.metrics.catalogue import CATALOGUE
from quotewatch.metrics.metric import Kind, Metric
from quotewatch.observability.queries import RESOURCE, RESOURCE_LABELS, promql_name
from quotewatch.observability.thresholds import THRESHOLDS

MEMORY_MINUTES = 360  # how far back what was known counts

_PUBSUB = "pubsub_googleapis_com:subscription_"
_SUBSCRIPTION = "subscription_id"

Words = Sequence[str]


@dataclass(frozen=True)
class Series:
    """The series of one metric that an alert looks at."""

    selector: str
    kind: Kind
    labels: frozenset[str]

    def over(self, minutes: int, before: int = 0) -> str:
        """Return the points of so many minutes, up to now or to so many minutes before."""
        offset = f" offset {_span(before)}" if before else ""
        return f"{self.selector}[{_span(minutes)}]{offset}"

    def by(self, labels: Words) -> str:
        """Return the grouping of an aggregation: one result for each of these, or one in all."""
        stray = set(labels) - self.labels
        if stray:
            raise MetricError(f"{self.selector} has no label {', '.join(sorted(stray))}")
        return f" by ({', '.join(labels)})" if labels else ""


def series(name: str, *, owner: str = "", **where: Words | str) -> Series:
    """Name the series of a metric, of one process or of all; of a histogram its counts."""
    metric = _declared(name, owner)
    parts = [
        'environment="${environment}"',
        *([f'job="{owner}"'] if owner else ()),
        f'monitored_resource="{RESOURCE}"',
        *(_condition(metric, owner, label, values) for label, values in where.items()),
    ]
    suffix = "_count" if metric.kind == "histogram" else ""
    labels = {"environment", *metric.labels, *RESOURCE_LABELS}
    selector = f"{promql_name(name)}{suffix}{{{','.join(parts)}}}"
    return Series(selector, metric.kind, frozenset(labels))


def subscriptions(name: str, ids: str) -> Series:
    """Name the series Pub/Sub keeps of subscriptions, whose names match a regular expression."""
    return Series(
        f'{_PUBSUB}{name}{{monitored_resource="pubsub_subscription",{_SUBSCRIPTION}=~"{ids}"}}',
        "gauge",
        frozenset({_SUBSCRIPTION}),
    )


def grown(counted: Series, minutes: int, by: Words = (), before: int = 0) -> str:
    """Say that a counter went up, also where an instance lived for a single point.

    A rate needs two points of one instance, and a function's may live for one call; so it counts
    as well when a series stands higher than it did before, or is new and not zero.
    """
    _need(counted, "counter", "histogram")
    now = f"max_over_time({counted.over(minutes, before)})"
    earlier = f"max_over_time({counted.over(MEMORY_MINUTES, before + minutes)})"
    return _either(
        f"sum{counted.by(by)} (increase({counted.over(minutes, before)})) > 0",
        f"count{counted.by(by)} ({now} > ({earlier} or 0 * {now}))",
    )


def keeps_growing(counted: Series, minutes: int, by: Words = ()) -> str:
    """Say that a counter went up both lately and before that: once is no state."""
    now, earlier = grown(counted, minutes, by), grown(counted, minutes, by, minutes)
    return f"({now} and on ({', '.join(by)}) {earlier})"


def grown_without(bad: Series, good: Series, minutes: int, by: Words = ()) -> str:
    """Say that one counter went up while another one did not."""
    return f"({grown(bad, minutes, by)} unless on ({', '.join(by)}) {grown(good, minutes, by)})"


def older(stamp: Series, threshold: str, minutes: int) -> str:
    """Say that the newest of some stamps is old, or that there is none."""
    _need(stamp, "gauge")
    if THRESHOLDS[threshold].value > minutes * 60:
        raise MetricError(f"{threshold}: nothing older than {minutes} min is looked at")
    # The last of each process, not the highest: its clock may have been ahead for a while.
    newest = f"(max(last_over_time({stamp.over(minutes)})) or vector(0))"
    return f"(time() - {newest} > ${{{threshold}}})"


def absent(gauge: Series, minutes: int) -> str:
    """Say that nothing came, ever or lately."""
    return f"absent_over_time({gauge.over(minutes)})"


def present(gauge: Series, minutes: int) -> str:
    """Say that something came lately."""
    return f"count(max_over_time({gauge.over(minutes)}))"


def not_shrinking(
    gauge: Series, threshold: str, minutes: int, by: Words = (), *, of: str = "max"
) -> str:
    """Say that a gauge stays above a threshold and becomes no less.

    Compared are the lowest values of two spans, one after the other, both above the threshold: what
    jumps up and is then worked off is no standstill, and single values say little. Of several
    processes the highest counts, or where each lives for one call and they look at the same thing,
    the lowest (`of="min"`).
    """
    _need(gauge, "gauge")
    now = f"{of}{gauge.by(by)} (min_over_time({gauge.over(minutes)}))"
    before = f"{of}{gauge.by(by)} (min_over_time({gauge.over(minutes, minutes)}))"
    return f"({now} >= ({before} > ${{{threshold}}}))"


def newest(gauge: Series, success: Series, minutes: int) -> str:
    """Return a gauge as the instance left it that succeeded last: others' are out of date."""
    _need(gauge, "gauge")
    stamp = f"max_over_time({success.over(minutes)})"
    return (
        f"(last_over_time({gauge.over(minutes)})"
        f" and on (task_id) ({stamp} == scalar(max({stamp}))))"
    )


def _either(one: str, other: str) -> str:
    return f"({one} or {other})"


def _declared(name: str, owner: str) -> Metric:
    metric = CATALOGUE.get(name)
    if metric is None:
        raise MetricError(f"{name!r} is not in the catalogue; nothing of that name is exported")
    if metric.forensic:
        raise MetricError(f"{name} is forensic: it is looked at by hand, no alert rests on it")
    if owner and owner not in metric.owners:
        raise MetricError(f"{name} is recorded by {', '.join(metric.owners)}, not by {owner}")
    return metric


def _condition(metric: Metric, owner: str, label: str, asked: Words | str) -> str:
    values = (asked,) if isinstance(asked, str) else asked
    known = metric.owners[owner] if owner else metric.values
    if label not in known:
        raise MetricError(f"{metric.name} has no label {label!r} with known values")
    strange = sorted(set(values) - known[label])
    if strange or not values:
        raise MetricError(f"{metric.name}: {label} never says {strange or 'nothing'}")
    sign = "=" if len(values) == 1 else "=~"
    return f'{label}{sign}"{"|".join(values)}"'


def _need(given: Series, *kinds: Kind) -> None:
    if given.kind not in kinds:
        raise MetricError(f"{given.selector} is a {given.kind}; {' or '.join(kinds)} is needed")


def _span(minutes: int) -> str:
    return f"{minutes}m" if minutes % 60 else f"{minutes // 60}h"
