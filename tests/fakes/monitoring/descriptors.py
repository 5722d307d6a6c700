"""What a metric descriptor may be, and the four calls on descriptors.

The limits are those of the quotas page: 30 labels, keys of 100 characters, types of 200. Words
and codes are ours where no comment says otherwise.
"""

import re

import grpc  # type: ignore[import-untyped]  # grpcio carries no types
from google.cloud.monitoring_v3 import types as wire

from tests.fakes.monitoring.filters import parse
from tests.fakes.monitoring.pages import page_of, token_for
from tests.fakes.monitoring.protos import label_pb2, metric_pb2
from tests.fakes.monitoring.refusal import RefusedError, invalid, not_found
from tests.fakes.monitoring.store import KINDS, VALUE_TYPES, Store

PREFIX = "custom.googleapis.com/"
DESCRIPTOR_LIMIT = 10_000
LABEL_LIMIT = 30
LABEL_KEY_CHARACTERS = 100
TYPE_CHARACTERS = 200
PAGE_LIMIT = 10_000
VALUE_TYPES_ALLOWED = {
    # STRING and MONEY exist, but not for custom metrics.
    "GAUGE": ("BOOL", "INT64", "DOUBLE", "DISTRIBUTION"),
    "CUMULATIVE": ("INT64", "DOUBLE", "DISTRIBUTION"),
}


def project_of(name: str) -> str:
    """Take the project from "projects/x"."""
    match = re.fullmatch(r"projects/([a-z0-9:.-]+)", name)
    if match is None:
        raise invalid(f"Field name had an invalid value: {name!r} is not projects/[PROJECT_ID].")
    return match[1]


def create(
    store: Store, request: wire.CreateMetricDescriptorRequest
) -> metric_pb2.MetricDescriptor:
    """Create a descriptor, or change the texts of one or add labels to it."""
    project = project_of(request.name)
    given = metric_pb2.MetricDescriptor()
    given.CopyFrom(request.metric_descriptor)
    check(given)
    held = store.descriptor(project, given.type)
    if held is not None:
        check_change(held, given)
    elif sum(owner == project for owner, _ in store.descriptors) >= DESCRIPTOR_LIMIT:
        raise RefusedError(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"Project {project} has {DESCRIPTOR_LIMIT} custom metric descriptors already.",
        )
    given.name = f"projects/{project}/metricDescriptors/{given.type}"
    store.descriptors[project, given.type] = given
    return given


def check(given: metric_pb2.MetricDescriptor) -> None:
    """Refuse a descriptor that the API would not take."""
    if not re.fullmatch(re.escape(PREFIX) + r"[A-Za-z][\w./-]*", given.type):
        raise invalid(f"Metric type {given.type!r} does not begin with {PREFIX}[name].")
    if len(given.type) > TYPE_CHARACTERS:
        raise invalid(f"Metric type {given.type!r} has more than {TYPE_CHARACTERS} characters.")
    kind, value_type = KINDS.Name(given.metric_kind), VALUE_TYPES.Name(given.value_type)
    # The API's reference: "for custom metrics, DELTA is not supported".
    if value_type not in VALUE_TYPES_ALLOWED.get(kind, ()):
        raise invalid(f"{given.type}: kind {kind} with value type {value_type} is not supported.")
    check_labels(given)


def check_labels(given: metric_pb2.MetricDescriptor) -> None:
    """Refuse label keys that the API would not take."""
    keys = [label.key for label in given.labels]
    if len(keys) > LABEL_LIMIT:
        raise invalid(f"{given.type}: {len(keys)} labels, the limit is {LABEL_LIMIT}.")
    if len(set(keys)) < len(keys):
        raise invalid(f"{given.type}: a label is declared twice: {keys}.")
    for key in keys:
        if not re.fullmatch(r"[a-z][a-zA-Z0-9_]*", key) or len(key) > LABEL_KEY_CHARACTERS:
            raise invalid(f"{given.type}: label key {key!r} must be ^[a-z][a-zA-Z0-9_]*$.")


def check_change(held: metric_pb2.MetricDescriptor, given: metric_pb2.MetricDescriptor) -> None:
    """Refuse another kind or value type, and labels that are changed or gone.

    The real one keeps a label that is left off ("metric labels are never removed"). Refusing it
    shows what would stay behind unseen.
    """
    if (held.metric_kind, held.value_type) != (given.metric_kind, given.value_type):
        raise invalid(f"{given.type}: metric kind and value type cannot be changed; delete first.")
    changed = _typed_labels(held).items() - _typed_labels(given).items()
    if changed:
        keys = sorted(key for key, _ in changed)
        raise invalid(f"{given.type}: labels {keys} cannot be removed or changed; delete first.")


def get(store: Store, request: wire.GetMetricDescriptorRequest) -> metric_pb2.MetricDescriptor:
    """Answer one descriptor."""
    return store.descriptors[_existing(store, request.name)]


def delete(store: Store, request: wire.DeleteMetricDescriptorRequest) -> None:
    """Delete a custom descriptor; its data is gone with it."""
    project, metric_type = _existing(store, request.name)
    for series in store.of_type(metric_type, project):
        del store.series[series.key]
    del store.descriptors[project, metric_type]


def list_all(
    store: Store, request: wire.ListMetricDescriptorsRequest
) -> wire.ListMetricDescriptorsResponse:
    """Answer a page of the descriptors that a filter lets through."""
    project = project_of(request.name)
    conditions = parse(request.filter)
    for condition in conditions:
        if condition.field != "metric.type" or condition.negated:
            raise invalid(f"Field filter: descriptors are filtered by metric.type: {condition}")
    found = [
        store.descriptors[owner, metric_type]
        for owner, metric_type in sorted(store.descriptors)
        if owner == project and all(each.holds(metric_type) for each in conditions)
    ]
    page = page_of(request, limit=PAGE_LIMIT)
    return wire.ListMetricDescriptorsResponse(
        metric_descriptors=found[page], next_page_token=token_for(request, page.stop, len(found))
    )


def _existing(store: Store, name: str) -> tuple[str, str]:
    match = re.fullmatch(r"projects/([^/]+)/metricDescriptors/(.+)", name)
    if match is None:
        raise invalid(f"Field name had an invalid value: {name!r}.")
    key = match[1], match[2]
    if key not in store.descriptors:
        raise not_found(f"Could not find descriptor for metric '{match[2]}'.")
    return key


def _typed_labels(
    descriptor: metric_pb2.MetricDescriptor,
) -> dict[str, label_pb2.LabelDescriptor.ValueType]:
    return {label.key: label.value_type for label in descriptor.labels}
