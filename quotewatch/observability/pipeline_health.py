"""The dashboard "Data Pipeline Health": whether all is captured, and all of it becomes durable."""

from quotewatch.observability.layout import Row, evenly
from quotewatch.observability.panels import Axis, Limits, heatmap, stat, timeseries
from quotewatch.observability.queries import (
    age,
    age_of_set,
    buckets,
    fullness,
    growth,
    highest,
    increase,
    lowest,
    percentile,
    rate,
    total,
)
from quotewatch.streams import CAPTURED

TITLE = "Data Pipeline Health"
UID = "quotewatch-pipeline-health"
DESCRIPTION = (
    "Capture, completeness, writes and buffers of QuoteWatch. Read it from the top: what is not"
    " received cannot be written."
)

_SILENT = "nothing told in this time: is the gateway running, and does it export?"
_UNTOLD = "nothing told in this time: did the stage run, and does it export?"
_NONE = "none in this time"
_WAITING = Limits(look=120, act=600)

MESSAGE_RATE = timeseries(
    1, "Message Rate",
    [rate("coinbase_messages_received_total", "type")],
    unit="cps", empty=_SILENT,
    description="Messages from Coinbase a second, by type. A type that falls to zero while others"
    " go on: look at the gateway's log for `subscriptions` and `error`.",
)  # fmt: skip
WRITE_RATE = timeseries(
    2, "Write Rate",
    [rate("iceberg_rows_written_total", "table")],
    unit="rowsps", empty=_UNTOLD,
    description="Rows that became durable a second, by table. Zero while messages come: look at"
    " Write Lag and at the log of write.",
)  # fmt: skip
TRADES_BY_PRODUCT = timeseries(
    3, "Trades by Product",
    [growth("coinbase_last_trade_id", "product")],
    unit="cps", empty=_SILENT,
    description="How fast the exchange's trade ids grow, a second. One product at zero while the"
    " others go on: its market is quiet or halted, or it is no longer subscribed.",
)  # fmt: skip
FEED_AGE = timeseries(
    4, "Feed Staleness",
    [
        age("last_update_timestamp_seconds", within="1d", legend="newest"),
        age("last_update_timestamp_seconds", "task_id", within="1h", legend="gateway {task_id}"),
    ],
    unit="s", empty="no gateway told anything for a day: start one", limits=Limits(120, 300),
    description="Time since the newest message, taken when asked: a frozen gateway grows old."
    " It exports once a minute, so one minute is fresh. A gateway that was replaced grows old for"
    " an hour and goes; if `newest` grows, restart the gateway.",
)  # fmt: skip
STAGE_AGE = timeseries(
    5, "Time since Success by Stage",
    [age("stage_last_success_timestamp_seconds", "stage", within="1d")],
    unit="s", empty="no stage succeeded for a day: look at schedules and logs",
    description="Time since each stage last did all it had to, taken when asked. A line that keeps"
    " rising: the schedule is off or every call fails; look at the stage's log. maintain and"
    " reconcile come less often than the others.",
)  # fmt: skip
CONNECTIONS = timeseries(
    6, "Books and Connections",
    [
        total("gateway_books_valid", legend="products with a valid book"),
        total("gateway_connections_open", legend="open connections"),
    ],
    unit="short", empty=_SILENT,
    description="Two gateways count twice while one replaces the other. Fewer books than products:"
    " those wait for a snapshot. No connection: see Reconnections.",
)  # fmt: skip
EVENTS = timeseries(
    7, "Reconnections and Events",
    [
        increase("websocket_reconnections_total", legend="reconnections"),
        increase("gateway_events_total", "kind",
                 where={"kind": ("close", "drop", "gap", "invalid", "reject")}),
    ],
    unit="short", style="bars", empty=_NONE, calcs=("sum",),
    description="What went wrong at the gateway, in each period. One reconnection now and then is"
    " normal; for many, the reasons stand in the table `events`.",
)  # fmt: skip

