"""Clocks that tests own: one that stands still until it is moved, and one that runs faster."""

import time
from dataclasses import dataclass

from quotewatch.clock import NS_PER_SECOND


@dataclass(slots=True)
class HandClock:
    """Stands still until somebody sleeps on it."""

    elapsed_ns: int = 0
    start_ns: int = 1_790_000_000 * NS_PER_SECOND

    def now_ns(self) -> int:
        return self.start_ns + self.elapsed_ns

    def monotonic(self) -> float:
        return self.elapsed_ns / NS_PER_SECOND

    def sleep(self, seconds: float) -> None:
        self.elapsed_ns += round(seconds * NS_PER_SECOND)


@dataclass(frozen=True, slots=True)
class FastClock:
    """Real time, times `speed`: the same in every process that is given the same origin."""

    origin_ns: int
    speed: int

    def now_ns(self) -> int:
        return self.origin_ns + (time.time_ns() - self.origin_ns) * self.speed

    def monotonic(self) -> float:
        return time.monotonic()
