"""The time, passed in wherever it matters, so that tests and replays own it."""

import secrets
import time
from dataclasses import dataclass
from typing import Protocol

NS_PER_SECOND = 1_000_000_000
US_PER_SECOND = 1_000_000


class Clock(Protocol):
    """Wall time for what is stored, monotonic time for durations."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds of a clock that never steps back."""
        ...


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The clock of this machine."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970, UTC."""
        return time.time_ns()

    def monotonic(self) -> float:
        """Seconds of a clock that never steps back."""
        return time.monotonic()


def new_epoch(now_ns: int) -> str:
    """Make the id of one producer's life: sortable by start time, unique among producers."""
    return f"{now_ns:016x}-{secrets.token_hex(4)}"
