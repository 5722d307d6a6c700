"""What a recorder exports, sample by sample."""

from prometheus_client.parser import text_string_to_metric_families

from quotewatch.metrics.recorder import Recorder

Labels = tuple[tuple[str, str], ...]
Samples = dict[tuple[str, Labels], float]  # (suffix of the name, labels) -> value


def exported(recorder: Recorder) -> dict[str, Samples]:
    """Return every sample by metric; all must carry the environment."""
    found: dict[str, Samples] = {}
    for family in text_string_to_metric_families(recorder.exposition().decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("environment") == "test"
            key = (sample.name.removeprefix(name), tuple(sorted(labels.items())))
            found.setdefault(name, {})[key] = sample.value
    return found
