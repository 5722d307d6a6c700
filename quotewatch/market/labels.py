"""Labels of stored features rows: the rows of one epoch in, what came of each out. Pure.

A row seen at t is labelled with the mid in force at t + horizon: that of the last row of its own
book up to then. Nothing is labelled before that is certain, so it does not matter when and in
which portions rows are looked at. docs/messages.md has the definition.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]

# No row of a connection comes later than this after a newer one of it.
LATENESS_US = 2_000_000
MOVE = 10_000  # a move counts if it is more than one part in so many
NEVER = np.iinfo(np.int64).max  # the arrival of what has not happened
# Up to here the sum of two prices times MOVE fits into 64 bits.
_MOST_UNITS = NEVER // (4 * MOVE)


class State(IntEnum):
    """What is known of a row's future."""

    WAITING = 0
    LABELLED = 1
    CLOSED = 2  # its book or its connection ended before the horizon was reached
    HOLE = 3  # frames are missing for good in which the answer may have been


@dataclass(frozen=True, slots=True)
class Rows:
    """Features rows of one epoch, in any order, column by column."""

    books: Numbers  # a number for each (symbol, book)
    conns: Numbers
    times: Numbers  # exchange time in microseconds
    arrivals: Numbers
    prices: npt.NDArray[Any]  # best bid and best ask together, in whole units


@dataclass(frozen=True, slots=True)
class Sighting:
    """An exchange time that the journal tells of: how far a connection had come."""

    conn: int
    time_us: int
    arrival: int


@dataclass(frozen=True, slots=True)
class Known:
    """What else is known of the epoch. What has arrived up to a number is complete below it."""

    features_until: int = -1  # every features row up to this arrival is among the rows or before
    events_until: int = -1  # every end of a book before this arrival is among `ends`
    ends: Mapping[int, int] = field(default_factory=dict)  # book -> arrival of what ended it
    conn_ends: Mapping[int, int] = field(default_factory=dict)
    sightings: Sequence[Sighting] = ()
    holes: Sequence[tuple[int, int]] = ()  # exchange times between which rows may be missing
    unwritten: Sequence[tuple[int, int]] = ()  # arrivals between which ends may be missing
    over: bool = False  # nothing will come any more


@dataclass(frozen=True, slots=True)
class Outcome:
    """One entry for each row asked about."""

    states: npt.NDArray[np.int8]
    at_horizon: Numbers  # the place of the row in force then
    labels: npt.NDArray[np.int32]


def label(rows: Rows, asked: Numbers, horizon_us: int, known: Known) -> Outcome:
    """Say what came of the rows at the places `asked`, as far as it is certain."""
    targets = rows.times[asked] + horizon_us
    at = in_force(rows, asked, horizon_us)
    states = _states(rows, asked, targets, known)
    for low, high in known.holes:
        unsure = (targets >= low) & (rows.times[at] <= high)
        states[unsure & (states == State.LABELLED)] = State.HOLE
    return Outcome(states, at, moved(rows.prices[asked], rows.prices[at]))


def in_force(rows: Rows, asked: Numbers, horizon_us: int) -> Numbers:
    """Return for each row asked about the last row of its book up to its horizon."""
    order = np.lexsort((rows.arrivals, rows.times, rows.books))
    if not order.size:
        return order
    start = int(rows.times.min())
    # One number that sorts by book and then by time: spans of a month and 500 000 books fit.
    width = int(rows.times.max()) - start + 2
    keys = rows.books[order] * width + (rows.times[order] - start)
    wanted = np.minimum(rows.times[asked] + horizon_us - start, width - 1)
    found = np.searchsorted(keys, rows.books[asked] * width + wanted, "right") - 1
    return np.asarray(order[found], np.int64)


