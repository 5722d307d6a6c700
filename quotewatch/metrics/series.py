"""Samples as Cloud Monitoring's series, and the catalogue as its descriptors. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from google.api.distribution_pb2 import Distribution  # type: ignore[import-untyped]
from google.api.label_pb2 import LabelDescriptor  # type: ignore[import-untyped]
from google.api.metric_pb2 import (  # type: ignore[import-untyped]
    Metric as WireMetric,
)
from google.api.metric_pb2 import (
    MetricDescriptor,
)
from google.api.monitored_resource_pb2 import MonitoredResource  # type: ignore[import-untyped]
from google.cloud.monitoring_v3 import Point, TimeInterval, TimeSeries, TypedValue
from google.protobuf.timestamp_pb2 import Timestamp  # type: ignore[import-untyped]

from quotewatch.clock import NS_PER_SECOND
from quotewatch.metrics.metric import Metric
from quotewatch.metrics.recorder import Sample
from quotewatch.metrics.tally import Tally

PREFIX = "custom.googleapis.com/quotewatch/"

_VALUE_TYPES = {
    "counter": MetricDescriptor.ValueType.INT64,
    "gauge": MetricDescriptor.ValueType.DOUBLE,
    "histogram": MetricDescriptor.ValueType.DISTRIBUTION,
}


@dataclass(frozen=True)
class Period:
    """Since when counts are counted, and the moment they are read. Seconds since 1970."""

    started: float
    ended: float


def type_of(name: str) -> str:
    """Return the name that Cloud Monitoring knows a metric by."""
    return PREFIX + name


def series_of(sample: Sample, resource: Mapping[str, str], period: Period) -> TimeSeries | None:
    """Return a sample as a series with one point; None where it is no number."""
    metric = sample.metric
    value = _value(metric, sample.value)
    if value is None:
        return None
    interval = TimeInterval(end_time=_timestamp(period.ended))
    if metric.kind != "gauge":
        interval.start_time = _timestamp(period.started)
    return TimeSeries(
        metric=WireMetric(type=type_of(metric.name), labels=dict(sample.labels)),
        resource=MonitoredResource(type="generic_task", labels=dict(resource)),
        metric_kind=_kind(metric),
        value_type=_VALUE_TYPES[metric.kind],
        points=[Point(interval=interval, value=value)],
    )


def descriptor_of(metric: Metric) -> MetricDescriptor:
    """Return what Cloud Monitoring is told about a metric before its first point."""
    labels = ("environment", *metric.labels)
    return MetricDescriptor(
        type=type_of(metric.name),
        metric_kind=_kind(metric),
        value_type=_VALUE_TYPES[metric.kind],
        unit=metric.unit,
        description=metric.meaning,
        display_name=metric.name,
        labels=[
            LabelDescriptor(key=label, value_type=LabelDescriptor.ValueType.STRING)
            for label in labels
        ],
    )


def agrees(there: MetricDescriptor, wanted: MetricDescriptor) -> bool:
    """Say whether points of ours fit a descriptor that exists."""
    return (there.metric_kind, there.value_type, _keys(there)) == (
        wanted.metric_kind, wanted.value_type, _keys(wanted),
    )  # fmt: skip


def _keys(descriptor: MetricDescriptor) -> set[str]:
    return {label.key for label in descriptor.labels}


def _kind(metric: Metric) -> MetricDescriptor.MetricKind.ValueType:
    kinds = MetricDescriptor.MetricKind
    return kinds.GAUGE if metric.kind == "gauge" else kinds.CUMULATIVE


def _value(metric: Metric, value: float | Tally) -> TypedValue | None:
    if isinstance(value, Tally):
        return TypedValue(distribution_value=_distribution(value))
    if not math.isfinite(value):
        return None
    if metric.kind == "counter":
        return TypedValue(int64_value=round(value))
    return TypedValue(double_value=value)


def _distribution(tally: Tally) -> Distribution:
    """Tell the tally; how far values are from their mean is not known, and left at 0."""
    explicit = Distribution.BucketOptions.Explicit(bounds=tally.bounds)
    return Distribution(
        count=tally.count,
        mean=tally.sum / tally.count if tally.count else 0.0,
        bucket_options=Distribution.BucketOptions(explicit_buckets=explicit),
        bucket_counts=tally.counts,
    )


def _timestamp(seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromNanoseconds(round(seconds * NS_PER_SECOND))
    return stamp
