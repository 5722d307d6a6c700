"""What metrics cost: bytes that Cloud Monitoring bills a month, from the catalogue. Pure.

An upper bound: every series the catalogue allows, each in every export, one instance a process.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from quotewatch.metrics.catalogue import metrics_of
from quotewatch.metrics.metric import Metric

PRICES_OF = "November 2026"  # an assumption: look them up before relying on them
FREE_MIB = 150
DOLLARS_A_MIB = 0.2580  # the first tier, up to 100 000 MiB

SCALAR_BYTES, DISTRIBUTION_BYTES = 8, 80
DAYS = 30

# How often a process exports. The console runs on one machine, not in the cloud.
EXPORT_SECONDS: Mapping[str, int] = {
    "gateway": 60, "write": 60, "label": 60, "predict": 60,
    "train": 300, "reconcile": 300, "maintain": 600,
}  # fmt: skip

_MIB = 1_048_576


@dataclass(frozen=True)
class Bill:
    """What one process, or all of them, are billed for in a month."""

    series: int
    bytes: int

    @property
    def mib(self) -> float:
        """The same in the unit that is priced."""
        return self.bytes / _MIB

    @property
    def dollars(self) -> float:
        """What is left to pay, if nothing else of the account uses the free part."""
        return max(0.0, self.mib - FREE_MIB) * DOLLARS_A_MIB


def bill_of(owner: str, products: int) -> Bill:
    """Return what one process is billed for."""
    held = [(metric.series(owner, products), metric) for metric in metrics_of(owner)]
    once = sum(count * _point_bytes(metric) for count, metric in held)
    exports = DAYS * 86_400 // EXPORT_SECONDS[owner]
    return Bill(sum(count for count, _ in held), once * exports)


def bill(products: int) -> Bill:
    """Return what a deployment is billed for."""
    every = [bill_of(owner, products) for owner in EXPORT_SECONDS]
    return Bill(sum(each.series for each in every), sum(each.bytes for each in every))


def _point_bytes(metric: Metric) -> int:
    return DISTRIBUTION_BYTES if metric.kind == "histogram" else SCALAR_BYTES
