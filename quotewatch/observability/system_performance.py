"""The dashboard "System Performance": how fast each part is, and how fresh what people see."""

from quotewatch.observability.layout import Row, evenly
from quotewatch.observability.panels import Axis, Limits, timeseries
from quotewatch.observability.queries import (
    PERCENTS,
    age,
    growth,
    highest,
    increase,
    percentile,
    rate,
    total,
    work,
)

TITLE = "System Performance"
UID = "quotewatch-system-performance"
DESCRIPTION = (
    "Latencies, models, freshness and load of QuoteWatch. All times are ours; the exchange's clock"
    " counts only where a title says so."
)

_SILENT = "nothing told in this time: is the gateway running, and does it export?"
_UNTOLD = "nothing told in this time: did the stage run, and does it export?"
_NO_CONSOLE = "no console exports here: it does where a run on one machine has an exporter"

LATENCY = timeseries(
    1, "Pipeline Latency",
    [percentile("pipeline_message_latency_seconds", each, "stamp") for each in PERCENTS],
    unit="s", empty=_SILENT, calcs=("mean", "max"),
    description="From the exchange's time to our stamps: received, published, pulled, predicted,"
    " committed. Find the first stamp that jumps: the step before it is slow. `pulled` and"
    " `committed` hold the time between two calls of write.",
)  # fmt: skip
STAGE_BREAKDOWN = timeseries(
    2, "Stage Breakdown",
    [work("pipeline_callback_duration_seconds", "stage")],
    unit="short", style="stack", empty=_UNTOLD, calcs=("mean", "max"),
    description="Seconds of work in each second, by stage, stacked: 1 keeps one processor busy."
    " Compare with the processors each has; the widest band is where making it faster pays.",
)  # fmt: skip

INFERENCE = timeseries(
    3, "ML Inference",
    [percentile("ml_predict_duration_seconds", each) for each in (50, 99)],
    unit="s", empty=_UNTOLD, limits=Limits(look=0.05, act=0.25), calcs=("mean", "max"),
    description="From a frame of features to its frame of predictions. Slow: fewer products or"
    " horizons in one frame, or more instances of predict.",
)  # fmt: skip
TRAINING = timeseries(
    4, "ML Training",
    [percentile("ml_train_duration_seconds", each) for each in (50, 99)],
    unit="s", empty=_UNTOLD, limits=Limits(look=0.5, act=1), calcs=("mean", "max"),
    description="Learning one batch of labels, scoring included. Rising: label commits larger"
    " batches; train needs a larger budget.",
)  # fmt: skip
PREDICTIONS = timeseries(
    5, "Predictions by Answer",
    [rate("ml_predictions_total", "prediction")],
    unit="cps", empty="no answers: no model is ready, or predict gets no frames",
    style="stack", calcs=("mean", "max"),
    description="Answers a second; 1 means that the price will move. One answer alone for hours:"
    " compare with Samples by Label, and with the model's scores.",
)  # fmt: skip
SAMPLES = timeseries(
    6, "Samples by Label",
    [rate("ml_samples_total", "label")],
    unit="cps", empty=_UNTOLD, style="stack", calcs=("mean", "max"),
    description="Rows labelled a second; the share of 1 is the base rate that a model must beat."
    " None while features are written: look at the log of label.",
)  # fmt: skip

STALENESS = timeseries(
    7, "Dashboard Staleness",
    [
        age("last_update_timestamp_seconds", within="1d", legend="newest message"),
        age(
            "stage_last_success_timestamp_seconds", "stage", within="1d", legend="{stage}",
            where={"stage": ("write", "predict")},
        ),
        highest("dashboard_update_age_seconds", legend="console on its machine"),
    ],
    unit="s", empty="nothing told for a day: start gateway and schedules",
    limits=Limits(look=300, act=900),
    description="How old is what a reader of the tables sees: never newer than the newest message"
    " and the newest success of write. Ages are taken when asked, so who is dead grows old; only"
    " the console tells its own. Restart who keeps rising.",
)  # fmt: skip
RENDER_TIME = timeseries(
    8, "Render Time",
    [percentile("dashboard_callback_duration_seconds", each) for each in (50, 99)],
    unit="s", empty=_NO_CONSOLE, limits=Limits(look=0.25, act=1), calcs=("mean", "max"),
    description="Drawing the console once. Slow: the machine is busy, the terminal is slow, or the"
    " console shows too many products.",
)  # fmt: skip
DRAWINGS = timeseries(
    9, "Console Drawings",
    [rate("dashboard_callbacks_total", legend="drawings")],
    unit="cps", empty=_NO_CONSOLE,
    description="Times a second that the console was drawn. Zero while it runs: it is frozen; stop"
    " it, data is not affected.",
)  # fmt: skip