COMPLETENESS = timeseries(
    8, "Data Completeness",
    [lowest("data_completeness_ratio", "table")],
    unit="percentunit", empty="reconcile has proven nothing yet: is it scheduled?",
    limits=Limits(look=1, act=0.999, below=True), most=1, near=0.99,
    calcs=("lastNotNull", "min"),
    description="Of what should be durable, how much is, as reconcile proved from rows and ledgers:"
    " no counters are divided. Less than 100 % of raw_trades heals by itself while the gap is open;"
    " of other tables, the table `gaps` says which frames are missing.",
)  # fmt: skip
SEQUENCE_GAPS = stat(
    9, "Sequence Gaps",
    [
        increase("coinbase_sequence_gaps_total", legend="gaps found"),
        increase("coinbase_trades_missed_total", legend="trades missed"),
    ],
    unit="short", calc="sum", empty=_SILENT, limits=Limits(look=1, act=1_000),
    description="Counted over the time shown; from trade ids, not from `sequence`. Missed trades"
    " are fetched by reconcile within minutes: compare with Open Gaps.",
)  # fmt: skip
OPEN_GAPS = stat(
    10, "Open Gaps",
    [highest("reconcile_gaps_open", legend="open gaps")],
    unit="short", empty="reconcile told nothing for an hour", limits=Limits(look=1, act=10),
    span="1h",
    description="Gaps that may still be healed. If they stay, look at the log of reconcile: it"
    " names the product and what the exchange answered.",
)  # fmt: skip
OLDEST_GAP = stat(
    11, "Oldest Open Gap",
    [age_of_set("reconcile_oldest_gap_timestamp_seconds", within="30m", legend="age")],
    unit="s", empty="none open, or reconcile silent", limits=Limits(look=900, act=3_600),
    span="5m",
    description="How long ago the oldest open gap was first seen. Old ones need a person: REST may"
    " be refusing, see the log of reconcile.",
)  # fmt: skip
MESSAGES_VS_WRITES = timeseries(
    12, "Messages vs Writes",
    [
        rate("coinbase_messages_received_total", legend="messages received"),
        rate("gateway_rows_total", legend="rows captured"),
        rate("iceberg_rows_written_total", legend="rows durable",
             where={"table": tuple(CAPTURED)}),
    ],
    unit="cps", empty=_SILENT,
    description="Rows captured and rows durable of the same tables should run together; a message"
    " makes more or fewer than one row. Durable below captured for long: write falls behind, see"
    " Write Lag. For proof see Data Completeness.",
)  # fmt: skip
MISSING = timeseries(
    13, "Missing",
    [highest("data_missing", "table")],
    unit="short", empty="reconcile has proven nothing yet: is it scheduled?",
    limits=Limits(look=1, act=1_000),
    description="Trades of raw_trades and frames of the other tables that should be durable and are"
    " not. Frames that stay missing: look for them in the spool and in quarantine.",
)  # fmt: skip
GAPS = timeseries(
    14, "Gaps by What Became of Them",
    [
        increase("reconcile_gaps_total", "state"),
        increase("reconcile_trades_fetched_total", legend="trades fetched"),
    ],
    unit="short", style="bars", empty=_NONE, calcs=("sum",),
    description="`permanent` is lost for good: the table `gaps` says what and why. `opened` without"
    " `healed`: see Oldest Open Gap.",
)  # fmt: skip
ROW_WRITES = timeseries(
    15, "Row Writes by Status",
    [rate("processor_row_writes_total", "status")],
    unit="rowsps", empty=_UNTOLD,
    description="`duplicate` rows came twice and were stored once: many, and acks come too late."
    " `failed` rows are tried again: look at the log of write.",
)  # fmt: skip
REFUSED = timeseries(
    16, "Quarantined Messages",
    [increase("processor_decode_errors_total", legend="no frames")],
    unit="short", style="bars", empty=_UNTOLD, limits=Limits(look=1, act=10), calcs=("sum",),
    description="Messages of the bus that could not be read; their bytes are kept in quarantine."
    " Find out who published them, and redrive them once they can be read.",
)  # fmt: skip

FLUSH_LATENCY = heatmap(
    17, "Flush Latency",
    buckets("iceberg_flush_duration_seconds"),
    unit="s", empty=_UNTOLD,
    description="How long commits took, from the wish to rows being durable. Rows are named by the"
    " longest they hold; 0 is the first one, up to 0.05 s. Rising for good: files have become too"
    " many, look at maintain.",
)  # fmt: skip
BATCH_SIZE = timeseries(
    18, "Flush Batch Size",
    [percentile("iceberg_flush_rows", 50), percentile("iceberg_flush_rows", 99)],
    unit="short", empty=_UNTOLD,
    description="Rows that one commit added. Small ones in great number make small files; large"
    " ones mean that write catches up.",
)  # fmt: skip
FLUSHES = timeseries(
    19, "Flushes by Table",
    [increase("iceberg_flush_total", "table")],
    unit="short", style="bars", empty=_UNTOLD, calcs=("sum",),
    description="Commits that added rows. None for a table that should grow: see Row Writes by"
    " Status.",
)  # fmt: skip
MAINTENANCE = timeseries(
    26, "Tables not Looked After",
    [increase("maintain_failures_total", legend="failures")],
    unit="short", style="bars", empty=_UNTOLD, limits=Limits(look=1, act=3), calcs=("sum",),
    description="Tables that maintain could not look after. Until it can, their files and snapshots"
    " pile up and flushes slow down; the log of maintain names table and reason.",
)  # fmt: skip

