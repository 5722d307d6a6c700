"""What the fake holds: descriptors by project and type, and series with their points in order."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from google.cloud.monitoring_v3 import types as wire

from tests.fakes.monitoring.protos import json_format, metric_pb2
from tests.fakes.monitoring.values import Distribution, Point, wire_point

Key = tuple[str, frozenset[tuple[str, str]], str, frozenset[tuple[str, str]]]

KINDS = metric_pb2.MetricDescriptor.MetricKind
VALUE_TYPES = metric_pb2.MetricDescriptor.ValueType


@dataclass(frozen=True, slots=True)
class Series:
    """One time series: what identifies it, what its values are, its points."""

    metric_type: str
    labels: Mapping[str, str]
    resource_type: str
    resource_labels: Mapping[str, str]
    kind: str
    value_type: str
    points: list[Point] = field(default_factory=list)

    @property
    def key(self) -> Key:
        labels, resource = frozenset(self.labels.items()), frozenset(self.resource_labels.items())
        return self.metric_type, labels, self.resource_type, resource

    @property
    def newest(self) -> Point:
        return max(self.points, key=attrgetter("end_ns"))

    def on_wire(self, points: Sequence[Point], unit: str = "") -> wire.TimeSeries:
        """Say it as the API does; points in the order given."""
        sent = wire.TimeSeries(
            metric={"type": self.metric_type, "labels": dict(self.labels)},
            resource={"type": self.resource_type, "labels": dict(self.resource_labels)},
            metric_kind=KINDS.Value(self.kind),
            value_type=VALUE_TYPES.Value(self.value_type),
            unit=unit,
        )
        wire.TimeSeries.pb(sent).points.extend(wire_point(p, self.value_type) for p in points)
        return sent


def key_on_wire(series: Any) -> Key:
    """Tell which series a written one is."""
    metric, resource = series.metric, series.resource
    labels, resource_labels = frozenset(metric.labels.items()), frozenset(resource.labels.items())
    return metric.type, labels, resource.type, resource_labels


class Store:
    """Everything that was accepted."""

    def __init__(self) -> None:
        self.descriptors: dict[tuple[str, str], metric_pb2.MetricDescriptor] = {}
        self.series: dict[Key, Series] = {}

    def descriptor(self, project: str, metric_type: str) -> metric_pb2.MetricDescriptor | None:
        """Find a descriptor."""
        return self.descriptors.get((project, metric_type))

    def add(self, series: Series) -> None:
        """Add points to a series, which may be new."""
        held = self.series.setdefault(series.key, replace(series, points=[]))
        held.points.extend(series.points)
        held.points.sort(key=attrgetter("end_ns"))

    def copy(self) -> list[Series]:
        """Copy all series, which may get more points meanwhile."""
        return [_copied(series) for series in self.series.values()]

    def of_type(self, metric_type: str, project: str | None = None) -> list[Series]:
        """Copy the series of one metric, in all projects or in one."""
        return [
            _copied(series)
            for series in self.series.values()
            if series.metric_type == metric_type
            and project in (None, series.resource_labels.get("project_id"))
        ]

    def dump(self) -> Iterator[str]:
        """Write everything down, a line of JSON each."""
        for (project, _), descriptor in self.descriptors.items():
            told = json_format.MessageToDict(descriptor, preserving_proto_field_name=True)
            yield json.dumps({"project": project, "descriptor": told})
        for series in self.series.values():
            yield json.dumps({"series": asdict(series)})

    def load(self, line: Mapping[str, Any]) -> None:
        """Take one line of what was written down."""
        if "descriptor" in line:
            read = json_format.ParseDict(line["descriptor"], metric_pb2.MetricDescriptor())
            self.descriptors[line["project"], read.type] = read
        elif "series" in line:
            points = [_point(**point) for point in line["series"]["points"]]
            self.add(Series(**{**line["series"], "points": points}))


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Read a file of JSON lines."""
    with path.open() as lines:
        yield from map(json.loads, lines)


def _copied(series: Series) -> Series:
    return replace(series, points=list(series.points))


def _point(start_ns: int, end_ns: int, value: Any) -> Point:
    if isinstance(value, dict):
        bounds, counts = tuple(value["bounds"]), tuple(value["counts"])
        value = Distribution(bounds, counts, value["total"], value["squares"])
    return Point(start_ns, end_ns, value)
