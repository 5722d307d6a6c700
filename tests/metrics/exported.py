"""What a recorder exports, sample by sample, and the samples that tests expect of it."""

from collections.abc import Mapping, Sequence

from prometheus_client.parser import text_string_to_metric_families

from quotewatch.metrics.catalogue import CATALOGUE
from quotewatch.metrics.recorder import Recorder

Labels = tuple[tuple[str, str], ...]
Samples = dict[tuple[str, Labels], float]  # (suffix of the name, labels) -> value
Exported = dict[str, Samples]  # by metric


def exported(recorder: Recorder) -> Exported:
    """Return every sample by metric; all must carry the environment."""
    found: Exported = {}
    for family in text_string_to_metric_families(recorder.exposition().decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("environment") == "test"
            key = (sample.name.removeprefix(name), _sorted(labels))
            found.setdefault(name, {})[key] = sample.value
    return found


def one(value: float, **labels: str) -> Samples:
    """Return one counter or gauge."""
    return {("", _sorted(labels)): value}


def by(label: str, values: Mapping[str, float]) -> Samples:
    """Return what differs by one label."""
    return by_all((label,), {(name,): value for name, value in values.items()})


def by_all(labels: Sequence[str], values: Mapping[tuple[str, ...], float]) -> Samples:
    """Return what differs by several labels."""
    return {
        ("", _sorted(dict(zip(labels, names, strict=True)))): value
        for names, value in values.items()
    }


def histogram(name: str, values: Sequence[float], **labels: str) -> Samples:
    """Return a histogram that counted these values, each once."""
    bounds = [*CATALOGUE[name].buckets, float("inf")]
    found = {
        ("_bucket", _sorted({**labels, "le": _written(bound)})): float(
            sum(value <= bound for value in values)
        )
        for bound in bounds
    }
    found["_count", _sorted(labels)] = len(values)
    found["_sum", _sorted(labels)] = sum(values)
    return found


def histograms(name: str, label: str, values: Mapping[str, Sequence[float]]) -> Samples:
    """Return one that differs by one label."""
    found: Samples = {}
    for each, counted in values.items():
        found |= histogram(name, counted, **{label: each})
    return found


def series_of(samples: Samples) -> set[Labels]:
    """Return the labels of each series: of a histogram's many samples one."""
    return {tuple(each for each in labels if each[0] != "le") for _, labels in samples}


def _sorted(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


def _written(bound: float) -> str:
    return "+Inf" if bound == float("inf") else str(bound)
