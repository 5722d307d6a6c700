from collections.abc import Callable

import pytest

from quotewatch.errors import MetricError
from quotewatch.observability.queries import (
    Query,
    age,
    buckets,
    fullness,
    growth,
    highest,
    increase,
    listed,
    metrics_of,
    percentile,
    promql_name,
    rate,
    total,
    work,
)


def test_a_rate_is_asked_for_as_grafana_asks() -> None:
    asked = rate("coinbase_messages_received_total", "type").body
    assert asked["aliasBy"] == "{{metric.label.type}}"
    assert asked["timeSeriesList"] == {
        "alignmentPeriod": "cloud-monitoring-auto",
        "crossSeriesReducer": "REDUCE_SUM",
        "filters": [
            "metric.type", "=", "custom.googleapis.com/quotewatch/coinbase_messages_received_total",
            "AND", "resource.type", "=", "generic_task",
            "AND", "metric.label.environment", "=~", "$environment",
        ],
        "groupBys": ["metric.label.type"],
        "perSeriesAligner": "ALIGN_RATE",
        "projectName": "$project",
        "view": "FULL",
    }  # fmt: skip


def test_an_age_is_taken_when_asked() -> None:
    asked = age("stage_last_success_timestamp_seconds", "stage", within="1d")
    name = "custom_googleapis_com:quotewatch_stage_last_success_timestamp_seconds"
    chosen = '{environment=~"$environment",monitored_resource="generic_task"}'
    assert asked.body["promQLQuery"]["expr"] == (
        f"clamp_min(time() - max by (stage) (last_over_time({name}{chosen}[1d])), 0)"
    )
    assert asked.legend == "${__field.labels.stage}"


def test_products_are_chosen_where_a_metric_knows_them() -> None:
    with_products = growth("coinbase_last_trade_id", "product").body["promQLQuery"]["expr"]
    without = age("last_update_timestamp_seconds", within="1h").body["promQLQuery"]["expr"]
    assert 'product=~"$product"' in with_products
    assert "product" not in without


def test_values_that_count_are_matched_alone_or_together() -> None:
    one = rate("gateway_rows_total", where={"stream": ["events"]}).body
    two = rate("gateway_rows_total", where={"stream": ["raw_trades", "events"]}).body
    assert one["timeSeriesList"]["filters"][-3:] == ["metric.label.stream", "=", "events"]
    assert two["timeSeriesList"]["filters"][-3:] == [
        "metric.label.stream", "=~", "(events|raw_trades)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: rate("no_such_total"), "'no_such_total' is not in the catalogue"),
        (lambda: rate("coinbase_match_sequence"), "forensic"),
        (lambda: rate("gateway_books_valid"), "is a gauge: no aligner ALIGN_RATE"),
        (lambda: increase("gateway_queue_bytes"), "is a gauge: no aligner ALIGN_DELTA"),
        (lambda: highest("processor_acks_total"), "is a counter: no aligner ALIGN_MAX"),
        (lambda: total("gateway_publish_seconds"), "is a histogram: no aligner ALIGN_MEAN"),
        (lambda: rate("gateway_publish_seconds"), "is a histogram: no aligner ALIGN_RATE"),
        (lambda: percentile("processor_acks_total", 99), "no reducer REDUCE_PERCENTILE_99"),
        (lambda: percentile("gateway_publish_seconds", 98), "no reducer REDUCE_PERCENTILE_98"),
        (lambda: buckets("processor_acks_total"), "has no buckets"),
        (lambda: rate("gateway_rows_total", "table"), "has no label 'table'"),
        (lambda: rate("gateway_rows_total", legend="{stream}"), "do not differ by ['stream']"),
        (lambda: rate("gateway_rows_total", where={"stream": ["gaps"]}), "never says ['gaps']"),
        (lambda: rate("gateway_rows_total", where={"table": ["gaps"]}), "has no label 'table'"),
        (lambda: rate("gateway_rows_total", where={"stream": []}), "never says nothing"),
        (lambda: age("processor_acks_total", within="1d"), "a gauge is needed here"),
        (lambda: age("last_update_timestamp_seconds", "type", within="1d"), "has no label 'type'"),
        (lambda: work("processor_acks_total"), "a histogram is needed here"),
        (lambda: fullness("processor_acks_total", "trade_buffer_size", legend="x"), "a gauge is"),
        (lambda: listed("processor_acks_total", "ALIGN_NONE", "REDUCE_SUM"), "ALIGN_RATE"),
    ],
)
def test_what_the_catalogue_does_not_allow_is_refused(ask: Callable[[], Query], said: str) -> None:
    with pytest.raises(MetricError) as refused:
        ask()
    assert said in str(refused.value)


def test_metrics_are_read_back_from_questions() -> None:
    full = fullness("trade_buffer_size", "trade_buffer_capacity", legend="trades")
    assert metrics_of(full.body) == {"trade_buffer_size", "trade_buffer_capacity"}
    busy = work("pipeline_callback_duration_seconds", "stage")
    assert metrics_of(busy.body) == {"pipeline_callback_duration_seconds"}
    assert metrics_of(rate("gateway_rows_total").body) == {"gateway_rows_total"}
    stale = {"promQLQuery": {"expr": f"rate({promql_name('renamed_total')}[5m])"}}
    assert metrics_of(stale) == {"renamed_total"}
