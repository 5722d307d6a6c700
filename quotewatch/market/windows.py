"""What features look back on: sums over one second, the scatter of the last fifty changes. Pure.

Exact whatever the order of times, because everything added up is an integer.
"""

from bisect import bisect_right
from collections import deque
from math import sqrt

WINDOW_US = 1_000_000  # trade_imbalance and order_flow_imbalance look back one second
MID_CHANGES = 50  # volatility looks back this many changes of the mid
# Entries a window holds beyond which the oldest leave early: 50 times the busiest second recorded.
WINDOW_CAPACITY = 10_000
_SLACK_US = 2_000_000  # exchange time steps back: entries stay this much longer than the window
_FORGOTTEN = 256  # entries nobody asks for any more, collected before they are deleted
_NEVER_US = 1 << 62
_MICRO_BPS = 1e6  # mid changes are integers of 1e-6 bps

BPS = 1e4


class Window:
    """Signed integers by time; their sums over (t - 1 s, t], exact even when t steps back.

    Two running totals beside each entry, so that a sum is a difference and nothing moves when an
    entry leaves.
    """

    __slots__ = ("_floor", "_gross", "_grosses", "_head", "_net", "_nets", "_times", "newest_us")

    def __init__(self) -> None:
        self._times: list[int] = []  # ascending
        self._nets: list[int] = []  # the sum of all entries before this one
        self._grosses: list[int] = []  # the same of their magnitudes
        self._net = 0
        self._gross = 0
        self._head = 0  # the oldest entry within the window of the latest t
        self._floor = 0  # entries before it are forgotten
        self.newest_us = 0  # the latest t asked for

    def __len__(self) -> int:
        return len(self._times) - self._head

    def add(self, time_us: int, amount: int) -> None:
        """Put an amount into the window of its time."""
        times = self._times
        if times and time_us < times[-1]:
            self._insert(time_us, amount)
        else:
            times.append(time_us)
            self._nets.append(self._net)
            self._grosses.append(self._gross)
        self._net += amount
        self._gross += abs(amount)
        if len(times) - self._head > WINDOW_CAPACITY:
            self._head += 1
            self._floor = self._head

    def sums(self, time_us: int) -> tuple[int, int]:
        """Return the sum and the sum of magnitudes over the window that ends at `time_us`."""
        times = self._times
        if time_us < self.newest_us:
            return self._between(time_us)
        self.newest_us = time_us
        if self._head < len(times) and times[self._head] <= time_us - WINDOW_US:
            self._retire(time_us)
        if self._head == len(times):
            return 0, 0
        if times[-1] > time_us:
            return self._between(time_us)
        return self._net - self._nets[self._head], self._gross - self._grosses[self._head]

    def same_until(self, time_us: int) -> int:
        """Return the t before which sums stay those of `time_us`, unless something is added."""
        times = self._times
        if self._head == len(times):
            return _NEVER_US
        return times[self._head] + WINDOW_US if times[-1] <= time_us else 0

    def _between(self, time_us: int) -> tuple[int, int]:
        """Sum where time stepped back, or where entries are newer than what is asked for."""
        times = self._times
        begin = max(self._floor, bisect_right(times, time_us - WINDOW_US))
        end = bisect_right(times, time_us)
        if begin >= end:
            return 0, 0
        if end == len(times):
            return self._net - self._nets[begin], self._gross - self._grosses[begin]
        return self._nets[end] - self._nets[begin], self._grosses[end] - self._grosses[begin]

    def _retire(self, time_us: int) -> None:
        """Let entries leave the window, and forget those that left longer ago than the slack."""
        times = self._times
        start = time_us - WINDOW_US
        head = self._head = bisect_right(times, start, self._head)
        floor = bisect_right(times, start - _SLACK_US, self._floor, head)
        self._floor = max(floor, head - WINDOW_CAPACITY)
        if self._floor >= _FORGOTTEN:
            self._delete_forgotten()

    def _delete_forgotten(self) -> None:
        floor = self._floor
        del self._times[:floor], self._nets[:floor], self._grosses[:floor]
        self._head -= floor
        self._floor = 0

    def _insert(self, time_us: int, amount: int) -> None:
        """Put an entry among earlier ones; the totals after it move."""
        self._delete_forgotten()  # however late it comes, the new one counts
        at = bisect_right(self._times, time_us)
        self._times.insert(at, time_us)
        # What stood before the next entry stands before this one; without a next, all there was.
        self._nets.insert(at, self._nets[at] if at < len(self._nets) else self._net)
        self._grosses.insert(at, self._grosses[at] if at < len(self._grosses) else self._gross)
        for later in range(at + 1, len(self._times)):
            self._nets[later] += amount
            self._grosses[later] += abs(amount)
        self._head += at < self._head


class Volatility:
    """Population standard deviation of the last up to 50 mid changes in bps.

    Most changes are zero. Only the others are kept, with their number.
    """

    __slots__ = ("_changes", "_squares", "_sum", "count", "same_until", "value")

    def __init__(self) -> None:
        self._changes: deque[tuple[int, int]] = deque()
        self._sum = 0
        self._squares = 0
        self.value: float | None = None  # None below two changes
        self.count = 0  # mids taken
        self.same_until = 0  # the count up to which unchanged mids leave the value as it is

    def add(self, previous_mid: float, mid: float) -> float | None:
        """Take the next mid; return the volatility."""
        count = self.count = self.count + 1
        changes = self._changes
        if changes and changes[0][0] <= count - MID_CHANGES:
            leaving = changes.popleft()[1]
            self._sum -= leaving
            self._squares -= leaving * leaving
        if mid != previous_mid:
            change = round((mid - previous_mid) / previous_mid * BPS * _MICRO_BPS)
            changes.append((count, change))
            self._sum += change
            self._squares += change * change
        if count >= MID_CHANGES:
            self.same_until = changes[0][0] + MID_CHANGES if changes else _NEVER_US
            count = MID_CHANGES
        if count > 1:
            scatter = count * self._squares - self._sum * self._sum
            self.value = sqrt(float(scatter)) / count / _MICRO_BPS
        return self.value
