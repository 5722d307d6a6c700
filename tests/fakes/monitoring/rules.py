"""What CreateTimeSeries refuses: one function a rule, the first broken one is the reason.

Certain, since the API's reference or its own error messages say so: 200 series, one point, no
duplicates, 25 hours and 5 minutes, intervals by kind, order, 5 seconds, histograms that add up,
the limits of labels and buckets, matching kinds. Ours: that descriptors must exist, that every
label is sent, that a cumulative value does not go down, that bounds stay; and the words.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.cloud.monitoring_v3 import types as wire

from tests.fakes.monitoring import histograms, history
from tests.fakes.monitoring.descriptors import LABEL_LIMIT, PREFIX
from tests.fakes.monitoring.protos import metric_pb2
from tests.fakes.monitoring.refusal import invalid
from tests.fakes.monitoring.store import KINDS, VALUE_TYPES, Series
from tests.fakes.monitoring.values import NS_PER_SECOND, Point, nanoseconds, read_point

SERIES_LIMIT = 200
VALUE_CHARACTERS = 1024
PAST_NS = 25 * 3_600 * NS_PER_SECOND
FUTURE_NS = 300 * NS_PER_SECOND
# The resource types that may be written, with their labels; cloud_run_revision is none of them.
RESOURCES = {
    "generic_task": ("project_id", "location", "namespace", "job", "task_id"),
    "generic_node": ("project_id", "location", "namespace", "node_id"),
    "global": ("project_id",),
}


@dataclass(frozen=True, slots=True)
class Writing:
    """One series of a request beside what is known of it."""

    series: Any  # a protobuf TimeSeries
    project: str
    descriptor: metric_pb2.MetricDescriptor | None
    held: Series | None
    now_ns: int

    @property
    def kind(self) -> str:
        return KINDS.Name(self.descriptor.metric_kind) if self.descriptor else ""

    @property
    def value_type(self) -> str:
        return VALUE_TYPES.Name(self.descriptor.value_type) if self.descriptor else ""

    @property
    def sent(self) -> Any:
        return self.series.points[0]

    @property
    def point(self) -> Point:
        return read_point(self.sent)


def check_request(request: wire.CreateTimeSeriesRequest) -> None:
    """Refuse a request as a whole."""
    count = len(request.time_series)
    if not 0 < count <= SERIES_LIMIT:
        raise invalid(
            f"Field timeSeries had an invalid value: {count} TimeSeries; a request has at least 1 "
            f"and at most {SERIES_LIMIT}."
        )


def check_series(writing: Writing) -> None:
    """Refuse one series of a request."""
    for check in _CHECKS:
        check(writing)


def _one_point(writing: Writing) -> None:
    if len(writing.series.points) != 1:
        raise invalid("Field points had an invalid value: exactly one point is written at a time.")


def _metric_type(writing: Writing) -> None:
    if not writing.series.metric.type.startswith(PREFIX):
        raise invalid(f"Field metric.type had an invalid value: it must begin with {PREFIX}.")


def _descriptor_exists(writing: Writing) -> None:
    # The real one would create it from the point. Descriptors are Terraform's here, and one made
    # by accident would have no unit and no description.
    if writing.descriptor is None:
        raise invalid("The metric has no descriptor (it would be created; that is not allowed).")


def _kind(writing: Writing) -> None:
    # Both fields may be left off: the reference calls them optional.
    kind, value_type = writing.series.metric_kind, writing.series.value_type
    if kind and KINDS.Name(kind) != writing.kind:
        raise invalid(f"Field metricKind had an invalid value: the descriptor says {writing.kind}.")
    if value_type and VALUE_TYPES.Name(value_type) != writing.value_type:
        raise invalid(
            f"Field valueType had an invalid value: the descriptor says {writing.value_type}."
        )


def _value_type(writing: Writing) -> None:
    given = writing.sent.value.WhichOneof("value")
    if given != f"{writing.value_type.lower()}_value":
        raise invalid(
            f"Field points[0].value had an invalid value: {given}, but the descriptor says "
            f"{writing.value_type}."
        )


def _labels(writing: Writing) -> None:
    labels = writing.series.metric.labels
    if len(labels) > LABEL_LIMIT:
        raise invalid(f"Field metric.labels had an invalid value: more than {LABEL_LIMIT} labels.")
    declared = {label.key for label in writing.descriptor.labels} if writing.descriptor else set()
    unknown = sorted(labels.keys() - declared)
    if unknown:
        raise invalid(f"Field metric.labels had an invalid value: unrecognized labels {unknown}.")
    # The real one reads a missing label as "". Our exporter sends all of them.
    missing = sorted(declared - labels.keys())
    if missing:
        raise invalid(f"Field metric.labels had an invalid value: labels {missing} are missing.")


def _label_values(writing: Writing) -> None:
    for key, value in (*writing.series.metric.labels.items(), *_resource_labels(writing)):
        if len(value) > VALUE_CHARACTERS:
            raise invalid(f"The value of label {key} has more than {VALUE_CHARACTERS} characters.")


def _resource(writing: Writing) -> None:
    resource = writing.series.resource
    wanted = RESOURCES.get(resource.type)
    if wanted is None:
        raise invalid(
            f"Field resource.type had an invalid value of {resource.type!r}: "
            "metrics cannot be written to it."
        )
    if resource.labels.keys() != set(wanted):
        raise invalid(f"Field resource.labels had an invalid value: {resource.type} has {wanted}.")
    if resource.type == "generic_task" and not all(resource.labels.values()):
        empty = sorted(key for key, value in _resource_labels(writing) if not value)
        raise invalid(f"Field resource.labels had an invalid value: {empty} are empty.")
    if resource.labels["project_id"] != writing.project:
        raise invalid("Field resource.labels had an invalid value: project_id is another project.")


def _time(writing: Writing) -> None:
    if not writing.sent.interval.HasField("end_time"):
        raise invalid("Field points[0].interval.endTime is required.")
    age_ns = writing.now_ns - nanoseconds(writing.sent.interval.end_time)
    if age_ns > PAST_NS:
        raise invalid("Data points cannot be written more than 25h in the past.")
    if age_ns < -FUTURE_NS:
        raise invalid("Data points cannot be written more than 5 minutes in the future.")


def _interval(writing: Writing) -> None:
    point = writing.point
    if writing.kind == "GAUGE" and point.start_ns != point.end_ns:
        raise invalid("The start time and end time must be the same for GAUGE metrics.")
    if writing.kind == "CUMULATIVE" and not writing.sent.interval.HasField("start_time"):
        raise invalid("The start time is required for CUMULATIVE metrics.")
    if writing.kind == "CUMULATIVE" and point.start_ns >= point.end_ns:
        raise invalid("The start time must be before the end time for CUMULATIVE metrics.")


def _value(writing: Writing) -> None:
    sent = writing.sent.value
    if writing.value_type == "DISTRIBUTION":
        histograms.check(sent.distribution_value)
    elif writing.value_type == "DOUBLE" and not math.isfinite(sent.double_value):
        raise invalid(f"Field points[0].value had an invalid value of {sent.double_value}.")


def _history(writing: Writing) -> None:
    if writing.held is not None:
        history.check(writing.kind, writing.held.newest, writing.point)


def _resource_labels(writing: Writing) -> list[tuple[str, str]]:
    return list(writing.series.resource.labels.items())


_CHECKS: tuple[Callable[[Writing], None], ...] = (
    _one_point,
    _metric_type,
    _descriptor_exists,
    _kind,
    _value_type,
    _labels,
    _resource,
    _label_values,
    _time,
    _interval,
    _value,
    _history,
)
