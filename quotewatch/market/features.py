"""What a book and its trades say about the next moment: the feature columns of one row. Pure.

Live and recomputed values are equal bit for bit: windows hold exact integers, never running float
sums, and nothing depends on where a frame ends. docs/messages.md has every formula with an example.
"""

from bisect import insort
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
    """number_text, remembered: best prices come again and again, spelling one takes six look-ups."""

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
    """Signed integers by time; their sums over (t - 1 s, t], exact even when t steps back."""

    __slots__ = ("_gross", "_live", "_net", "_past", "newest_us")

    def __init__(self) -> None:
        self._live: deque[tuple[int, int]] = deque()  # by time; what the running sums hold
        self._past: deque[tuple[int, int]] = deque()  # left the window, kept for the slack
        self._net = 0
        self._gross = 0
        self.newest_us = 0  # the latest t asked for

    def __len__(self) -> int:
        return len(self._live)

    def add(self, time_us: int, amount: int) -> None:
        """Put an amount into the window of its time."""
        live = self._live
        if live and time_us < live[-1][0]:
            ordered = list(live)
            insort(ordered, (time_us, amount), key=lambda entry: entry[0])
            self._live = deque(ordered)
        else:
            live.append((time_us, amount))
        self._net += amount
        self._gross += abs(amount)
        if len(self._live) > WINDOW_CAPACITY:
            self._leave()

    def sums(self, time_us: int) -> tuple[int, int]:
        """Return the sum and the sum of magnitudes over the window that ends at `time_us`."""
        start = time_us - WINDOW_US
        live = self._live
        if time_us >= self.newest_us:
            self.newest_us = time_us
            while live and live[0][0] <= start:
                self._retire()
            if not live or live[-1][0] <= time_us:
                return self._net, self._gross
        amounts = [
            amount
            for entries in (self._past, live)
            for moment, amount in entries
            if start < moment <= time_us
        ]
        return sum(amounts), sum(map(abs, amounts))

    def same_until(self, time_us: int) -> int:
        """Return the t before which sums stay those of `time_us`, unless something is added."""
        live = self._live
        if not live:
            return _NEVER_US
        return live[0][0] + WINDOW_US if live[-1][0] <= time_us else 0

    def _retire(self) -> None:
        past = self._past
        past.append(self._leave())
        horizon = self.newest_us - WINDOW_US - _SLACK_US
        while past and (past[0][0] <= horizon or len(past) > WINDOW_CAPACITY):
            past.popleft()

    def _leave(self) -> tuple[int, int]:
        entry = self._live.popleft()
        self._net -= entry[1]
        self._gross -= abs(entry[1])
        return entry


class Volatility:
    """Population standard deviation of the last up to 50 mid changes in bps.

    Most changes are zero. Only the others are kept, with their number.
    """

    __slots__ = ("_changes", "_squares", "_sum", "_value", "count")

    def __init__(self) -> None:
        self._changes: deque[tuple[int, int]] = deque()
        self._sum = 0
        self._squares = 0
        self._value: float | None = None
        self.count = 0  # mids taken

    def add(self, previous_mid: float, mid: float) -> float | None:
        """Take the next mid; return the volatility, None below two changes."""
        number = self.count = self.count + 1
        changes = self._changes
        moved = number <= MID_CHANGES
        if changes and changes[0][0] <= number - MID_CHANGES:
            leaving = changes.popleft()[1]
            self._sum -= leaving
            self._squares -= leaving * leaving
            moved = True
        if mid != previous_mid:
            change = round((mid - previous_mid) / previous_mid * _BPS * _MICRO_BPS)
            changes.append((number, change))
            self._sum += change
            self._squares += change * change
            moved = True
        if moved and number > 1:
            count = min(number, MID_CHANGES)
            scatter = count * self._squares - self._sum * self._sum
            self._value = sqrt(float(scatter)) / count / _MICRO_BPS
        return self._value

    @property
    def same_until(self) -> int:
        """Return the count up to which unchanged mids leave the volatility as it is."""
        if self.count < MID_CHANGES:
            return 0
        return self._changes[0][0] + MID_CHANGES if self._changes else _NEVER_US


def order_flow(before: Top, now: Top) -> int:
    """Return the Cont-Kukanov-Stoikov term of one change of the best levels, in size units."""
    flow = 0
    if now.bid >= before.bid:
        flow += size_units(now.bid_size)
    if now.bid <= before.bid:
        flow -= size_units(before.bid_size)
    if now.ask <= before.ask:
        flow -= size_units(now.ask_size)
    if now.ask >= before.ask:
        flow += size_units(before.ask_size)
    return flow


class Windowed(NamedTuple):
    """The features of one row that look back."""

    volatility: float | None
    trade_imbalance: float | None
    order_flow_imbalance: float


class FeatureWindows:
    """What one life of a book remembers. Starts empty at its snapshot."""

    __slots__ = (
        "_flow", "_newest_us", "_said", "_same_until", "_same_until_us", "_top", "_trades",
        "_volatility",
    )  # fmt: skip

    def __init__(self, top: Top) -> None:
        self._top = top
        self._trades = Window()
        self._flow = Window()
        self._volatility = Volatility()
        # What was said last holds while the top is the same, up to this time and this count of
        # mids: nothing comes, nothing leaves.
        self._said = Windowed(None, None, 0.0)
        self._newest_us = 0
        self._same_until_us = 0
        self._same_until = 0

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
        """Take the top after a book update; return what the windows say at that moment."""
        before = self._top
        volatility = self._volatility
        if top is before and self._newest_us <= time_us < self._same_until_us:
            count = volatility.count + 1
            if count < self._same_until:
                volatility.count = count
                self._newest_us = time_us
                return self._said
        self._top = top
        trades, flows = self._trades, self._flow
        trades.newest_us = flows.newest_us = self._newest_us
        if top is not before:
            flow = order_flow(before, top)
            if flow:
                flows.add(time_us, flow)
        net, gross = trades.sums(time_us)
        flow_net, _ = flows.sums(time_us)
        self._newest_us = flows.newest_us
        self._said = said = Windowed(
            volatility.add(before.mid, top.mid),
            float(net) / float(gross) if gross else None,
            float(flow_net) / _UNITS,
        )
        self._same_until_us = min(trades.same_until(time_us), flows.same_until(time_us))
        self._same_until = volatility.same_until
        return said
