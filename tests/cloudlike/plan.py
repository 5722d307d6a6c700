"""What a run is asked for, and what there is to run. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from quotewatch.bus.topology import LABEL, PREDICT

GATEWAY = "gateway"
# Seconds between two calls, as in the demo: the cloud's are minutes.
INTERVALS: Mapping[str, float] = {
    "write": 2.0, "label": 10.0, "train": 10.0, "reconcile": 5.0, "maintain": 15.0,
}  # fmt: skip
PUSHED: Mapping[str, str] = {PREDICT: "predict", LABEL: "label"}  # subscription -> function
FUNCTIONS = ("write", "label", "predict", "train", "reconcile", "maintain")
MORTALS = (GATEWAY, *FUNCTIONS)  # who may be killed; the rest is the cloud itself

# The least that Pub/Sub allows: what a killed writer held comes again after it.
ACK_SECONDS = 10
# Beyond what a killed writer delays a frame by: its lease, a restart, the next call. Trades that
# are on their way are not fetched.
SETTLE_SECONDS = 25
HORIZON_MS = 500

KillMode = Literal["none", "listed", "random"]


@dataclass(frozen=True)
class Plan:
    """One run. Without `data` it gets a new directory of its own."""

    seconds: float = 60.0
    products: tuple[str, ...] = ("BTC-USD", "ETH-USD")
    rate: float = 150.0
    seed: int = 1
    mode: KillMode = "none"
    victims: tuple[str, ...] = ()  # each once, where they are listed
    data: Path | None = None
    keep: bool = False
    grants: Path | None = None  # what each account may do; without, everything
