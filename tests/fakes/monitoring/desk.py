"""A fake, the real client and a clock that stands still, for tests."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from google.api_core.exceptions import GoogleAPICallError
from google.cloud.monitoring_v3 import MetricServiceClient
from google.cloud.monitoring_v3 import types as wire

from tests.fakes.monitoring import samples
from tests.fakes.monitoring.client import connected
from tests.fakes.monitoring.grafana import read_series
from tests.fakes.monitoring.server import MonitoringFake
from tests.fakes.monitoring.store import Series
from tests.fakes.monitoring.values import NS_PER_SECOND, Point, Value, in_nanoseconds

NOW = 1_700_000_040.0  # a whole minute
METRIC = f"{samples.PREFIX}x"
BACKLOG = "pubsub.googleapis.com/subscription/num_undelivered_messages"


@dataclass(slots=True)
class Desk:
    """What a test has at hand."""

    fake: MonitoringFake
    client: MetricServiceClient
    now: float = NOW

    def declare(
        self, name: str, kind: str = "GAUGE", value_type: str = "INT64", labels: Sequence[str] = ()
    ) -> None:
        """Create a descriptor."""
        given = samples.descriptor(name, kind, value_type, labels)
        self.client.create_metric_descriptor(
            name=f"projects/{samples.PROJECT}", metric_descriptor=given
        )

    def write(self, *written: wire.TimeSeries) -> None:
        """Write series in one request."""
        self.client.create_time_series(request=samples.request(*written))

    def why_refused(self, *written: wire.TimeSeries) -> str:
        """Write series; answer why that failed, or nothing."""
        try:
            self.write(*written)
        except GoogleAPICallError as error:
            return str(error.message)
        return ""

    def hold(
        self, kind: str, value_type: str, points: Sequence[Any], task: str = "one", **labels: str
    ) -> None:
        """Put points of METRIC there: (end, value) or (start, end, value), in seconds after NOW."""
        resource = {**samples.TASK, "task_id": task}
        later = [_later(*point) for point in points]
        self.fake.put(METRIC, labels, "generic_task", resource, kind, value_type, later)

    def aggregated(
        self,
        aligner: str,
        reducer: str = "REDUCE_NONE",
        groups: Sequence[str] = (),
        period: float = 60,
    ) -> list[Series]:
        """Ask for METRIC in the three minutes after NOW."""
        request = {
            "name": f"projects/{samples.PROJECT}",
            "filter": f'metric.type="{METRIC}"',
            "interval": {"start_time": samples.stamp(NOW), "end_time": samples.stamp(NOW + 180)},
            "aggregation": {
                "alignment_period": samples.stamp(period),
                "per_series_aligner": aligner,
                "cross_series_reducer": reducer,
                "group_by_fields": list(groups),
            },
        }
        return [read_series(one) for one in self.client.list_time_series(request=request)]


def course(series: Series) -> dict[float, Value]:
    """Say what a series was, by seconds after NOW."""
    zero = in_nanoseconds(NOW)
    return {(one.end_ns - zero) / NS_PER_SECOND: one.value for one in reversed(series.points)}


@contextmanager
def open_desk() -> Iterator[Desk]:
    """Start a fake and connect to it."""
    fake = MonitoringFake(lambda: desk.now)
    with fake, connected(fake.address) as client:
        desk = Desk(fake, client)
        yield desk


def five_minutes(desk: Desk) -> None:
    """Write two tables by two tasks, one of which begins anew after two minutes; and a backlog."""
    desk.declare("rows", "CUMULATIVE", "INT64", ["table"])
    desk.declare("took", "CUMULATIVE", "DISTRIBUTION")
    desk.declare("queue", "GAUGE", "INT64", ["job"])
    for step in range(1, 31):
        desk.now = NOW + 10 * step
        desk.write(*_step(step, desk.now))
    labels = {"project_id": samples.PROJECT, "subscription_id": "write"}
    points = [(NOW + 60 * minute, minute) for minute in range(6)]
    desk.fake.put(BACKLOG, {}, "pubsub_subscription", labels, "GAUGE", "INT64", points)


def _step(step: int, now: float) -> list[wire.TimeSeries]:
    two = {**samples.TASK, "task_id": "instance-2"}
    # After its reset it counts so fast that its value alone does not tell of it.
    since, begin = (step - 12, NOW + 120.5) if step > 12 else (step, NOW)
    took = samples.distribution([2 * step, 4 * step, 4 * step], mean=1.5)
    return [
        samples.series("rows", 10 * step, now, NOW, {"table": "trades"}),
        samples.series("rows", 20 * step, now, NOW, {"table": "bars"}),
        samples.series("rows", 600 * since, now, begin, {"table": "bars"}, two),
        samples.series("took", took, now, NOW),
        samples.series("queue", step, now, labels={"job": "inner"}),
    ]


def _later(*given: Any) -> Point:
    *times, value = given
    return Point(in_nanoseconds(NOW + times[0]), in_nanoseconds(NOW + times[-1]), value)
