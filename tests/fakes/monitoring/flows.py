"""How much a counted thing grew between two moments: for CUMULATIVE and DELTA series.

Between two points the growth is taken as even, as the real one interpolates; after a reset it
counts from 0 at the new start time. Parts of a whole add up to the whole.
"""

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

from tests.fakes.monitoring.store import Series
from tests.fakes.monitoring.values import Distribution, Point, Value


@dataclass(frozen=True, slots=True)
class Growth:
    """An amount that came in a stretch of time."""

    begin_ns: int
    end_ns: int
    amount: Value


class Flow:
    """All growth of a series, in order of time."""

    def __init__(self, series: Series) -> None:
        self._growths = _growths(series)
        self._ends = [growth.end_ns for growth in self._growths]
        self._totals: list[Value] = [scaled(growth.amount, 0) for growth in self._growths[:1]]
        for growth in self._growths:
            self._totals.append(added(self._totals[-1], growth.amount))

    def covers(self, begin_ns: int, end_ns: int) -> bool:
        """Say whether anything is known about that time."""
        place = bisect_right(self._ends, begin_ns)
        return place < len(self._growths) and self._growths[place].begin_ns < end_ns

    def total(self, at_ns: int) -> Value:
        """Add up all growth until a moment."""
        place = bisect_right(self._ends, at_ns)
        done = self._totals[place]
        if place == len(self._growths) or self._growths[place].begin_ns >= at_ns:
            return done
        growth = self._growths[place]
        fraction = (at_ns - growth.begin_ns) / (growth.end_ns - growth.begin_ns)
        return added(done, scaled(growth.amount, fraction))


def added(one: Value, other: Value) -> Value:
    """Add two values of a kind."""
    if isinstance(one, Distribution):
        return one + cast("Distribution", other)
    return one + cast("float", other)


def subtracted(one: Value, other: Value) -> Value:
    """Take the other from the one."""
    return added(one, scaled(other, -1))


def scaled(value: Value, factor: float) -> Value:
    """Take a part of a value."""
    return value.scaled(factor) if isinstance(value, Distribution) else value * factor


def _growths(series: Series) -> list[Growth]:
    if series.kind == "DELTA":
        return [Growth(point.start_ns, point.end_ns, point.value) for point in series.points]
    first = [Growth(p.start_ns, p.end_ns, p.value) for p in series.points[:1]]
    return first + [_growth(before, point) for before, point in pairwise(series.points)]


def _growth(before: Point, point: Point) -> Growth:
    if point.start_ns != before.start_ns:
        return Growth(point.start_ns, point.end_ns, point.value)
    return Growth(before.end_ns, point.end_ns, subtracted(point.value, before.value))