def moved(before: npt.NDArray[Any], after: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Return 1 where a price moved by more than one part in 10 000, exactly."""
    if object in {before.dtype, after.dtype} or _is_large(before) or _is_large(after):
        before, after = before.astype(object), after.astype(object)
    return np.asarray(abs(after - before) * MOVE > before, bool).astype(np.int32)


def _is_large(prices: npt.NDArray[Any]) -> bool:
    return bool(prices.size and prices.max() > _MOST_UNITS)


# Whether it is certain


def _states(rows: Rows, asked: Numbers, targets: Numbers, known: Known) -> npt.NDArray[np.int8]:
    """Judge all rows asked about, connection by connection."""
    states = np.zeros(asked.size, np.int8)
    seen = _last_seen(rows)
    conns = rows.conns[asked]
    for conn in np.unique(conns).tolist():
        mine = conns == conn
        progress = _Progress.of(rows, conn, known)
        states[mine] = _judge(progress, rows, asked[mine], targets[mine], seen, known)
    return states


def _judge(
    progress: "_Progress",
    rows: Rows,
    asked: Numbers,
    targets: Numbers,
    seen: Mapping[int, int],
    known: Known,
) -> npt.NDArray[np.int8]:
    reached = progress.reached(targets)
    # Strictly beyond: a row of exactly that time may still be on its way.
    passed = progress.reached(targets + LATENESS_US + 1) != NEVER
    codes, places = np.unique(rows.books[asked], return_inverse=True)
    ends = np.array([known.ends.get(code, NEVER) for code in codes.tolist()], np.int64)[places]
    last = np.array([seen[code] for code in codes.tolist()], np.int64)[places]
    is_reached, has_ended = reached != NEVER, ends != NEVER
    # An end that is known may not be the first: only the whole journal until then says so.
    told = last >= reached
    alive = is_reached & (told | (known.events_until > reached)) & (ends >= reached)
    over = known.over or known.features_until >= progress.end
    complete = known.over | (known.features_until >= ends)
    closed = has_ended & ((is_reached & (ends < reached)) | (~is_reached & complete))
    closed |= alive & ~passed & over
    if known.over:
        closed |= ~alive
    states = np.full(targets.size, State.WAITING, np.int8)
    states[alive & passed] = State.LABELLED
    arrivals = rows.arrivals[asked]
    for low, high in known.unwritten:
        states[alive & passed & ~told & (reached > low) & (arrivals < high)] = State.HOLE
    states[closed & ~(alive & passed)] = State.CLOSED
    return states


def _last_seen(rows: Rows) -> dict[int, int]:
    """Return the newest arrival of each book: until then it lived."""
    order = np.lexsort((rows.arrivals, rows.books))
    last = np.flatnonzero(np.diff(rows.books[order], append=-1))
    books, arrivals = rows.books[order][last], rows.arrivals[order][last]
    return dict(zip(books.tolist(), arrivals.tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class _Progress:
    """How far one connection had come in exchange time, message by message."""

    arrivals: Numbers
    newest: Numbers
    end: int  # the arrival at which the connection ended

    @classmethod
    def of(cls, rows: Rows, conn: int, known: Known) -> "_Progress":
        """Put the rows and the sightings of a connection in order of arrival."""
        mine = rows.conns == conn
        heard = [each for each in known.sightings if each.conn == conn]
        arrivals = np.concatenate((rows.arrivals[mine], _column(each.arrival for each in heard)))
        times = np.concatenate((rows.times[mine], _column(each.time_us for each in heard)))
        # What lies beyond is not complete: something earlier may still be missing before it.
        sure = (arrivals <= known.features_until) | known.over
        arrivals, times = arrivals[sure], times[sure]
        order = np.argsort(arrivals, kind="stable")
        end = known.conn_ends.get(conn, NEVER)
        return cls(arrivals[order], np.maximum.accumulate(times[order]), end)

    def reached(self, times: Numbers) -> Numbers:
        """Return for each time the arrival with which the connection came so far, or NEVER."""
        places = np.searchsorted(self.newest, times, "left")
        return np.append(self.arrivals, NEVER)[places]


def _column(values: Iterable[int]) -> Numbers:
    return np.fromiter(values, np.int64)
