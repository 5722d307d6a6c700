"""Every metric, declared once: name, kind, labels, buckets, one sentence of meaning, owner."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from quotewatch.streams import STREAMS, TABLES

Kind = Literal["counter", "gauge", "histogram"]


OTHER = "other"  # the label value of what no list names

MESSAGE_TYPES = frozenset({
    "l2update", "match", "snapshot", "last_match", "heartbeat", "subscriptions", "error", "unused",
    "unknown_type", "unreadable",
})  # fmt: skip
EVENT_KINDS = frozenset({
    "start", "open", "close", "snapshot", "invalid", "gap", "drop", "reject", "high_water", "final",
})  # fmt: skip
# RFC 6455's; a peer may send any number up to 4999. 0: the connection never opened.
CLOSE_CODES = frozenset({"0", *(str(code) for code in range(1_000, 1_016))})
EVENT_REASONS = CLOSE_CODES | {
    "", "after_crash",
    "stop", "silence", "error",
    "crossed", "one_sided", "rejected", "dropped", "sequence_num", "bad_product",
    "unsubscribed",
    "trade_id", "heartbeat",
    "duplicate", "queue_full", "encode_failed", "too_large", "spool_unreadable", "old_sequence",
    "malformed_json", "missing_field", "wrong_type", "bad_value", "bad_price", "bad_size",
    "bad_time", "bad_trade_id", "unknown_type", "unknown_product", "refused",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric as it is exported; `environment` is a label of all of them."""

    name: str
    kind: Kind
    unit: str
    meaning: str
    owner: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    # Label -> all it can say. `product` alone has no list: the settings close it.
    values: Mapping[str, frozenset[str]] = field(default_factory=dict)


_BY_STREAM = {"stream": frozenset(STREAMS)}
_PUBLISH_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 60.0)

GATEWAY = (
    Metric("coinbase_messages_received_total", "counter", "1",
           "Messages received from Coinbase, by type; `unreadable` where no type can be told.",
           "gateway", ("type",), (), {"type": MESSAGE_TYPES}),
    Metric("coinbase_match_sequence", "gauge", "1",
           "The `sequence` of the newest match; not contiguous, so no gap follows from it.",
           "gateway", ("product",)),
    Metric("coinbase_last_trade_id", "gauge", "1",
           "The newest trade id known from trades or heartbeats.", "gateway", ("product",)),
    Metric("coinbase_sequence_gaps_total", "counter", "1",
           "Gaps found in trade ids, heartbeats or sequence numbers.", "gateway"),
    Metric("coinbase_trades_missed_total", "counter", "1",
           "Trades within the gaps found by id; reconcile fetches them.", "gateway"),
    Metric("websocket_reconnections_total", "counter", "1",
           "Connections opened after the first of each slot.", "gateway"),
    Metric("gateway_events_total", "counter", "1",
           "Rows written to `events`, by kind and reason.", "gateway", ("kind", "reason"), (),
           {"kind": EVENT_KINDS, "reason": EVENT_REASONS}),
    Metric("gateway_rows_total", "counter", "1",
           "Rows closed into frames, by stream.", "gateway", ("stream",), (), _BY_STREAM),
    Metric("gateway_frames_published_total", "counter", "1",
           "Frames that the bus has, by stream.", "gateway", ("stream",), (), _BY_STREAM),
    Metric("gateway_bytes_published_total", "counter", "By",
           "Encoded bytes of those frames, by stream.", "gateway", ("stream",), (), _BY_STREAM),
    Metric("gateway_publish_failures_total", "counter", "1",
           "Publish calls that failed; their frames are tried again.", "gateway"),
    Metric("gateway_publish_seconds", "histogram", "s",
           "From the close of a window to the bus having its frame.", "gateway", (),
           _PUBLISH_BUCKETS),
    Metric("gateway_queue_bytes", "gauge", "By",
           "Bytes of frames in memory that the bus does not have.", "gateway"),
    Metric("gateway_spool_frames", "gauge", "1",
           "Frames in the spool.", "gateway"),
    Metric("gateway_spool_failures_total", "counter", "1",
           "Frames the spool could not take; they wait in memory instead.", "gateway"),
    Metric("gateway_books_valid", "gauge", "1",
           "Products with a valid book now.", "gateway"),
    Metric("gateway_connections_open", "gauge", "1",
           "Connections that are open now.", "gateway"),
    Metric("last_update_timestamp_seconds", "gauge", "s",
           "When the newest message was received; its age is taken when asked.", "gateway"),
    Metric("trade_buffer_size", "gauge", "1",
           "Trades in the feature windows of all products.", "gateway"),
    Metric("trade_buffer_capacity", "gauge", "1",
           "Trades those windows may hold.", "gateway"),
    Metric("orderbook_updates_per_second", "gauge", "1/s",
           "Level-2 updates received, over the last ten seconds.", "gateway"),
)  # fmt: skip

_BY_TABLE = {"table": frozenset(TABLES)}
_WRITE_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

WRITE = (
    Metric("processor_consumer_reads_total", "counter", "1",
           "Pulls by `write`, by what came: frames, nothing, an error.", "write", ("result",), (),
           {"result": frozenset({"ok", "empty", "error"})}),
    Metric("processor_consumer_records_total", "counter", "1",
           "Frames in those pulls.", "write"),
    Metric("processor_consumer_lag", "gauge", "s",
           "Age of the oldest frame in the newest pull; 0 where nothing was left.", "write",
           ("stream",), (), _BY_STREAM),
    Metric("processor_decode_errors_total", "counter", "1",
           "Messages that are no frames and went to quarantine.", "write"),
    Metric("processor_row_writes_total", "counter", "1",
           "Rows by table: inserted, there already, or failed and to be tried again.", "write",
           ("table", "status"), (),
           {**_BY_TABLE, "status": frozenset({"inserted", "duplicate", "failed"})}),
    Metric("processor_row_write_duration_seconds", "histogram", "s",
           "From a batch of frames to its commit.", "write", ("table",), _WRITE_BUCKETS,
           _BY_TABLE),
    Metric("processor_acks_total", "counter", "1",
           "Frames acked, each after its rows or its bytes were durable.", "write"),
)  # fmt: skip

_BITS = frozenset({"0", "1"})
_MODEL_BUCKETS = (
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
)  # fmt: skip

LEARN = (
    Metric("labeler_buffer_size", "gauge", "1",
           "Features rows the newest call looked at and whose future is not certain yet.", "label"),
    Metric("labeler_buffer_capacity", "gauge", "1",
           "How many rows a call looks at together, for each horizon.", "label"),
    Metric("ml_samples_total", "counter", "1",
           "Rows labelled, by label.", "label", ("label",), (), {"label": _BITS}),
    Metric("ml_predict_duration_seconds", "histogram", "s",
           "From a features frame to its predictions frame, both encoded.", "predict", (),
           _MODEL_BUCKETS),
    Metric("ml_predictions_total", "counter", "1",
           "Answers given, by prediction.", "predict", ("prediction",), (),
           {"prediction": _BITS}),
    Metric("ml_train_duration_seconds", "histogram", "s",
           "Learning one batch of labels, scoring included.", "train", (), _MODEL_BUCKETS),
)  # fmt: skip

CATALOGUE: dict[str, Metric] = {metric.name: metric for metric in (*GATEWAY, *WRITE, *LEARN)}