RATE_VS_LATENCY = timeseries(
    10, "Message Rate vs Latency",
    [
        rate("coinbase_messages_received_total", legend="messages"),
        percentile("pipeline_message_latency_seconds", 99, "stamp"),
    ],
    unit="cps", empty=_SILENT, right=Axis("B", "s", "p99 from the exchange's time"),
    calcs=("mean", "max"),
    description="Latency that rises with the rate: a part is at its limit, see Stage Breakdown."
    " Latency that rises alone: the network, the bus or a schedule.",
)  # fmt: skip
BOOK_UPDATES = timeseries(
    11, "Book Updates",
    [total("orderbook_updates_per_second", legend="level-2 updates")],
    unit="cps", empty=_SILENT, calcs=("mean", "max"),
    description="Level-2 updates a second, over the last ten seconds of each export. Zero while"
    " trades come: the books are not subscribed, see the gateway's log.",
)  # fmt: skip
CLOCK = timeseries(
    12, "Exchange's Clock Ahead",
    [rate("pipeline_clock_ahead_total", legend="messages")],
    unit="cps", empty=_SILENT,
    description="Messages a second that came before the exchange's time for them; their latency"
    " counts as 0. Many: the gateway's clock is slow, check its time service.",
)  # fmt: skip

PUBLISHING = timeseries(
    13, "Publish Time",
    [percentile("gateway_publish_seconds", each) for each in (50, 99)],
    unit="s", empty=_SILENT, limits=Limits(look=1, act=5), calcs=("mean", "max"),
    description="From the close of a window to the bus having its frame. Slow: the bus or the"
    " network to it; nothing is lost, frames wait in the spool.",
)  # fmt: skip
BYTES = timeseries(
    14, "Bytes Published",
    [rate("gateway_bytes_published_total", "stream")],
    unit="Bps", empty=_SILENT, style="stack", calcs=("mean", "max"),
    description="Encoded bytes a second, by stream: what the bus is paid for. A jump without more"
    " messages: windows have become shorter or frames smaller, see the settings.",
)  # fmt: skip
WRITING = timeseries(
    15, "Write Batch Time",
    [percentile("processor_row_write_duration_seconds", each) for each in (50, 99)],
    unit="s", empty=_UNTOLD, limits=Limits(look=10, act=30), calcs=("mean", "max"),
    description="From a batch of frames to its commit. Near the ack deadline, frames come twice:"
    " raise the deadline, or look at maintain for too many files.",
)  # fmt: skip
RUN_TIME = timeseries(
    16, "Run Time by Stage",
    [highest("stage_run_seconds", "stage")],
    unit="s", empty=_UNTOLD, calcs=("mean", "max"),
    description="How long the newest call took. At its budget every time: the stage does not catch"
    " up; raise the budget or call it more often.",
)  # fmt: skip
RUNS = timeseries(
    17, "Runs by Stage and Outcome",
    [increase("stage_runs_total", "stage", "outcome", legend="{stage} {outcome}")],
    unit="short", style="bars", empty=_UNTOLD, calcs=("sum",),
    description="Calls in each period; for predict, frames. `failed` runs leave the work to the"
    " next one: their log says why.",
)  # fmt: skip
EXPORTS = timeseries(
    18, "Exports and Points Lost",
    [
        increase("metrics_exports_total", "result", legend="exports {result}"),
        increase("metrics_points_lost_total", "reason", legend="points lost, {reason}"),
    ],
    unit="short", style="bars", empty="no exports in this time: all panels stand still",
    calcs=("sum",),
    description="Exports of this very data. `denied`: the account needs"
    " roles/monitoring.metricWriter; `refused` and `descriptor`: an older release wrote other"
    " descriptors. Counters carry on with the next export.",
)  # fmt: skip
TRADES = timeseries(
    19, "Trades by Product",
    [growth("coinbase_last_trade_id", "product")],
    unit="cps", empty="no gateway tells of trades: is one running?",
    description="How fast the exchange's trade ids grow, a second: whose load it is. One that"
    " outgrows the others deserves a gateway of its own.",
)  # fmt: skip


ROWS = (
    Row(101, "Latency: where does the time go?", (
        evenly(9, LATENCY, STAGE_BREAKDOWN),
    )),
    Row(102, "Models: how fast do they answer and learn?", (
        evenly(8, INFERENCE, TRAINING, PREDICTIONS, SAMPLES),
    )),
    Row(103, "Freshness: how old is what people see?", (
        (8, [(12, STALENESS), (6, RENDER_TIME), (6, DRAWINGS)]),
    )),
    Row(104, "Load: does speed depend on it?", (
        (8, [(9, RATE_VS_LATENCY), (5, BOOK_UPDATES), (5, TRADES), (5, CLOCK)]),
    )),
    Row(105, "Parts: publishing, writing, calls and exports", (
        evenly(7, PUBLISHING, BYTES, WRITING),
        evenly(7, RUN_TIME, RUNS, EXPORTS),
    )),
)  # fmt: skip
