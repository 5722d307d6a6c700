"""What the gateway records."""

from quotewatch.metrics.declared.buckets import CALLBACK, LATENCY, PUBLISH
from quotewatch.metrics.metric import Metric, Owners
from quotewatch.streams import CAPTURED

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
_EVENT_SERIES = 50  # each kind goes with few of the reasons

_GATEWAY: Owners = {"gateway": {}}
_BY_STREAM = {"gateway": {"stream": frozenset(CAPTURED)}}

CAPTURE = (
    Metric("coinbase_messages_received_total", "counter", "1",
           "Messages received from Coinbase, by type; `unreadable` where no type can be told.",
           {"gateway": {"type": MESSAGE_TYPES}}),
    Metric("coinbase_match_sequence", "gauge", "1",
           "The `sequence` of the newest match; not contiguous, so no gap follows from it.",
           _GATEWAY, per_product=True, forensic=True),
    Metric("coinbase_last_trade_id", "gauge", "1",
           "The newest trade id known from trades or heartbeats.",
           _GATEWAY, per_product=True),
    Metric("coinbase_sequence_gaps_total", "counter", "1",
           "Gaps found in trade ids, heartbeats or sequence numbers.", _GATEWAY),
    Metric("coinbase_trades_missed_total", "counter", "1",
           "Trades within the gaps found by id; reconcile fetches them.", _GATEWAY),
    Metric("websocket_reconnections_total", "counter", "1",
           "Connections opened after the first of each slot.", _GATEWAY),
    Metric("gateway_events_total", "counter", "1",
           "Rows written to `events`, by kind and reason.",
           {"gateway": {"kind": EVENT_KINDS, "reason": EVENT_REASONS}}, most=_EVENT_SERIES),
    Metric("gateway_rows_total", "counter", "1",
           "Rows closed into frames, by stream.", _BY_STREAM),
    Metric("gateway_frames_published_total", "counter", "1",
           "Frames that the bus has, by stream.", _BY_STREAM, forensic=True),
    Metric("gateway_bytes_published_total", "counter", "By",
           "Encoded bytes of those frames, by stream.", _BY_STREAM),
    Metric("gateway_publish_failures_total", "counter", "1",
           "Publish calls that failed; their frames are tried again.", _GATEWAY),
    Metric("gateway_publish_seconds", "histogram", "s",
           "From the close of a window to the bus having its frame.", _GATEWAY, buckets=PUBLISH),
    Metric("gateway_queue_bytes", "gauge", "By",
           "Bytes of frames in memory that the bus does not have.", _GATEWAY),
    Metric("gateway_spool_frames", "gauge", "1",
           "Frames in the spool.", _GATEWAY),
    Metric("gateway_spool_failures_total", "counter", "1",
           "Frames the spool could not take; they wait in memory instead.", _GATEWAY),
    Metric("gateway_books_valid", "gauge", "1",
           "Products with a valid book now.", _GATEWAY),
    Metric("gateway_connections_open", "gauge", "1",
           "Connections that are open now.", _GATEWAY),
    Metric("last_update_timestamp_seconds", "gauge", "s",
           "When the newest message was received; its age is taken when asked.", _GATEWAY),
    Metric("trade_buffer_size", "gauge", "1",
           "Trades in the feature windows of all products.", _GATEWAY),
    Metric("trade_buffer_capacity", "gauge", "1",
           "Trades those windows may hold.", _GATEWAY),
    Metric("orderbook_updates_per_second", "gauge", "1/s",
           "Level-2 updates received, over the last ten seconds.", _GATEWAY),
)  # fmt: skip

_STAGES = {"gateway": "features", "label": "labeler", "predict": "classifier", "write": "writer"}
_STAMPS = {
    "write": {"received", "published", "pulled", "committed"}, "predict": {"predicted"},
}  # fmt: skip

PIPELINE = (
    Metric("pipeline_message_latency_seconds", "histogram", "s",
           "From the exchange's time of a message to a stamp of ours. One value a row of the book"
           " or of trades as they happen, `predicted` one an answer; 0 where the exchange's clock"
           " is ahead.",
           {owner: {"stamp": frozenset(stamps)} for owner, stamps in _STAMPS.items()},
           buckets=LATENCY),
    Metric("pipeline_clock_ahead_total", "counter", "1",
           "Messages whose exchange time lay ahead of the gateway's clock when they came.",
           {"write": {}}),
    Metric("pipeline_callback_duration_seconds", "histogram", "s",
           "One piece of a stage's work: features, a page of rows into its frame; labeler, a"
           " portion labelled and stored; classifier, a frame answered and published; writer, a"
           " batch stored and acked.",
           {owner: {"stage": frozenset({stage})} for owner, stage in _STAGES.items()},
           buckets=CALLBACK),
)  # fmt: skip
