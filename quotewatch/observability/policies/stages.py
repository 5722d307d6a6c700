"""Alerts on stages that do not get their work done, whatever the reason."""

from quotewatch.observability.conditions import MEMORY_MINUTES, keeps_growing, older, series
from quotewatch.observability.policy import Policy, Severity
from quotewatch.streams import FEATURES

_FEATURES_PUBLISHED = series("gateway_bytes_published_total", stream=FEATURES.name)


def _older(stage: str, minutes: int) -> str:
    success = series("stage_last_success_timestamp_seconds", owner=stage)
    return older(success, f"{stage}_stalled_seconds", minutes)


def _stalled(stage: str, every: str, severity: Severity, for_seconds: int) -> Policy:
    return Policy(
        f"{stage}-stalled",
        f"`{stage}` does not get its work done",
        severity,
        f"`{stage}` is called {every}. Since ${{{stage}_stalled_seconds}} s no call has done all"
        " it had to, or none was ever heard of. It fails, hangs, is killed, is not called, or its"
        " metrics do not arrive.",
        _older(stage, MEMORY_MINUTES),
        for_seconds=for_seconds,
    )


STALLED = (
    _stalled("write", "each minute", "CRITICAL", 120),
    _stalled("label", "each 5 minutes and after each commit", "ERROR", 300),
    _stalled("train", "each 5 minutes", "ERROR", 300),
    _stalled("reconcile", "each 5 minutes", "ERROR", 300),
    _stalled("maintain", "each 10 minutes", "WARNING", 600),
    Policy(
        "predict-stalled", "`predict` answers nothing although features are published", "ERROR",
        "Frames of features go out, and since ${predict_stalled_seconds} s `predict` has answered"
        " none, or none ever. A frame without answers, for want of a model, is an answer.",
        f"{_older('predict', 60)} and on () {keeps_growing(_FEATURES_PUBLISHED, 10)}",
        for_seconds=300,
    ),
)  # fmt: skip
