"""Instruments made from the catalogue: what is not declared there cannot be counted."""

from collections.abc import Mapping
from typing import TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from quotewatch.errors import MetricError
from quotewatch.metrics.catalogue import CATALOGUE, OTHER, Metric

_Instrument = TypeVar("_Instrument", Counter, Gauge, Histogram)


class Recorder:
    """One registry of one process; every series carries the environment."""

    def __init__(self, environment: str) -> None:
        self._environment = environment
        # A second series for every counter, of no use to anybody here.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        for metric in CATALOGUE.values():
            self._make(metric)
        self._begin()

    def inc(self, name: str, value: float = 1, **labels: str) -> None:
        """Add to a counter. Counters never go down: nothing happens at zero or below."""
        counter = _declared(self._counters, name, "counter")
        series = self._labels(name, labels)
        if value > 0:
            counter.labels(**series).inc(value)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        gauge = _declared(self._gauges, name, "gauge")
        gauge.labels(**self._labels(name, labels)).set(value)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Put a value into a histogram."""
        histogram = _declared(self._histograms, name, "histogram")
        histogram.labels(**self._labels(name, labels)).observe(value)

    def exposition(self) -> bytes:
        """Return the registry in Prometheus' text format."""
        return generate_latest(self._registry)

    def value(self, sample: str, **labels: str) -> float:
        """Return one sample as exported, 0 where it does not exist yet."""
        found = self._registry.get_sample_value(
            sample, {"environment": self._environment, **labels}
        )
        return found or 0.0

    def _labels(self, name: str, given: Mapping[str, str]) -> dict[str, str]:
        """Complete the labels; a value the catalogue does not list is counted as `other`."""
        metric = CATALOGUE[name]
        if given.keys() != set(metric.labels):
            wanted = ", ".join(metric.labels) or "none"
            raise MetricError(f"{name}: labels {sorted(given)} given, the catalogue says {wanted}")
        closed = {
            label: value if label not in metric.values or value in metric.values[label] else OTHER
            for label, value in given.items()
        }
        return {"environment": self._environment, **closed}

    def _make(self, metric: Metric) -> None:
        name, meaning, registry = metric.name, metric.meaning, self._registry
        labels = ("environment", *metric.labels)
        match metric.kind:
            case "counter":
                self._counters[name] = Counter(name, meaning, labels, registry=registry)
            case "gauge":
                self._gauges[name] = Gauge(name, meaning, labels, registry=registry)
            case "histogram":
                self._histograms[name] = Histogram(
                    name, meaning, labels, buckets=metric.buckets, registry=registry
                )

    def _begin(self) -> None:
        """Show counts at 0: no rate tells a first failure from a series that begins at 1.

        A gauge is not there before it is known: its 0 would be a lie.
        """
        for name, counted in (self._counters | self._histograms).items():
            if not CATALOGUE[name].labels:
                counted.labels(environment=self._environment)


def _declared(instruments: Mapping[str, _Instrument], name: str, kind: str) -> _Instrument:
    found = instruments.get(name)
    if found is None:
        metric = CATALOGUE.get(name)
        known = f"is a {metric.kind}, not a {kind}" if metric else "is not in the catalogue"
        raise MetricError(f"{name!r} {known}; declare it in quotewatch/metrics/catalogue.py")
    return found
