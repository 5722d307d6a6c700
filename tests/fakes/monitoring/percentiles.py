"""Percentiles: of the values in a histogram's buckets, and of plain numbers."""

from collections.abc import Sequence
from itertools import accumulate

from tests.fakes.monitoring.values import Distribution

PERCENTS = {"99": 99.0, "95": 95.0, "50": 50.0, "05": 5.0}


def of_distribution(values: Distribution, percent: float) -> float | None:
    """Estimate a percentile within its bucket; nothing is known of an empty histogram."""
    rank = values.count * percent / 100
    for bucket, upto in enumerate(accumulate(values.counts)):
        inside = values.counts[bucket]
        if inside and upto >= rank:
            lower, upper = _edges(values.bounds, bucket)
            return lower + (upper - lower) * (rank - upto + inside) / inside
    return None


def of_numbers(values: Sequence[float], percent: float) -> float:
    """Find a percentile between the two nearest of the values."""
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def _edges(bounds: tuple[float, ...], bucket: int) -> tuple[float, float]:
    """Tell where a bucket begins and ends.

    The outer two are open. The first is taken to begin at 0, or to be no wider than its bound
    where that is not above 0; the last is taken to lie on its bound.
    """
    lower = bounds[bucket - 1] if bucket else min(0.0, bounds[0])
    return lower, bounds[min(bucket, len(bounds) - 1)]
