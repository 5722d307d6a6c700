"""Instruments made from the catalogue: what is not declared there cannot be counted."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from quotewatch.metrics.catalogue import CATALOGUE, Metric

Instrument = Counter | Gauge | Histogram


class Recorder:
    """One registry of one process; every series carries the environment."""

    def __init__(self, environment: str) -> None:
        self._environment = environment
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for every counter, of no use to anybody here
        self._registry = CollectorRegistry()
        self._instruments = {name: self._make(metric) for name, metric in CATALOGUE.items()}

    def inc(self, name: str, value: float = 1, **labels: str) -> None:
        """Add to a counter. Counters never go down: nothing happens at zero or below."""
        if value > 0:
            instrument = self._series(name, labels)
            assert isinstance(instrument, Counter), name  # noqa: S101
            instrument.inc(value)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        instrument = self._series(name, labels)
        assert isinstance(instrument, Gauge), name  # noqa: S101
        instrument.set(value)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Put a value into a histogram."""
        instrument = self._series(name, labels)
        assert isinstance(instrument, Histogram), name  # noqa: S101
        instrument.observe(value)

    def exposition(self) -> bytes:
        """Return the registry in Prometheus' text format."""
        return generate_latest(self._registry)

    def value(self, sample: str, **labels: str) -> float:
        """Return one sample as exported, 0 where it does not exist yet."""
        found = self._registry.get_sample_value(
            sample, {"environment": self._environment, **labels}
        )
        return found or 0.0

    def _series(self, name: str, labels: dict[str, str]) -> Instrument:
        return self._instruments[name].labels(environment=self._environment, **labels)

    def _make(self, metric: Metric) -> Instrument:
        labels = ("environment", *metric.labels)
        if metric.kind == "counter":
            return Counter(metric.name, metric.meaning, labels, registry=self._registry)
        if metric.kind == "gauge":
            return Gauge(metric.name, metric.meaning, labels, registry=self._registry)
        return Histogram(
            metric.name, metric.meaning, labels, buckets=metric.buckets, registry=self._registry
        )
