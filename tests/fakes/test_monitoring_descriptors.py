"""Metric descriptors in the fake: what may be declared, changed, listed and deleted."""

import re
from collections.abc import Iterator

import pytest
from google.api_core.exceptions import InvalidArgument, NotFound, ResourceExhausted
from google.cloud.monitoring_v3 import types as wire

from tests.fakes.monitoring.desk import NOW, Desk, open_desk
from tests.fakes.monitoring.protos import metric_pb2
from tests.fakes.monitoring.samples import PREFIX, descriptor, series

PROJECT = "projects/test"
WHERE = f"{PROJECT}/metricDescriptors/"
GOOD = [
    descriptor("a", "GAUGE", "BOOL"),
    descriptor("a", "GAUGE", "DISTRIBUTION"),
    descriptor("a", "CUMULATIVE", "INT64"),
    descriptor("a", "CUMULATIVE", "DOUBLE"),
    descriptor("a", "CUMULATIVE", "DISTRIBUTION"),
    descriptor("a", labels=[f"label{at}" for at in range(30)]),
    descriptor("a", labels=["camelCase_1"]),
]
BAD = {
    "foreign": (descriptor("pubsub.googleapis.com/x"), "does not begin with custom"),
    "nameless": (descriptor("custom.googleapis.com/"), "does not begin with custom"),
    "long": (descriptor("x" * 200), "more than 200 characters"),
    "delta": (descriptor("a", "DELTA"), "DELTA with value type INT64 is not supported"),
    "no kind": (descriptor("a", "METRIC_KIND_UNSPECIFIED"), "is not supported"),
    "text": (descriptor("a", "GAUGE", "STRING"), "STRING is not supported"),
    "counted bools": (descriptor("a", "CUMULATIVE", "BOOL"), "CUMULATIVE with value type BOOL"),
    "31 labels": (descriptor("a", labels=[f"x{at}" for at in range(31)]), "the limit is 30"),
    "label twice": (descriptor("a", labels=["x", "x"]), "declared twice"),
    "capital": (descriptor("a", labels=["Table"]), "label key 'Table'"),
    "digit first": (descriptor("a", labels=["1st"]), "label key '1st'"),
    "dash": (descriptor("a", labels=["by-table"]), "label key 'by-table'"),
    "long label": (descriptor("a", labels=["x" * 101]), "label key"),
}


@pytest.fixture
def desk() -> Iterator[Desk]:
    with open_desk() as desk:
        yield desk


def create(desk: Desk, given: metric_pb2.MetricDescriptor) -> metric_pb2.MetricDescriptor:
    return desk.client.create_metric_descriptor(name=PROJECT, metric_descriptor=given)


def listed(desk: Desk, filter_text: str, page_size: int = 0) -> list[str]:
    request = wire.ListMetricDescriptorsRequest(
        name=PROJECT, filter=filter_text, page_size=page_size
    )
    return [found.type for found in desk.client.list_metric_descriptors(request=request)]


@pytest.mark.parametrize("given", GOOD)
def test_what_the_rules_allow_is_created(desk: Desk, given: metric_pb2.MetricDescriptor) -> None:
    created = create(desk, given)

    assert created.name == WHERE + given.type
    assert desk.client.get_metric_descriptor(name=created.name) == created


@pytest.mark.parametrize(("given", "reason"), BAD.values(), ids=BAD)
def test_what_the_rules_forbid_is_refused(
    desk: Desk, given: metric_pb2.MetricDescriptor, reason: str
) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(reason)):
        create(desk, given)
    assert listed(desk, "") == []


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (descriptor("a", "CUMULATIVE", "INT64", ["x"]), "kind and value type cannot be changed"),
        (descriptor("a", "GAUGE", "DOUBLE", ["x"]), "kind and value type cannot be changed"),
        (descriptor("a", "GAUGE", "INT64", ["y"]), r"labels ['x'] cannot be removed"),
    ],
)
def test_what_would_lose_data_is_refused(
    desk: Desk, changed: metric_pb2.MetricDescriptor, reason: str
) -> None:
    create(desk, descriptor("a", "GAUGE", "INT64", ["x"]))

    with pytest.raises(InvalidArgument, match=re.escape(reason)):
        create(desk, changed)


def test_the_same_again_changes_the_texts(desk: Desk) -> None:
    create(desk, descriptor("a", labels=["x"]))
    again = descriptor("a", labels=["x", "y"])
    again.description = "What it means."
    create(desk, again)

    found = desk.client.get_metric_descriptor(name=WHERE + PREFIX + "a")
    assert found.description == "What it means."
    assert [label.key for label in found.labels] == ["x", "y"]


def test_there_is_room_for_ten_thousand(desk: Desk) -> None:
    for number in range(10_000):
        desk.fake.store.descriptors["test", f"{PREFIX}x{number}"] = metric_pb2.MetricDescriptor()

    with pytest.raises(ResourceExhausted, match="10000"):
        create(desk, descriptor("one_more"))
    desk.client.create_metric_descriptor(
        name="projects/another", metric_descriptor=descriptor("one_more")
    )


@pytest.mark.parametrize(
    ("filter_text", "found"),
    [
        ("", ["a", "ab", "b"]),
        (f'metric.type = starts_with("{PREFIX}a")', ["a", "ab"]),
        (f'metric.type = "{PREFIX}a"', ["a"]),
        (f'metric.type = "{PREFIX}c"', []),
    ],
)
def test_descriptors_are_listed_by_type(desk: Desk, filter_text: str, found: list[str]) -> None:
    for name in ("b", "a", "ab"):
        create(desk, descriptor(name))

    assert listed(desk, filter_text) == [PREFIX + name for name in found]
    assert listed(desk, filter_text, page_size=1) == [PREFIX + name for name in found]


def test_descriptors_are_not_listed_by_anything_else(desk: Desk) -> None:
    with pytest.raises(InvalidArgument, match=re.escape("filtered by metric.type")):
        listed(desk, 'resource.type = "global"')


def test_what_does_not_exist_is_not_found(desk: Desk) -> None:
    with pytest.raises(NotFound, match="Could not find descriptor"):
        desk.client.get_metric_descriptor(name=WHERE + PREFIX + "a")
    with pytest.raises(NotFound, match="Could not find descriptor"):
        desk.client.delete_metric_descriptor(name=WHERE + PREFIX + "a")


def test_a_name_that_is_none_is_refused(desk: Desk) -> None:
    with pytest.raises(InvalidArgument, match="Field name had an invalid value"):
        desk.client.get_metric_descriptor(name=PREFIX + "a")


def test_a_deleted_descriptor_takes_its_data_along(desk: Desk) -> None:
    create(desk, descriptor("a"))
    desk.write(series("a", 1, NOW))
    desk.client.delete_metric_descriptor(name=WHERE + PREFIX + "a")

    assert desk.fake.series("a") == []
    assert "has no descriptor" in desk.why_refused(series("a", 1, NOW + 10))
