"""What a book and its trades say about the next moment: the feature columns of one row. Pure.

Live and recomputed values are equal bit for bit: windows hold exact integers, never running float
sums, and nothing depends on where a frame ends. docs/messages.md has every formula with an example.
"""

from math import fsum
from typing import NamedTuple

from quotewatch.coinbase.values import Number, number_text
from quotewatch.market.book import TOP, Book
from quotewatch.market.windows import BPS, Volatility, Window

_REMEMBERED = 50_000  # prices whose text is kept

_UNITS = 1e8  # sizes in windows are integers of 1e-8


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
        (ask - bid) / mid * BPS,
        (bid_size - ask_size) / both,
        depth_of(book),
        (microprice - mid) / mid * BPS,
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
