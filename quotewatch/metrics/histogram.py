"""A histogram that takes one value or many at once, collected by Prometheus' client."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from threading import Lock

from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from quotewatch.errors import MetricError
from quotewatch.metrics.tally import Tally


class _Series:
    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.sum = 0.0


class Histogram(Collector):
    """All series of one histogram. Prometheus' own class takes one value at a time only."""

    def __init__(
        self, name: str, meaning: str, labels: Sequence[str], bounds: tuple[float, ...]
    ) -> None:
        self._name = name
        self._meaning = meaning
        self._labels = labels
        self._bounds = bounds
        self._series: dict[tuple[str, ...], _Series] = {}
        self._lock = Lock()

    def begin(self, values: tuple[str, ...]) -> None:
        """Show a series that counts nothing yet."""
        with self._lock:
            self._at(values)

    def observe(self, values: tuple[str, ...], value: float) -> None:
        """Count one value."""
        with self._lock:
            series = self._at(values)
            series.counts[bisect_left(self._bounds, value)] += 1
            series.sum += value

    def add(self, values: tuple[str, ...], tally: Tally) -> None:
        """Count many values."""
        if tally.bounds != self._bounds:
            raise MetricError(f"{self._name}: counted by other buckets than the catalogue's")
        if not tally.count:
            return
        with self._lock:
            series = self._at(values)
            series.counts = [a + b for a, b in zip(series.counts, tally.counts, strict=True)]
            series.sum += tally.sum

    def tallies(self) -> Iterator[tuple[Mapping[str, str], Tally]]:
        """Return each series as it stands."""
        with self._lock:
            found = [
                (values, Tally(self._bounds, tuple(each.counts), each.sum))
                for values, each in self._series.items()
            ]
        for values, tally in found:
            yield dict(zip(self._labels, values, strict=True)), tally

    def collect(self) -> Iterator[Metric]:
        """Return all series as Prometheus has them."""
        family = HistogramMetricFamily(self._name, self._meaning, labels=self._labels)
        for labels, tally in self.tallies():
            bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
            buckets = list(zip(bounds, map(float, tally.running()), strict=True))
            family.add_metric(list(labels.values()), buckets, tally.sum)
        yield family

    def _at(self, values: tuple[str, ...]) -> _Series:
        found = self._series.get(values)
        if found is None:
            found = self._series[values] = _Series(len(self._bounds) + 1)
        return found
