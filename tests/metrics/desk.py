"""An exporter, a strict fake of Cloud Monitoring and a clock that stands still between them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from quotewatch.metrics.cloud_monitoring import Exporter
from quotewatch.metrics.recorder import Recorder
from tests.fakes.monitoring import MonitoringFake

NOON = 1_795_262_400.0  # 2026-11-21
PROJECT = "test-project"


class HandTime:
    """Wall time and monotonic time, moved together unless only one is."""

    def __init__(self) -> None:
        self.wall = NOON
        self.running = 100.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.running

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.running += seconds


class Desk:
    """A fake that serves, and exporters to it."""

    def __init__(self, fake: MonitoringFake, time: HandTime) -> None:
        self.fake = fake
        self.time = time
        self._exporters: list[Exporter] = []

    def recorder(self, *owners: str) -> Recorder:
        return Recorder("test", owners or ("gateway",), now=self.time.now)

    def exporter(self, recorder: Recorder, job: str = "gateway", **given: Any) -> Exporter:
        made = Exporter(
            recorder, job,
            **{
                "project": PROJECT, "emulator": self.fake.address, "now": self.time.now,
                "monotonic": self.time.monotonic, "sleep": self.time.pass_by, **given,
            },
        )  # fmt: skip
        self._exporters.append(made)
        return made

    def export(self, exporter: Exporter) -> None:
        """Export a minute later."""
        self.time.pass_by(60)
        assert exporter.flush()

    def lost(self, recorder: Recorder) -> dict[str, float]:
        """Return how many points were lost, by reason."""
        return {
            each.labels["reason"]: float(each.value)  # type: ignore[arg-type]  # a counter
            for each in recorder.samples()
            if each.metric.name == "metrics_points_lost_total"
        }

    def total(self, name: str, **labels: str) -> float:
        """Add up the newest values of all series of a counter."""
        found = [each for each in self.fake.series(name) if labels.items() <= each.labels.items()]
        return sum(each.newest.value for each in found)  # type: ignore[misc]

    def close(self) -> None:
        self.time.pass_by(60)
        for each in self._exporters:
            each.close(0.5)


@contextmanager
def open_desk() -> Iterator[Desk]:
    time = HandTime()
    with MonitoringFake(clock=time.now) as fake:
        desk = Desk(fake, time)
        try:
            yield desk
        finally:
            fake.heal()
            desk.close()
