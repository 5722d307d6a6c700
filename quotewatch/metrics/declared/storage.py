"""What those record who drain, store, heal and look after tables."""

from quotewatch.metrics.declared.buckets import FLUSH, FLUSH_ROWS, WRITE
from quotewatch.metrics.metric import Metric, Owners
from quotewatch.streams import STREAMS

_WRITE: Owners = {"write": {}}
_WRITTEN = frozenset(STREAMS)

DRAINS = (
    Metric("processor_consumer_reads_total", "counter", "1",
           "Pulls by `write`, by what came: frames, nothing, an error.",
           {"write": {"result": frozenset({"ok", "empty", "error"})}}),
    Metric("processor_consumer_records_total", "counter", "1",
           "Frames in those pulls.", _WRITE),
    Metric("processor_consumer_lag", "gauge", "s",
           "Age of the oldest frame in the newest pull; 0 where nothing was left.",
           {"write": {"stream": _WRITTEN}}),
    Metric("processor_decode_errors_total", "counter", "1",
           "Messages that are no frames and went to quarantine.", _WRITE),
    Metric("processor_row_writes_total", "counter", "1",
           "Rows by table: inserted, there already, or failed and to be tried again.",
           {"write": {"table": _WRITTEN,
                      "status": frozenset({"inserted", "duplicate", "failed"})}}),
    Metric("processor_row_write_duration_seconds", "histogram", "s",
           "From a batch of frames to its commit.", _WRITE, buckets=WRITE),
    Metric("processor_acks_total", "counter", "1",
           "Frames acked, each after its rows or its bytes were durable.", _WRITE),
)  # fmt: skip

# Who adds rows to which tables.
_FLUSHED = {
    "write": {"table": _WRITTEN},
    "label": {"table": frozenset({"labels"})},
    "reconcile": {"table": frozenset({"gaps", "raw_trades"})},
}

FLUSHES = (
    Metric("iceberg_rows_written_total", "counter", "1",
           "Rows that became durable, by table.", _FLUSHED),
    Metric("iceberg_flush_total", "counter", "1",
           "Commits that added rows, by table.", _FLUSHED),
    Metric("iceberg_flush_duration_seconds", "histogram", "s",
           "From the wish to commit to rows being durable, retries and files included.",
           _FLUSHED, buckets=FLUSH),
    Metric("iceberg_flush_rows", "histogram", "1",
           "Rows that a commit added.", _FLUSHED, buckets=FLUSH_ROWS),
)  # fmt: skip

_RECONCILE: Owners = {"reconcile": {}}
_MAINTAIN: Owners = {"maintain": {}}
_PROVEN = {"reconcile": {"table": frozenset({"raw_orderbook", "raw_trades", "features", "events",
                                             "predictions"})}}  # fmt: skip

PROOF = (
    Metric("data_completeness_ratio", "gauge", "1",
           "Of what should be durable, how much is, by table; from rows and ledgers alone.",
           _PROVEN),
    Metric("data_missing", "gauge", "1",
           "What is missing there: trades of raw_trades, frames of the others.", _PROVEN),
    Metric("reconcile_gaps_open", "gauge", "1",
           "Gaps that may still be healed: of trades, frames and books.", _RECONCILE),
    Metric("reconcile_oldest_gap_timestamp_seconds", "gauge", "s",
           "When the oldest of them was first seen; 0 where none is open.", _RECONCILE),
    Metric("reconcile_gaps_total", "counter", "1",
           "Gaps by what became of them.",
           {"reconcile": {"state": frozenset({"opened", "healed", "permanent"})}}),
    Metric("reconcile_trades_fetched_total", "counter", "1",
           "Missing trades fetched over REST and stored.", _RECONCILE),
    Metric("reconcile_requests_total", "counter", "1",
           "REST calls made for them.", _RECONCILE, forensic=True),
    Metric("maintain_snapshots_expired_total", "counter", "1",
           "Snapshots let go of.", _MAINTAIN, forensic=True),
    Metric("maintain_files_compacted_total", "counter", "1",
           "Small files merged into larger ones.", _MAINTAIN, forensic=True),
    Metric("maintain_files_swept_total", "counter", "1",
           "Files removed that no snapshot names.", _MAINTAIN, forensic=True),
    Metric("maintain_bytes_swept_total", "counter", "By",
           "Bytes of those files.", _MAINTAIN, forensic=True),
    Metric("maintain_failures_total", "counter", "1",
           "Tables that a call could not look after.", _MAINTAIN),
)  # fmt: skip
