"""The numbers alerts compare with, in one place. Terraform may set each to another."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Threshold:
    """One number, by the name under which queries and Terraform know it."""

    name: str
    value: float
    unit: str
    meaning: str


_ALL = (
    Threshold("gateway_silent_seconds", 240, "s", "since Coinbase last said anything"),
    Threshold("write_stalled_seconds", 240, "s", "since `write` last did all; called each minute"),
    Threshold("label_stalled_seconds", 900, "s", "the same of `label`; called each 5 minutes"),
    Threshold("train_stalled_seconds", 900, "s", "the same of `train`; called each 5 minutes"),
    Threshold("reconcile_stalled_seconds", 900, "s", "the same of `reconcile`; each 5 minutes"),
    Threshold("maintain_stalled_seconds", 1_800, "s", "the same of `maintain`; each 10 minutes"),
    Threshold("predict_stalled_seconds", 600, "s", "since `predict` last answered a frame"),
    Threshold("waiting_frames", 100, "frames", "in the spool; fewer are on their way"),
    Threshold("waiting_bytes", 8_388_608, "bytes", "in the gateway's memory, likewise"),
    Threshold("backlog_seconds", 300, "s", "age of the oldest frame that `write` was given"),
    Threshold("frame_stuck_seconds", 1_800, "s", "age of the oldest message nobody acked"),
    Threshold("gap_open_seconds", 3_600, "s", "how long a gap may stay open"),
    Threshold("gap_known_seconds", 86_400, "s", "after which an open gap is told no longer"),
    Threshold("completeness_least", 0.999, "ratio", "share of what should be durable"),
)  # fmt: skip

THRESHOLDS: dict[str, Threshold] = {each.name: each for each in _ALL}
