"""Instruments made from the catalogue: what is not declared there cannot be counted."""

import itertools
import os
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    disable_created_metrics,
    generate_latest,
)

from quotewatch.errors import MetricError
from quotewatch.logs import get_logger
from quotewatch.metrics.catalogue import CATALOGUE
from quotewatch.metrics.histogram import Histogram
from quotewatch.metrics.metric import OTHER, Metric
from quotewatch.metrics.tally import Tally

_Instrument = TypeVar("_Instrument", Counter, Gauge, Histogram)
_Labelled = TypeVar("_Labelled", Counter, Gauge)

_log = get_logger("metrics")

LONGEST_VALUE = 100  # characters of a label value that no list names
MOST_SERIES = 2_000  # of one metric of one process; beyond it, products are counted as one
_MOST_CHECKED = 10_000


@dataclass(frozen=True)
class Sample:
    """One series as it stands."""

    metric: Metric
    labels: Mapping[str, str]  # `environment` included
    value: float | Tally


class Recorder:
    """One registry of one process; every series carries the environment.

    `owners` are the processes of the catalogue that it records for, all of them by default. A fork
    begins at zero: what was counted before it is the parent's.
    """

    def __init__(
        self,
        environment: str,
        owners: Iterable[str] | None = None,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.environment = environment
        self._owners = None if owners is None else frozenset(owners)
        self._now = now
        # A second series for every counter, of no use to anybody here.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._reset()
        _RECORDERS.add(self)

    @property
    def metrics(self) -> list[Metric]:
        """What can be recorded here."""
        every = CATALOGUE.values()
        return [each for each in every if self._owners is None or self._owners & each.owners.keys()]

    def _reset(self) -> None:
        self.started = self._now()  # counts are counts since then
        self._registry = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        self._seen: dict[str, set[tuple[str, ...]]] = {}
        self._checked: dict[tuple[object, ...], Counter | Gauge] = {}
        for metric in self.metrics:
            self._make(metric)
        self._begin()

    def inc(self, name: str, value: float = 1, **labels: str) -> None:
        """Add to a counter. Counters never go down: nothing happens at zero or below."""
        if value > 0:
            self._series(self._counters, name, "counter", labels).inc(value)
        else:
            self._declared(self._counters, name, "counter")
            self._labels(name, labels)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._series(self._gauges, name, "gauge", labels).set(value)

    def ask(self, name: str, answer: Callable[[], float], **labels: str) -> None:
        """Let a gauge be what is answered whenever somebody looks."""
        self._series(self._gauges, name, "gauge", labels).set_function(answer)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Put a value into a histogram."""
        histogram = self._declared(self._histograms, name, "histogram")
        histogram.observe(self._values(name, labels), value)

    def observe_all(self, name: str, tally: Tally, **labels: str) -> None:
        """Put many values into a histogram at once; they were counted by its own buckets."""
        histogram = self._declared(self._histograms, name, "histogram")
        histogram.add(self._values(name, labels), tally)

    def exposition(self) -> bytes:
        """Return the registry in Prometheus' text format."""
        return generate_latest(self._registry)

    def leave(self, file: str) -> None:
        """Leave the exposition in a file, if one is named; who reads it sees old or new, whole."""
        if file:
            write_page(Path(file), self.exposition())

    def samples(self) -> Iterator[Sample]:
        """Return every series as it stands now."""
        for name, instrument in (*self._counters.items(), *self._gauges.items()):
            for family in instrument.collect():
                for each in family.samples:
                    yield Sample(CATALOGUE[name], each.labels, each.value)
        for name, histogram in self._histograms.items():
            for labels, tally in histogram.tallies():
                yield Sample(CATALOGUE[name], labels, tally)

    def value(self, sample: str, **labels: str) -> float:
        """Return one sample as exported, 0 where it does not exist yet."""
        found = self._registry.get_sample_value(sample, {"environment": self.environment, **labels})
        return found or 0.0

    def _series(
        self, instruments: Mapping[str, _Labelled], name: str, kind: str, given: Mapping[str, str]
    ) -> _Labelled:
        """Return the series with these labels; what was checked once is not checked again."""
        key = (kind, name, *given.items())
        found = self._checked.get(key)
        if found is None:
            instrument = self._declared(instruments, name, kind)
            found = instrument.labels(**self._labels(name, given))
            if len(self._checked) < _MOST_CHECKED:
                self._checked[key] = found
        return cast("_Labelled", found)

    def _values(self, name: str, given: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(self._labels(name, given).values())

    def _labels(self, name: str, given: Mapping[str, str]) -> dict[str, str]:
        """Complete the labels, in their order; values beyond the catalogue's count as `other`."""
        metric = CATALOGUE[name]
        if given.keys() != set(metric.labels):
            wanted = ", ".join(metric.labels) or "none"
            raise MetricError(f"{name}: labels {sorted(given)} given, the catalogue says {wanted}")
        closed = {label: _closed(metric, label, given[label]) for label in metric.labels}
        if metric.per_product:
            closed = self._bounded(metric, closed)
        return {"environment": self.environment, **closed}

    def _bounded(self, metric: Metric, labels: dict[str, str]) -> dict[str, str]:
        """Give a metric no more series than its share, whatever products it is told."""
        seen = self._seen.setdefault(metric.name, set())
        key = tuple(labels.values())
        if key in seen:
            return labels
        if len(seen) >= MOST_SERIES:
            return dict.fromkeys(labels, OTHER)
        seen.add(key)
        return labels

    def _make(self, metric: Metric) -> None:
        name, meaning, registry = metric.name, metric.meaning, self._registry
        labels = ("environment", *metric.labels)
        match metric.kind:
            case "counter":
                self._counters[name] = Counter(name, meaning, labels, registry=registry)
            case "gauge":
                self._gauges[name] = Gauge(name, meaning, labels, registry=registry)
            case "histogram":
                made = self._histograms[name] = Histogram(name, meaning, labels, metric.buckets)
                registry.register(made)

    def _begin(self) -> None:
        """Show counts at 0: no rate tells a first failure from a series that begins at 1.

        So are the few that a listed label can say. A gauge is not there before it is known: its 0
        would be a lie.
        """
        for name, counter in self._counters.items():
            for labels in self._few(CATALOGUE[name]):
                counter.labels(environment=self.environment, **labels)
        for name, histogram in self._histograms.items():
            if not CATALOGUE[name].labels:
                histogram.begin((self.environment,))

    def _few(self, metric: Metric) -> Iterator[dict[str, str]]:
        """Return all labels a metric can have here, if they are few and none is open."""
        for owner, values in metric.owners.items():
            mine = self._owners is None or owner in self._owners
            if mine and not metric.per_product and metric.most is None:
                for chosen in itertools.product(*(sorted(each) for each in values.values())):
                    yield dict(zip(values, chosen, strict=True))

    def _declared(
        self, instruments: Mapping[str, _Instrument], name: str, kind: str
    ) -> _Instrument:
        found = instruments.get(name)
        if found is None:
            raise MetricError(self._why_not(name, kind))
        return found

    def _why_not(self, name: str, kind: str) -> str:
        metric = CATALOGUE.get(name)
        if metric is None:
            return f"{name!r} is not in the catalogue; declare it in quotewatch/metrics/declared"
        if metric.kind != kind:
            return f"{name!r} is a {metric.kind}, not a {kind}"
        owners = ", ".join(metric.owners)
        return f"{name!r} is recorded by {owners}; add the owner in quotewatch/metrics/declared"


def write_page(path: Path, text: bytes) -> None:
    """Write a page at once; where there is no room, none is written."""
    draft = path.with_suffix(f".{os.getpid()}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(text)
        draft.replace(path)
    except OSError as error:
        _log.warning("metrics_file_failed", file=str(path), error=str(error))


def _closed(metric: Metric, label: str, value: str) -> str:
    known = metric.values.get(label)
    fits = len(value) <= LONGEST_VALUE if known is None else value in known
    return value if fits else OTHER


_RECORDERS: "weakref.WeakSet[Recorder]" = weakref.WeakSet()


def _after_fork() -> None:
    for recorder in _RECORDERS:
        recorder._reset()  # noqa: SLF001 - our own


os.register_at_fork(after_in_child=_after_fork)