BUFFERS = timeseries(
    20, "Buffer Utilisation",
    [
        fullness("labeler_buffer_size", "labeler_buffer_capacity", legend="labeler"),
        fullness("trade_buffer_size", "trade_buffer_capacity", legend="trades"),
    ],
    unit="percent", empty=_SILENT, limits=Limits(look=80, act=95), most=100,
    description="The fullest of each kind. The labeler near 100 %: it does not keep up, give it"
    " more time or fewer horizons. Trades near 100 %: windows forget before their time is over.",
)  # fmt: skip
WRITE_LAG = timeseries(
    21, "Write Lag",
    [highest("processor_consumer_lag", "stream")],
    unit="s", empty=_UNTOLD, limits=_WAITING,
    description="Age of the oldest frame in the newest pull, by stream; 0 where nothing was left."
    " It is told by write itself: when write is silent, see Time since Success by Stage. Rising:"
    " let write run more often or longer.",
)  # fmt: skip
QUEUES = timeseries(
    22, "Queue and Spool",
    [
        total("gateway_queue_bytes", legend="queue"),
        total("gateway_spool_frames", legend="spool"),
    ],
    unit="bytes", empty=_SILENT, right=Axis("B", "short", "frames"),
    description="What the bus does not have yet: bytes in memory, frames on disk. Both fall by"
    " themselves when the bus answers again; if not, see Failures at the Gateway.",
)  # fmt: skip
FAILURES = timeseries(
    23, "Failures at the Gateway",
    [
        increase("gateway_publish_failures_total", legend="publish"),
        increase("gateway_spool_failures_total", legend="spool"),
    ],
    unit="short", style="bars", empty=_SILENT, limits=Limits(look=1, act=60), calcs=("sum",),
    description="Calls that failed in each period; frames are kept and tried again. Publish: the"
    " bus or its permission. Spool: the disk is full or gone, and memory is all that is left.",
)  # fmt: skip
PULLS = timeseries(
    24, "Pulls by Result",
    [rate("processor_consumer_reads_total", "result")],
    unit="cps", empty=_UNTOLD,
    description="Pulls of write. `error`: the bus refuses, look at the log of write. Only `empty`"
    " while the gateway publishes: the subscription belongs to another topic.",
)  # fmt: skip
ACKS = timeseries(
    25, "Frames Pulled and Acked",
    [
        rate("processor_consumer_records_total", legend="pulled"),
        rate("processor_acks_total", legend="acked"),
    ],
    unit="cps", empty=_UNTOLD,
    description="Both should run together. Acked below pulled: commits fail, and the same frames"
    " come again; look at the log of write.",
)  # fmt: skip


ROWS = (
    Row(101, "Flow: is everything coming in, and going on?", (
        evenly(8, MESSAGE_RATE, WRITE_RATE, TRADES_BY_PRODUCT),
        evenly(8, FEED_AGE, STAGE_AGE, CONNECTIONS, EVENTS),
    )),
    Row(102, "Completeness: is anything missing?", (
        (8, [(8, COMPLETENESS), (4, SEQUENCE_GAPS), (3, OPEN_GAPS), (3, OLDEST_GAP),
             (6, MESSAGES_VS_WRITES)]),
        evenly(7, MISSING, GAPS, ROW_WRITES, REFUSED),
    )),
    Row(103, "Flushes: how do rows become durable?", (
        (9, [(9, FLUSH_LATENCY), (5, BATCH_SIZE), (5, FLUSHES), (5, MAINTENANCE)]),
    )),
    Row(104, "Buffers: does anything pile up?", (
        evenly(8, BUFFERS, WRITE_LAG, QUEUES),
        evenly(7, FAILURES, PULLS, ACKS),
    )),
)  # fmt: skip
