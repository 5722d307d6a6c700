"""How long to wait before trying again: doubling with jitter, forgotten after good times. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import random


@dataclass(slots=True)
class Backoff:
    """1, 2, 4 ... up to 30 seconds, each cut by a random part of up to a half."""

    first_seconds: float = 1.0
    longest_seconds: float = 30.0
    healthy_seconds: float = 60.0  # what lasted this long starts from `first_seconds` again
    jitter: Callable[[], float] = random
    _failures: int = field(default=0, init=False)

    def next_delay(self, lasted_seconds: float = 0.0) -> float:
        """Return the next delay after something that lasted so long before it failed."""
        if lasted_seconds >= self.healthy_seconds:
            self._failures = 0
        delay = min(self.first_seconds * 2.0**self._failures, self.longest_seconds)
        self._failures = min(self._failures + 1, 30)
        return delay * (1.0 - self.jitter() / 2.0)

    def reset(self) -> None:
        """Start over: it works."""
        self._failures = 0
