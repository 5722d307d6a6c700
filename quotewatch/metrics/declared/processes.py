"""What every process records about itself: its runs, its exports, and the console its drawing."""

from quotewatch.metrics.declared.buckets import CALLBACK
from quotewatch.metrics.metric import Metric, Owners

STAGES = ("write", "label", "predict", "train", "reconcile", "maintain")
CONSOLE = "console"
EXPORTERS = ("gateway", *STAGES, CONSOLE)

# Why points did not reach Cloud Monitoring.
EXPORT_REASONS = frozenset({"unavailable", "timeout", "denied", "refused", "clock", "descriptor",
                            "error"})  # fmt: skip

_BY_STAGE = {stage: {"stage": frozenset({stage})} for stage in STAGES}
_RUNS = {
    stage: {"stage": frozenset({stage}), "outcome": frozenset({"ok", "failed"})} for stage in STAGES
}
_CONSOLE: Owners = {CONSOLE: {}}

RUNS = (
    Metric("stage_runs_total", "counter", "1",
           "Calls of a stage, by outcome; for predict, frames handed to it.", _RUNS),
    Metric("stage_run_seconds", "gauge", "s",
           "How long the newest call took.", _BY_STAGE),
    Metric("stage_last_success_timestamp_seconds", "gauge", "s",
           "When a call last did all it had to; its age is taken when asked.", _BY_STAGE),
)  # fmt: skip

EXPORTS = (
    Metric("metrics_exports_total", "counter", "1",
           "Exports to Cloud Monitoring: all points taken, some, or none.",
           {each: {"result": frozenset({"ok", "partial", "failed"})} for each in EXPORTERS}),
    Metric("metrics_points_lost_total", "counter", "1",
           "Points that Cloud Monitoring did not take, by reason. Counters carry on with the next"
           " export; of gauges a moment is lost.",
           {each: {"reason": EXPORT_REASONS} for each in EXPORTERS}, most=3),
    Metric("metrics_export_seconds", "gauge", "s",
           "How long the newest export took.", {each: {} for each in EXPORTERS}, forensic=True),
)  # fmt: skip

CONSOLES = (
    Metric("dashboard_update_age_seconds", "gauge", "s",
           "How long ago the console was drawn, at the moment of asking.", _CONSOLE),
    Metric("dashboard_callback_duration_seconds", "histogram", "s",
           "Drawing the console once.", _CONSOLE, buckets=CALLBACK),
    Metric("dashboard_callbacks_total", "counter", "1",
           "Times the console was drawn.", _CONSOLE),
)  # fmt: skip
