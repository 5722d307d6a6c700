"""A market that lives: a seed and a pace in, trades, book changes and heartbeats in time order out.

Pure and deterministic: the same seed, products and pace give the same events, whoever listens.
All products are priced from one value per asset, so ETH-BTC is ETH-USD over BTC-USD within the
spread. What moves next can be guessed but not known: pressure shows in the top-level sizes before
it shows in the price, and an agitated asset has a thinner, wider book.
"""

import math
import random
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from quotewatch.local.exchange.assets import Asset
from quotewatch.local.exchange.listings import list_product
from quotewatch.local.exchange.market_events import BookCopy, Event, Pulse, Trade, Window
from quotewatch.local.exchange.product_market import ProductMarket

US = 1_000_000
BOOK_INTERVAL_US = 50_000  # level2_batch sends a product's changes at most so often
WINDOW_US = 250_000
_BOOK_SHARE = 0.75  # of all messages that are no heartbeats
_BUSY, _QUIET = 1.3, 0.85  # trades of an agitated and of a calm product, as shares of the pace
_REMEMBERED_SECONDS = 900  # of trades, for the REST interface: longer than any run is judged over
_MOST_REMEMBERED = 1_500_000  # of all products together: about 400 MB, however high the pace,
_FEWEST_REMEMBERED = 200_000  # but this many of each, as far as they happen: 50 MB a product
_FIRST_TRADES = 120  # before anybody looks: a snapshot is the last 100


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a product has its turn, and what happens in one turn."""

    interval_us: int
    book_chance: float
    trades: float


def plan_pace(
    rate: float, products: int, interval_us: int | None = None, *, batched: bool = False
) -> Pace:
    """Spread so many messages a second over the products.

    A product's book is sent each 50 ms at most. Only a rate that this would fill with trades
    shortens the interval: who asks for 20 000 messages a second wants to see books among them.
    `batched` trades share messages, four a second at most; and one heart beats for all products.
    """
    others = max(0.2 * products, rate - (1 if batched else products))
    trades = (1.0 - _BOOK_SHARE) * others
    trade_messages = _windows_with_trades(trades / products) * products if batched else trades
    books = others - trade_messages
    most = products * US / BOOK_INTERVAL_US
    if interval_us is None:
        fits = others <= 2 * most or books <= most
        interval_us = BOOK_INTERVAL_US if fits else int(products * US / books)
    turns = products * US / interval_us
    books = min(books, turns)
    if not batched:
        trades = others - books
    return Pace(interval_us, books / turns, trades / turns)


def _windows_with_trades(trades_per_second: float) -> float:
    """Return how many of a second's four windows have trades in them, on average."""
    windows = US / WINDOW_US
    return windows * (1.0 - math.exp(-trades_per_second / windows))


def _remembered(pace: Pace, products: int) -> int:
    wanted = int(_REMEMBERED_SECONDS * pace.trades * US / pace.interval_us)
    return max(_FEWEST_REMEMBERED, min(wanted, _MOST_REMEMBERED // products))


class Market:
    """Several products and their common assets."""

    def __init__(
        self, names: Sequence[str], seed: int, pace: Pace, start_us: int, deep: Collection[str] = ()
    ) -> None:
        self.pace = pace
        self.start_us = start_us
        self._random = random.Random(f"market {seed}")  # noqa: S311 - must repeat, not be secret
        self._assets: dict[str, Asset] = {}
        self._leader = self._asset("BTC")
        self.products = {name: self._list(name, seed) for name in names}
        limit = _remembered(pace, len(names))
        self.trades: dict[str, deque[Trade]] = {name: deque(maxlen=limit) for name in names}
        self._order = list(self.products.values())
        self._next_pulse = dict.fromkeys(names, start_us + US)
        self._next_window = dict.fromkeys(names, start_us + WINDOW_US)
        self._turn = 0
        self._jitter_us = min(1_000, pace.interval_us // 2)
        for product in self._order:
            if product.listing.name in deep:
                product.deepen()
            self._first_trades(product)

    def _asset(self, name: str) -> Asset:
        if name not in self._assets:
            self._assets[name] = Asset(name)
        return self._assets[name]

    def _list(self, name: str, seed: int) -> ProductMarket:
        listing = list_product(name)
        # Each product draws for itself: what one does is not shifted by what another does.
        own = random.Random(f"{name} {seed}")  # noqa: S311 - must repeat, not be secret
        return ProductMarket(listing, self._asset(listing.base), self._asset(listing.quote), own)

    def _first_trades(self, product: ProductMarket) -> None:
        for number in range(_FIRST_TRADES):
            earlier = (_FIRST_TRADES - number) * 200_000
            self.trades[product.listing.name].append(product.trade(self.start_us - earlier))
            product.step()
        product.take_change(self.start_us)

    # -- time -------------------------------------------------------------------------------

    @property
    def now_us(self) -> int:
        """Return the time of the next turn."""
        products = len(self._order)
        return self.start_us + self._turn * self.pace.interval_us // products

    def play(self, until_us: int) -> Iterator[Event]:
        """Play all turns before `until_us`; who reads an event finds the market as of its turn."""
        count = len(self._order)
        interval = self.pace.interval_us
        while (now_us := self.start_us + self._turn * interval // count) < until_us:
            number = self._turn % count
            if number == 0:
                self._advance_assets()
            self._turn += 1
            yield from self._play(self._order[number], now_us)

    def _advance_assets(self) -> None:
        seconds = self.pace.interval_us / US
        rng, leader = self._random, self._leader
        leader.advance(rng, seconds, None)
        for asset in self._assets.values():
            if asset is not leader and asset.lively:
                asset.advance(rng, seconds, leader)

    def _play(self, product: ProductMarket, now_us: int) -> list[Event]:
        events: list[Event] = []
        draw = product.random.random
        now_us += int(draw() * self._jitter_us)  # a turn is no metronome
        name = product.listing.name
        busy = _BUSY if product.agitation() > 1.0 else _QUIET
        count = int(2.0 * draw() * busy * self.pace.trades + draw())
        for number in range(count):
            earlier = (count - number) * self.pace.interval_us // (count + 1)
            trade = product.trade(now_us - earlier)
            self.trades[name].append(trade)
            events.append(trade)
        if draw() < self.pace.book_chance:
            product.step()
            change = product.take_change(now_us)
            if change is not None:
                events.append(change)
        if now_us >= self._next_window[name]:
            self._next_window[name] += WINDOW_US
            events.append(Window(name, now_us))
        if now_us >= self._next_pulse[name]:
            self._next_pulse[name] += US
            events.append(Pulse(name, product.trade_id, product.sequence, now_us))
        return events

    # -- what a subscriber or the REST interface asks for ------------------------------------

    def book(self, name: str) -> BookCopy:
        """Return the full book of a product as of now."""
        return self.products[name].copy(self.now_us)

    def last_trade(self, name: str) -> Trade:
        """Return the newest trade of a product."""
        return self.trades[name][-1]
