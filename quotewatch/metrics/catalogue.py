"""The catalogue: what is not in it cannot be recorded, shown or alerted on."""

from quotewatch.metrics.declared.capture import CAPTURE, PIPELINE
from quotewatch.metrics.declared.learning import LEARNING
from quotewatch.metrics.declared.processes import CONSOLES, EXPORTS, RUNS
from quotewatch.metrics.declared.storage import DRAINS, FLUSHES, PROOF
from quotewatch.metrics.metric import Metric

_DECLARED = (
    *CAPTURE, *PIPELINE, *DRAINS, *FLUSHES, *PROOF, *LEARNING, *RUNS, *EXPORTS, *CONSOLES,
)  # fmt: skip

CATALOGUE: dict[str, Metric] = {metric.name: metric for metric in _DECLARED}
OWNERS: tuple[str, ...] = tuple(
    dict.fromkeys(owner for metric in _DECLARED for owner in metric.owners)
)


def metrics_of(owner: str) -> list[Metric]:
    """Return what one process records."""
    return [metric for metric in CATALOGUE.values() if owner in metric.owners]
