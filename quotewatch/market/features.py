"""What a book and its trades say about the next moment: the feature columns of one row. Pure.

Live and recomputed values are equal bit for bit: windows hold exact integers, never running float
sums, and nothing depends on where a frame ends. docs/messages.md has every formula with an example.
"""

from bisect import insort
from collections import deque
from math import fsum, sqrt
from typing import NamedTuple

from quotewatch.coinbase.values import number_text
from quotewatch.market.book import TOP, Book

WINDOW_US = 1_000_000  # trade_imbalance and order_flow_imbalance look back one second
MID_CHANGES = 50  # volatility looks back this many changes of the mid
# Entries a window holds beyond which the oldest leave early: 50 times the busiest second recorded.
WINDOW_CAPACITY = 10_000
_SLACK_US = 2_000_000  # exchange time steps back: entries stay this much longer than the window

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
        number_text(bid_key),
        number_text(ask_key),
        mid,
        (ask - bid) / mid * _BPS,
        (bid_size - ask_size) / both,
        # fsum is exact, so neither the order of levels nor the Python version shows.
        fsum(bids.sizes[-TOP:] + asks.sizes[-TOP:]),
        (microprice - mid) / mid * _BPS,
        bid,
        bid_size,
        ask,
        ask_size,
    )


class Window:
    """Signed integers by time; their sums over (t - 1 s, t], exact even when t steps back."""

    __slots__ = ("_gross", "_live", "_net", "_newest", "_past")

    def __init__(self) -> None:
        self._live: deque[tuple[int, int]] = deque()  # by time; what the running sums hold
        self._past: deque[tuple[int, int]] = deque()  # left the window, kept for the slack
        self._net = 0
        self._gross = 0
        self._newest = 0  # the latest t asked for

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
        if time_us >= self._newest:
            self._newest = time_us
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

    def _retire(self) -> None:
        past = self._past
        past.append(self._leave())
        horizon = self._newest - WINDOW_US - _SLACK_US
        while past and (past[0][0] <= horizon or len(past) > WINDOW_CAPACITY):
            past.popleft()

    def _leave(self) -> tuple[int, int]:
        entry = self._live.popleft()
        self._net -= entry[1]
        self._gross -= abs(entry[1])
        return entry


class Volatility:
    """Population standard deviation of the last up to 50 mid changes in bps."""

    __slots__ = ("_changes", "_squares", "_sum", "_value")

    def __init__(self) -> None:
        self._changes: deque[int] = deque(maxlen=MID_CHANGES)
        self._sum = 0
        self._squares = 0
        self._value: float | None = None

    def add(self, previous_mid: float, mid: float) -> float | None:
        """Take the next mid; return the volatility, None below two changes."""
        changes = self._changes
        change = 0
        if mid != previous_mid:
            change = round((mid - previous_mid) / previous_mid * _BPS * _MICRO_BPS)
        count = len(changes)
        leaving = changes[0] if count == MID_CHANGES else 0
        changes.append(change)
        if count == MID_CHANGES and leaving == change:
            return self._value  # the same fifty values again, in another order
        self._sum += change - leaving
        self._squares += change * change - leaving * leaving
        count = len(changes)
        if count > 1:
            scatter = count * self._squares - self._sum * self._sum
            self._value = sqrt(float(scatter)) / count / _MICRO_BPS
        return self._value


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

    __slots__ = ("_flow", "_top", "_trades", "_volatility")

    def __init__(self, top: Top) -> None:
        self._top = top
        self._trades = Window()
        self._flow = Window()
        self._volatility = Volatility()

    @property
    def trades(self) -> int:
        """How many trades the window holds."""
        return len(self._trades)

    def trade(self, time_us: int, *, taker_buys: bool, size: float) -> None:
        """Take a trade as it happens; older ones (last_match, snapshots, REST) stay outside."""
        units = size_units(size)
        self._trades.add(time_us, units if taker_buys else -units)

    def update(self, time_us: int, top: Top) -> Windowed:
        """Take the top after a book update; return what the windows say at that moment."""
        before, self._top = self._top, top
        if top is not before:
            flow = order_flow(before, top)
            if flow:
                self._flow.add(time_us, flow)
        net, gross = self._trades.sums(time_us)
        flow_net, _ = self._flow.sums(time_us)
        return Windowed(
            self._volatility.add(before.mid, top.mid),
            float(net) / float(gross) if gross else None,
            float(flow_net) / _UNITS,
        )
