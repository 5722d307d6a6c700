"""One side of a simulated book, cheap to change: levels in, the best level and what changed out.

Pure. A level's key is its tick on the bid side and minus its tick on the ask side, so that on both
sides the best level is the largest key and the same code serves both.
"""

from bisect import bisect_left, insort


class BookSide:
    """Levels of one side. `changed` has new sizes (0: removed) until the next update takes them."""

    __slots__ = ("changed", "deep", "lots", "order", "sign")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.lots: dict[int, int] = {}
        self.order: list[int] = []
        self.changed: dict[int, int] = {}
        # Levels too far off to be ever touched; they stand in snapshots only.
        self.deep: list[tuple[int, int]] = []

    def best(self) -> int:
        """Return the key of the best level."""
        return self.order[-1]

    def place(self, key: int, lots: int) -> None:
        """Set the size of a level, new or not."""
        if key not in self.lots:
            # Near the best most of the time, so appending is tried before searching.
            order = self.order
            if not order or key > order[-1]:
                order.append(key)
            else:
                insort(order, key)
        self.lots[key] = lots
        self.changed[key] = lots

    def remove(self, key: int) -> None:
        """Take a level out."""
        order = self.order
        if order[-1] == key:
            order.pop()
        else:
            del order[bisect_left(order, key)]
        del self.lots[key]
        self.changed[key] = 0

    def quote(self, key: int, lots: int) -> None:
        """Make `key` the best level: what was better goes."""
        order, sizes, changed = self.order, self.lots, self.changed
        while order and order[-1] > key:
            gone = order.pop()
            del sizes[gone]
            changed[gone] = 0
        self.place(key, lots)

    def take(self, lots: int) -> int:
        """Let a trade hit the best level and return how much it got."""
        key = self.order[-1]
        there = self.lots[key]
        if lots >= there and len(self.order) > 1:
            self.remove(key)
            return there
        lots = min(lots, there - 1) or 1
        self.lots[key] = self.changed[key] = max(1, there - lots)
        return lots

    def take_changes(self) -> list[tuple[int, int]]:
        """Return (tick, lots) of what changed since the last call."""
        changed = self.changed
        if self.sign > 0:
            changes = list(changed.items())
        else:
            changes = [(-key, lots) for key, lots in changed.items()]
        changed.clear()
        return changes

    def levels(self) -> list[tuple[int, int]]:
        """Return (tick, lots) of the whole side, best first."""
        lots, sign = self.lots, self.sign
        near = [(sign * key, lots[key]) for key in reversed(self.order)]
        return near + self.deep
