"""Values counted by bucket: many values in, one count a bucket and their sum out."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise


@dataclass(frozen=True, slots=True)
class Tally:
    """How many values lie up to each bound, the last count beyond all bounds, and their sum."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float

    @property
    def count(self) -> int:
        """How many values there are."""
        return sum(self.counts)

    def running(self) -> list[int]:
        """Return how many values lie up to each bound, all those below included."""
        return list(accumulate(self.counts))


def tally(
    bounds: tuple[float, ...], total: int, up_to: Callable[[float], int], sum_of_all: float
) -> Tally:
    """Make a tally of values, told how many of them lie up to a bound."""
    running = [0, *map(up_to, bounds), total]
    return Tally(bounds, tuple(high - low for low, high in pairwise(running)), sum_of_all)
