"""What a book and its trades say about the next moment: the feature columns of one row. Pure.

Live and recomputed values are equal bit for bit: windows hold exact integers, never running float
sums, and nothing depends on where a frame ends. docs/messages.md has every formula with an example.
"""

from bisect import bisect_right
from collections import deque
from math import fsum, sqrt
from typing import NamedTuple

from quotewatch.coinbase.values import Number, number_text
from quotewatch.market.book import TOP, Book

WINDOW_US = 1_000_000  # trade_imbalance and order_flow_imbalance look back one second
MID_CHANGES = 50  # volatility looks back this many changes of the mid
# Entries a window holds beyond which the oldest leave early: 50 times the busiest second recorded.
WINDOW_CAPACITY = 10_000
_SLACK_US = 2_000_000  # exchange time steps back: entries stay this much longer than the window

_FORGOTTEN = 256  # entries nobody asks for any more, collected before they are deleted
_NEVER_US = 1 << 62
_REMEMBERED = 50_000  # prices whose text is kept

_UNITS = 1e8  # sizes in windows are integers of 1e-8
_BPS = 1e4
_MICRO_BPS = 1e6  # mid changes are integers of 1e-6 bps


def size_units(size: float) -> int:
    """Turn a size into the integer that windows add up."""
    return round(size * _UNITS)


class Top(NamedTuple):
    """What one state of the best levels says: everything that needs no window."""

    best_bid: str
    best_ask: str
    mid: float
    spread_bps: float
    imbalance: float
    depth: float
    microprice_bps: float
    bid: float
    bid_size: float
    ask: float
    ask_size: float


def depth_of(book: Book) -> float:
    """Add up the best ten levels of both sides."""
    # fsum is exact, so neither the order of levels nor the Python version shows.
    return fsum(book.bids.sizes[-TOP:] + book.asks.sizes[-TOP:])


class _Texts(dict[Number, str]):
    """number_text, remembered: best prices come again and again, spelling costs six look-ups."""

    def __missing__(self, value: Number) -> str:
        if len(self) >= _REMEMBERED:
            self.clear()
        text = self[value] = number_text(value)
        return text


_texts = _Texts()


def top_of(book: Book) -> Top:
    """Read the top of a valid book."""
    bids, asks = book.bids, book.asks
    bid_key, ask_key = bids.keys[-1], -asks.keys[-1]
    bid, ask = float(bid_key), float(ask_key)
    bid_size, ask_size = bids.sizes[-1], asks.sizes[-1]
    mid = (bid + ask) / 2
    both = bid_size + ask_size
    microprice = (bid * ask_size + ask * bid_size) / both
    return Top(
        _texts[bid_key],
        _texts[ask_key],
        mid,
        (ask - bid) / mid * _BPS,
        (bid_size - ask_size) / both,
        depth_of(book),
        (microprice - mid) / mid * _BPS,
        bid,
        bid_size,
        ask,
        ask_size,
    )


def same_best(book: Book, top: Top) -> bool:
    """Say whether the best level of each side is still the one that the top was read from."""
    bids, asks = book.bids, book.asks
    return (
        bids.sizes[-1] == top.bid_size
        and asks.sizes[-1] == top.ask_size
        and bids.keys[-1] == top.bid
        and -asks.keys[-1] == top.ask
    )


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
            change = round((mid - previous_mid) / previous_mid * _BPS * _MICRO_BPS)
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


class Windowed(NamedTuple):
    """The features of one row that look back."""

    volatility: float | None
    trade_imbalance: float | None
    order_flow_imbalance: float


class FeatureWindows:
    """What one life of a book remembers. Starts empty at its snapshot."""

    __slots__ = (
        "_ask_units", "_bid_units", "_flow", "_newest_us", "_said", "_same_until_us", "_top",
        "_trades", "_volatility",
    )  # fmt: skip

    def __init__(self, top: Top) -> None:
        self._top = top
        self._bid_units = size_units(top.bid_size)
        self._ask_units = size_units(top.ask_size)
        self._trades = Window()
        self._flow = Window()
        self._volatility = Volatility()
        self._said = Windowed(None, None, 0.0)
        # Until then the sums last said hold: nothing comes, nothing leaves, no step back.
        self._newest_us = 0
        self._same_until_us = 0

    @property
    def trades(self) -> int:
        """How many trades the window holds."""
        return len(self._trades)

    def trade(self, time_us: int, *, taker_buys: bool, size: float) -> None:
        """Take a trade as it happens; older ones (last_match, snapshots, REST) stay outside."""
        units = size_units(size)
        self._trades.add(time_us, units if taker_buys else -units)
        self._same_until_us = 0

    def update(self, time_us: int, top: Top) -> Windowed:
        """Take the top after a book update; return what the windows say at that moment.

        A row of an unchanged top costs 0.4 us, a changed one 3: order flow 1, window 1,
        volatility 0.5 and as much again where the mid moved.
        """
        before = self._top
        volatility = self._volatility
        said = self._said
        value = said.volatility
        if top is before:
            count = volatility.count + 1
            if count < volatility.same_until:
                volatility.count = count
            else:
                value = volatility.add(1.0, 1.0)
        else:
            self._top = top
            flow = self._order_flow(before, top)
            if flow:
                self._flow.add(time_us, flow)
                self._same_until_us = 0
            value = volatility.add(before.mid, top.mid)
        if self._newest_us <= time_us < self._same_until_us:
            self._newest_us = time_us
            if value == said.volatility:
                return said
            said = self._said = Windowed(value, said.trade_imbalance, said.order_flow_imbalance)
            return said
        said = self._said = self._sum_up(time_us, value)
        return said

    def _sum_up(self, time_us: int, volatility: float | None) -> Windowed:
        trades, flows = self._trades, self._flow
        newest = self._newest_us
        trades.newest_us = flows.newest_us = newest
        net, gross = trades.sums(time_us)
        flow, _ = flows.sums(time_us)
        if time_us < newest:
            self._same_until_us = 0  # a step back: these sums hold for this row alone
        else:
            self._newest_us = time_us
            self._same_until_us = min(trades.same_until(time_us), flows.same_until(time_us))
        return Windowed(
            volatility,
            float(net) / float(gross) if gross else None,
            float(flow) / _UNITS,
        )

    def _order_flow(self, before: Top, now: Top) -> int:
        """Return the Cont-Kukanov-Stoikov term of one change of the best levels, in size units."""
        flow = 0
        # A side whose price and size are the same adds as much as it takes away.
        if now.bid_size is not before.bid_size or now.bid != before.bid:
            units = size_units(now.bid_size)
            if now.bid >= before.bid:
                flow += units
            if now.bid <= before.bid:
                flow -= self._bid_units
            self._bid_units = units
        if now.ask_size is not before.ask_size or now.ask != before.ask:
            units = size_units(now.ask_size)
            if now.ask <= before.ask:
                flow -= units
            if now.ask >= before.ask:
                flow += self._ask_units
            self._ask_units = units
        return flow
