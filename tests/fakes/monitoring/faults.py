"""What befalls the calls of the fake: queued errors, an outage, slowness, unlucky metrics."""

from collections import deque
from dataclasses import dataclass, field

import grpc  # type: ignore[import-untyped]  # grpcio carries no types

from tests.fakes.monitoring.refusal import RefusedError

_WORDS = {
    grpc.StatusCode.UNAVAILABLE: "The service is currently unavailable.",
    grpc.StatusCode.PERMISSION_DENIED: (
        "Permission monitoring.timeSeries.create denied (or the resource may not exist)."
    ),
    grpc.StatusCode.RESOURCE_EXHAUSTED: "Quota exceeded for quota metric 'Time series ingestion'.",
    grpc.StatusCode.INTERNAL: "Internal error encountered.",
    grpc.StatusCode.DEADLINE_EXCEEDED: "Deadline exceeded.",
}


@dataclass(slots=True)
class Faults:
    """The faults in force; the caller holds the lock."""

    queues: dict[str, deque[grpc.StatusCode]] = field(default_factory=dict)
    outage: grpc.StatusCode | None = None
    delay_seconds: float = 0.0
    unlucky: list[str] = field(default_factory=list)

    def queue(self, code: grpc.StatusCode, times: int, method: str) -> None:
        """Spoil the next calls of a method."""
        self.queues.setdefault(method, deque()).extend([code] * times)

    def check(self, method: str) -> None:
        """Refuse a call whose turn it is."""
        queue = self.queues.get(method)
        code = self.outage or (queue.popleft() if queue else None)
        if code is not None:
            raise RefusedError(code, _WORDS.get(code, f"The call failed with {code.name}."))

    def is_unlucky(self, metric_type: str) -> bool:
        """Say whether this metric is refused for no reason of its own."""
        return any(part in metric_type for part in self.unlucky)
