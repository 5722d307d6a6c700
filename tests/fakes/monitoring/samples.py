"""Series as an exporter writes them, each with everything that may be set wrong."""

from collections.abc import Mapping, Sequence

from google.cloud.monitoring_v3 import types as wire

from tests.fakes.monitoring.protos import distribution_pb2, label_pb2, metric_pb2
from tests.fakes.monitoring.store import KINDS, VALUE_TYPES
from tests.fakes.monitoring.values import NS_PER_SECOND, in_nanoseconds

PROJECT = "test"
PREFIX = "custom.googleapis.com/quotewatch/"
TASK = {
    "project_id": PROJECT,
    "location": "europe-west1",
    "namespace": "quotewatch",
    "job": "write",
    "task_id": "instance-1",
}


def descriptor(
    name: str, kind: str = "GAUGE", value_type: str = "INT64", labels: Sequence[str] = ()
) -> metric_pb2.MetricDescriptor:
    """Declare a metric of ours, or of a full type."""
    return metric_pb2.MetricDescriptor(
        type=name if "/" in name else PREFIX + name,
        metric_kind=KINDS.Value(kind),
        value_type=VALUE_TYPES.Value(value_type),
        labels=[label_pb2.LabelDescriptor(key=key) for key in labels],
        unit="1",
    )


def series(
    name: str,
    value: float | distribution_pb2.Distribution,
    end: float,
    start: float | None = None,
    labels: Mapping[str, str] | None = None,
    resource: Mapping[str, str] = TASK,
    resource_type: str = "generic_task",
) -> wire.TimeSeries:
    """Make one series with one point, times in seconds."""
    return wire.TimeSeries(
        metric={"type": name if "/" in name else PREFIX + name, "labels": dict(labels or {})},
        resource={"type": resource_type, "labels": dict(resource)},
        points=[point(value, end, start)],
    )


def point(
    value: float | distribution_pb2.Distribution, end: float, start: float | None = None
) -> wire.Point:
    """Make one point; without a start, as a gauge's may be."""
    begins = {} if start is None else {"start_time": stamp(start)}
    return wire.Point(interval={"end_time": stamp(end), **begins}, value=_typed(value))


def request(*written: wire.TimeSeries, project: str = PROJECT) -> wire.CreateTimeSeriesRequest:
    """Make a request of some series."""
    return wire.CreateTimeSeriesRequest(name=f"projects/{project}", time_series=list(written))


def distribution(
    counts: Sequence[int],
    bounds: Sequence[float] = (1.0, 2.0, 4.0),
    mean: float = 0.0,
    squared_deviation: float = 0.0,
    count: int | None = None,
) -> distribution_pb2.Distribution:
    """Make a histogram, whose count may be wrong."""
    options = distribution_pb2.Distribution.BucketOptions
    return distribution_pb2.Distribution(
        count=sum(counts) if count is None else count,
        mean=mean,
        sum_of_squared_deviation=squared_deviation,
        bucket_options=options(explicit_buckets=options.Explicit(bounds=bounds)),
        bucket_counts=counts,
    )


def stamp(at: float) -> dict[str, int]:
    """Write a time as a Timestamp's fields."""
    seconds, nanos = divmod(in_nanoseconds(at), NS_PER_SECOND)
    return {"seconds": seconds, "nanos": nanos}


def _typed(value: float | distribution_pb2.Distribution) -> wire.TypedValue:
    match value:
        case bool():
            return wire.TypedValue(bool_value=value)
        case int():
            return wire.TypedValue(int64_value=value)
        case float():
            return wire.TypedValue(double_value=value)
    return wire.TypedValue(distribution_value=value)
