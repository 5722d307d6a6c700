"""What the fake holds, for PromQL: OpenMetrics with times, and a real Prometheus over it.

Cloud Monitoring's names: the first slash of a type becomes a colon, whatever else is no letter
or digit an underscore; labels are those of metric and resource, and `monitored_resource`.
"""

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

from tests.fakes.monitoring.flows import added
from tests.fakes.monitoring.store import Series
from tests.fakes.monitoring.values import NS_PER_SECOND, Distribution, Point, Value
from tests.servers.prometheus import Prometheus, create_blocks, running_prometheus

NS_PER_MILLISECOND = NS_PER_SECOND // 1_000

Sample = tuple[int, float]  # time in ms and value
Labels = Mapping[str, str]


@contextmanager
def answering_promql(held: Iterable[Series]) -> Iterator[Prometheus]:
    """Run Prometheus over the series that a fake held."""
    with tempfile.TemporaryDirectory(prefix="quotewatch-promql-") as name:
        home = Path(name)
        create_blocks(open_metrics(held), home)
        with running_prometheus(home) as prometheus:
            yield prometheus


def prometheus_name(metric_type: str) -> str:
    """Name a metric type as PromQL does."""
    domain, _, path = metric_type.partition("/")
    return ":".join(re.sub(r"[^a-zA-Z0-9_]", "_", part) for part in (domain, path))


def open_metrics(held: Iterable[Series]) -> str:
    """Write all points down, series by series, in order of time."""
    lines = [line for series in held for line in _lines(series)]
    return "".join(f"{line}\n" for line in (*lines, "# EOF"))


def labels_of(series: Series) -> dict[str, str]:
    """Join the labels of metric and resource, as Cloud Monitoring documents it."""
    resource = dict(series.resource_labels)
    metric = {
        f"metric_{key}" if key in resource else key: value for key, value in series.labels.items()
    }
    return {**resource, **metric, "monitored_resource": series.resource_type}


def _lines(series: Series) -> Iterator[str]:
    name, labels = prometheus_name(series.metric_type), labels_of(series)
    points = list(_with_resets(series))
    if series.value_type != "DISTRIBUTION":
        yield from _samples(name, labels, [(at, float(_number(value))) for at, value in points])
        return
    histograms = [(at, value) for at, value in points if isinstance(value, Distribution)]
    yield from _samples(f"{name}_count", labels, [(at, held.count) for at, held in histograms])
    yield from _samples(f"{name}_sum", labels, [(at, held.total) for at, held in histograms])
    running = [(at, tuple(accumulate(held.counts))) for at, held in histograms]
    for bucket, bound in enumerate((*_bounds(histograms), "+Inf")):
        samples = [(at, counts[bucket]) for at, counts in running]
        yield from _samples(f"{name}_bucket", {**labels, "le": bound}, samples)


def _samples(name: str, labels: Labels, samples: Iterable[Sample]) -> Iterator[str]:
    inner = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items())
    for at_ms, value in samples:
        yield f"{name}{{{inner}}} {value!r} {at_ms / 1_000:.3f}"


def _with_resets(series: Series) -> Iterator[tuple[int, Value]]:
    """Give what Prometheus should see: a 0 where the new start time alone tells of a reset."""
    last: Point | None = None
    for point in _running(series):
        began_anew = last is not None and point.start_ns > last.end_ns
        if series.kind == "CUMULATIVE" and began_anew:
            yield point.start_ns // NS_PER_MILLISECOND, _nothing(point.value)
        yield point.end_ns // NS_PER_MILLISECOND, point.value
        last = point


def _running(series: Series) -> Iterator[Point]:
    """Count a DELTA up: PromQL knows counters only."""
    if series.kind != "DELTA":
        yield from series.points
        return
    totals = accumulate((point.value for point in series.points), added)
    for point, total in zip(series.points, totals, strict=True):
        yield Point(point.start_ns, point.end_ns, total)


def _nothing(value: Value) -> Value:
    return value.scaled(0) if isinstance(value, Distribution) else 0


def _number(value: Value) -> float:
    if isinstance(value, Distribution):
        raise TypeError("a histogram is not one number")
    return value


def _bounds(histograms: list[tuple[int, Distribution]]) -> tuple[str, ...]:
    bounds = histograms[0][1].bounds if histograms else ()
    return tuple(repr(bound).removesuffix(".0") for bound in bounds)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
