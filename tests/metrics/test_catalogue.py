"""The catalogue is complete in itself."""

import re

import pytest

from quotewatch.metrics.catalogue import CATALOGUE, OWNERS, metrics_of
from quotewatch.metrics.declared.processes import CONSOLE, STAGES
from quotewatch.metrics.metric import PRODUCT, Metric
from quotewatch.settings import load_settings

METRICS = pytest.mark.parametrize("metric", CATALOGUE.values(), ids=lambda metric: metric.name)

# As the requirements spell them; `processor_position_*` writes rows here.
ASKED_FOR = """
coinbase_messages_received_total coinbase_match_sequence coinbase_sequence_gaps_total
coinbase_trades_missed_total coinbase_last_trade_id websocket_reconnections_total
iceberg_rows_written_total iceberg_flush_total iceberg_flush_duration_seconds iceberg_flush_rows
pipeline_message_latency_seconds pipeline_callback_duration_seconds labeler_buffer_size
labeler_buffer_capacity trade_buffer_size trade_buffer_capacity orderbook_updates_per_second
ml_predict_duration_seconds ml_train_duration_seconds ml_samples_total ml_predictions_total
dashboard_update_age_seconds dashboard_callback_duration_seconds dashboard_callbacks_total
processor_consumer_reads_total processor_consumer_records_total processor_consumer_lag
processor_decode_errors_total processor_row_writes_total processor_row_write_duration_seconds
processor_acks_total data_completeness_ratio
""".split()  # noqa: SIM905 - a list to be read


@METRICS
def test_a_metric_says_all_about_itself(metric: Metric) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", metric.name)
    assert metric.meaning.endswith(".")
    assert metric.unit in {"1", "s", "By", "1/s"}
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))


@METRICS
def test_every_label_says_one_of_a_list_or_names_a_product(metric: Metric) -> None:
    assert set(metric.labels) - {PRODUCT} == metric.values.keys()
    assert metric.per_product == (PRODUCT in metric.labels)
    assert "environment" not in metric.labels
    for values in metric.values.values():
        assert 0 < len(values) < 60
        assert all(re.fullmatch(r"[a-z0-9_]*", value) for value in values)


@METRICS
def test_all_owners_of_a_metric_use_the_same_labels(metric: Metric) -> None:
    assert len({frozenset(values) for values in metric.owners.values()}) == 1
    assert metric.owners.keys() <= {"gateway", *STAGES, CONSOLE}


def test_every_metric_asked_for_is_there() -> None:
    assert set(ASKED_FOR) <= CATALOGUE.keys()


def test_every_process_has_its_metrics() -> None:
    assert set(OWNERS) == {"gateway", *STAGES, CONSOLE}
    assert all(metrics_of(owner) for owner in OWNERS)


def test_distributions_fit_what_cloud_monitoring_takes() -> None:
    assert all(len(metric.buckets) < 200 for metric in CATALOGUE.values())
    assert all(len(metric.labels) < 30 for metric in CATALOGUE.values())


def test_a_deployment_of_many_products_stays_within_ten_thousand_series() -> None:
    assert (
        sum(metric.series(owner, 500) for owner in OWNERS for metric in metrics_of(owner)) < 10_000
    )


def test_the_environment_is_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")
    assert load_settings().environment == "production"
