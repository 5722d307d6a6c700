"""What is recorded is what the catalogue declares, and nothing else."""

from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from quotewatch.errors import MetricError
from quotewatch.metrics.catalogue import CATALOGUE
from quotewatch.metrics.metric import OTHER, Metric
from quotewatch.metrics.recorder import Recorder

COUNTER, GAUGE, HISTOGRAM = (
    "gateway_publish_failures_total",
    "gateway_queue_bytes",
    "gateway_publish_seconds",
)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder("test")


def record_all(recorder: Recorder) -> None:
    """Give every metric of the catalogue a value under every label."""
    for metric in CATALOGUE.values():
        labels = {label: some_value(metric, label) for label in metric.labels}
        match metric.kind:
            case "counter":
                recorder.inc(metric.name, 2, **labels)
            case "gauge":
                recorder.set(metric.name, 2, **labels)
            case "histogram":
                recorder.observe(metric.name, 2, **labels)


def some_value(metric: Metric, label: str) -> str:
    return max(metric.values.get(label, {"BTC-USD"}))


def test_counters_add_gauges_set_histograms_count(recorder: Recorder) -> None:
    recorder.inc(COUNTER)
    recorder.inc(COUNTER, 2)
    recorder.inc(COUNTER, -5)
    recorder.set(GAUGE, 7)
    recorder.set(GAUGE, 3)
    recorder.observe(HISTOGRAM, 0.25)
    recorder.observe(HISTOGRAM, 0.5)
    assert recorder.value(COUNTER) == 3
    assert recorder.value(GAUGE) == 3
    assert recorder.value(f"{HISTOGRAM}_count") == 2
    assert recorder.value(f"{HISTOGRAM}_sum") == 0.75
    assert recorder.value(f"{HISTOGRAM}_bucket", le="0.25") == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda recorder: recorder.inc("gateway_rows"),
        lambda recorder: recorder.inc("gateway_rows", 0),
        lambda recorder: recorder.set("unheard_of", 1),
        lambda recorder: recorder.observe("unheard_of", 1),
    ],
)
def test_a_metric_outside_the_catalogue_is_refused(
    recorder: Recorder, call: Callable[[Recorder], None]
) -> None:
    with pytest.raises(MetricError, match="not in the catalogue; declare it"):
        call(recorder)


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda recorder: recorder.inc(GAUGE), "is a gauge, not a counter"),
        (lambda recorder: recorder.set(HISTOGRAM, 1), "is a histogram, not a gauge"),
        (lambda recorder: recorder.observe(COUNTER, 1), "is a counter, not a histogram"),
    ],
)
def test_a_metric_of_another_kind_is_refused(
    recorder: Recorder, call: Callable[[Recorder], None], kind: str
) -> None:
    with pytest.raises(MetricError, match=kind):
        call(recorder)


@pytest.mark.parametrize("labels", [{}, {"topic": "features"}, {"stream": "features", "x": "y"}])
def test_labels_other_than_the_declared_are_refused(
    recorder: Recorder, labels: dict[str, str]
) -> None:
    with pytest.raises(MetricError, match=r"labels .* the catalogue says stream"):
        recorder.inc("gateway_rows_total", 1, **labels)


def test_a_label_value_that_no_list_names_is_counted_as_other(recorder: Recorder) -> None:
    recorder.inc("gateway_rows_total", 4, stream="what the peer said at 12:04")
    assert recorder.value("gateway_rows_total", stream=OTHER) == 4


def test_counts_are_there_from_the_start_and_gauges_once_they_are_known(recorder: Recorder) -> None:
    text = recorder.exposition().decode()
    assert f'{COUNTER}{{environment="test"}} 0.0' in text
    assert f'{HISTOGRAM}_count{{environment="test"}} 0.0' in text
    assert f"{GAUGE}{{" not in text


def test_the_exposition_is_prometheus_and_says_what_the_catalogue_says(recorder: Recorder) -> None:
    record_all(recorder)
    families = {
        family.name: family
        for family in text_string_to_metric_families(recorder.exposition().decode())
    }
    assert families.keys() == {name.removesuffix("_total") for name in CATALOGUE}
    for metric in CATALOGUE.values():
        family = families[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.meaning)
        assert family.samples
        for sample in family.samples:
            labels = dict(sample.labels)
            labels.pop("le", None)
            assert labels.pop("environment") == "test"
            assert labels.keys() == set(metric.labels)


def test_recorders_of_one_process_do_not_meet() -> None:
    one, two = Recorder("one"), Recorder("two")
    one.inc(COUNTER)
    assert (one.value(COUNTER), two.value(COUNTER)) == (1, 0)
