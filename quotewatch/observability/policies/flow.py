"""Alerts on the way from the bus to models: what fails, falls behind, or is put aside."""

from collections.abc import Iterable

from quotewatch.bus.topology import STREAMS, dead_subscription, topology
from quotewatch.observability.conditions import (
    Series,
    grown,
    grown_without,
    keeps_growing,
    not_shrinking,
    series,
    subscriptions,
)
from quotewatch.observability.policy import Policy
from quotewatch.streams import FEATURES, TABLES

_ROWS = "processor_row_writes_total"
_STORED = "iceberg_rows_written_total"


def _pattern(names: Iterable[str]) -> str:
    return "|".join(sorted(names)).replace(".", "[.]")


def _runs(stage: str, outcome: str) -> Series:
    return series("stage_runs_total", owner=stage, outcome=outcome)


_DEAD = {dead_subscription(stream) for stream in STREAMS}
_READ = {each.name for each in topology().subscriptions} - _DEAD
_FAILED = series(_ROWS, status="failed")
_WRITTEN = series(_ROWS, status=("inserted", "duplicate"))
_LAG = series("processor_consumer_lag")
_OLDEST = subscriptions("oldest_unacked_message_age", _pattern(_READ))
_DEAD_LETTERS = subscriptions("num_undelivered_messages", _pattern(_DEAD))
_FEATURES = series(_STORED, owner="write", table=FEATURES.name)
_LABELS = series(_STORED, owner="label", table=TABLES["labels"].name)
_LABELLED = series("ml_samples_total")
_LEARNT = series("ml_train_duration_seconds")

FLOW = (
    Policy(
        "write-failing", "`write` fails and stores nothing", "ERROR",
        "For a quarter of an hour writes to a table failed and none succeeded; where no table is"
        " named, every call of `write` failed. Frames stay on the bus for seven days.",
        f"{grown_without(_FAILED, _WRITTEN, 15, ['table'])}"
        f" or on () {grown_without(_runs('write', 'failed'), _runs('write', 'ok'), 15)}",
        for_seconds=300,
    ),
    Policy(
        "write-backlog", "`write` falls behind and does not catch up", "ERROR",
        "Every look at a stream finds frames older than ${backlog_seconds} s, and in ten minutes"
        " they became no younger.",
        not_shrinking(_LAG, "backlog_seconds", 10, ["stream"], of="min"),
        for_seconds=300,
    ),
    Policy(
        "frame-stuck", "a message on the bus is taken by nobody", "ERROR",
        "The oldest message of a subscription is older than ${frame_stuck_seconds} s and becomes"
        " no younger: its reader is dead, or cannot take this one.",
        not_shrinking(_OLDEST, "frame_stuck_seconds", 20, ["subscription_id"]),
        for_seconds=600,
    ),
    Policy(
        "labels-not-made", "features are stored and none gets a label", "ERROR",
        "Features were stored all along, and for 45 minutes no label. Books that live shorter"
        " than the horizon leave none either.",
        f"{keeps_growing(_FEATURES, 15)} unless on () {grown(_LABELLED, 45)}",
        for_seconds=900,
    ),
    Policy(
        "labels-not-learnt", "labels are stored and no model learns", "ERROR",
        "Labels were stored all along, and for an hour no model learnt a batch.",
        f"{keeps_growing(_LABELS, 30)} unless on () {grown(_LEARNT, 60)}",
        for_seconds=900,
    ),
    Policy(
        "dead-letters", "messages that nobody could take were put aside", "ERROR",
        "A dead-letter subscription holds messages. They are kept for seven days.",
        f"max by (subscription_id) (max_over_time({_DEAD_LETTERS.over(10)})) > 0",
        for_seconds=300,
    ),
    Policy(
        "quarantine", "bytes that are no frames were put aside", "WARNING",
        "`write` was given messages that it cannot read. Their bytes are in quarantine.",
        grown(series("processor_decode_errors_total"), 60),
    ),
)  # fmt: skip
