"""Find holes in what a feed sent. Pure: ids in, gaps out.

Trade ids are contiguous per product, sequence numbers per connection of Advanced Trade.
`sequence` of the Exchange's matches is not: it numbers the product's full channel.
"""

from bisect import bisect_right
from dataclasses import dataclass
from enum import Enum, auto

_KEPT_HOLES = 10_000  # ranges remembered per product


@dataclass(frozen=True, slots=True)
class Gap:
    """Ids that should have come between two that did, both ends included."""

    first: int
    last: int

    @property
    def missing(self) -> int:
        """How many ids the gap spans."""
        return self.last - self.first + 1


class Arrival(Enum):
    """What the id of a trade says about it."""

    NEXT = auto()  # the one expected, or the first of all
    AHEAD = auto()  # ids before it are missing
    LATE = auto()  # not seen before, though newer ones were
    SEEN = auto()  # seen before: not a trade to keep twice


class TradeIds:
    """Which trade ids of one product were seen in this epoch. Never rewinds."""

    __slots__ = ("_floor", "_holes", "_suspected", "first", "last")

    def __init__(self) -> None:
        self.first: int | None = None
        self.last: int | None = None
        self._holes: list[Gap] = []  # ascending, disjoint, all below `last`
        self._suspected: int | None = None
        # Ids up to here lie among forgotten holes: never called SEEN, tables tell doubles apart.
        self._floor = -1

    def see(self, trade_id: int) -> tuple[Arrival, Gap | None]:
        """Take the id of a trade that came; return what it is and the gap it reveals."""
        last = self.last
        if last is None:
            self.first = self.last = trade_id
            return Arrival.NEXT, None
        if trade_id == last + 1:
            self.last = trade_id
            return Arrival.NEXT, None
        if trade_id > last:
            gap = Gap(last + 1, trade_id - 1)
            self._add_hole(gap)
            self.last = trade_id
            return Arrival.AHEAD, gap
        return self._look_back(trade_id), None

    def hear(self, last_trade_id: int) -> Gap | None:
        """Take the newest id that a heartbeat claims; return the gap once it is certain.

        A trade may be on its way while the heartbeat overtakes it: only what the heartbeat before
        this one knew already counts as missing. 0 has been sent for unknown.
        """
        suspected, self._suspected = self._suspected, last_trade_id or None
        if suspected is None or self.last is None or suspected <= self.last:
            return None
        gap = Gap(self.last + 1, suspected)
        self._add_hole(gap)
        self.last = suspected
        return gap

    def interrupt(self) -> None:
        """Forget what heartbeats of the old connection said; ids seen stay seen."""
        self._suspected = None

    @property
    def known(self) -> int | None:
        """The newest id known of, from a trade or from a heartbeat."""
        if self.last is None or self._suspected is None:
            return self.last
        return max(self.last, self._suspected)

    @property
    def holes(self) -> tuple[Gap, ...]:
        """What is missing between the first and the last id seen."""
        return tuple(self._holes)

    def _look_back(self, trade_id: int) -> Arrival:
        if self.first is not None and trade_id < self.first:
            if trade_id < self.first - 1:
                self._holes.insert(0, Gap(trade_id + 1, self.first - 1))
                self._forget_oldest()
            self.first = trade_id
            return Arrival.LATE
        if trade_id <= self._floor:
            return Arrival.LATE
        at = bisect_right(self._holes, trade_id, key=lambda hole: hole.first) - 1
        if at < 0 or trade_id > self._holes[at].last:
            return Arrival.SEEN
        hole = self._holes[at]
        left, right = Gap(hole.first, trade_id - 1), Gap(trade_id + 1, hole.last)
        self._holes[at : at + 1] = [part for part in (left, right) if part.missing > 0]
        self._forget_oldest()
        return Arrival.LATE

    def _add_hole(self, gap: Gap) -> None:
        self._holes.append(gap)
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        if len(self._holes) > _KEPT_HOLES:
            self._floor = self._holes.pop(0).last


class SequenceNumbers:
    """The sequence numbers of one Advanced Trade connection: +1 on every message it sends."""

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last: int | None = None

    @property
    def expected(self) -> int:
        """The number that the next message should carry."""
        return 0 if self.last is None else self.last + 1

    def see(self, number: int) -> Gap | None:
        """Take the number of a message; return the hole before it. Older numbers reveal none.

        A connection starts at 0: a first number above it means its beginning was lost.
        """
        expected = self.expected
        if number < expected:
            return None
        self.last = number
        return Gap(expected, number - 1) if number > expected else None
