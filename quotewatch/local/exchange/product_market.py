"""One product of the simulated market: its assets' state in, its book and its trades out. Pure.

The book is never crossed or locked: whoever moves one side clears the other first.
"""

import random
import zlib

from quotewatch.local.exchange.assets import Asset
from quotewatch.local.exchange.listings import Listing
from quotewatch.local.exchange.market_events import BookChange, BookCopy, Trade
from quotewatch.local.exchange.model_book import BookSide

_NEAR_LEVELS, _TAIL_LEVELS = 120, 60
_NEAR_GAP = 0.15e-4  # of the price, between neighbouring levels near the best one
_TAIL_GROWTH = 1.12  # the tail reaches about half the price
_ENOUGH_LEVELS, _MOST_LEVELS = 160, 260
_SIZE_STEPS = 400  # steps of size in an ordinary level
_MOST_PRESSURE, _MOST_IMBALANCE = 0.9, 0.95
_BREATH_CHANCE = 0.5  # of each side in a turn
# What a breath does, as shares of all breaths; the rest adds a level.
_ABSENT_DELETED, _RESIZED, _REMOVED_ABOVE = 0.02, 0.4, 0.7
_DEEP_LEVELS = 23_000  # a side: with them BTC-USD's snapshot has the real 46 000 levels
_CALM_HALF_SPREAD, _AGITATED_HALF_SPREAD = (
    0.06e-4,
    0.13e-4,
)  # of the price; the second times agitation
_SMALLEST_STEP, _LARGEST_STEP = 2, 50  # of `sequence`: it numbers a channel that we do not serve


class ProductMarket:
    """The book, the trades so far and the next numbers of one product."""

    def __init__(self, listing: Listing, base: Asset, quote: Asset, rng: random.Random) -> None:
        self.listing = listing
        self.base = base
        self.quote = quote
        self.random = rng
        identity = zlib.crc32(listing.name.encode())
        self.trade_id = 1_000_000 + identity % 1_000_000_000
        self.sequence = 10_000_000_000 + identity * 30  # up to 1.4e11: these are 64-bit numbers
        self.bids, self.asks = BookSide(1), BookSide(-1)
        # All sizes are multiples of one step: a few thousand texts, spelled once each.
        self.lot_step = max(1, listing.level_lots // _SIZE_STEPS)
        self.thinness = 1.0
        self.gap = int(self.fair_ticks() * _NEAR_GAP) or 1
        self._fill()

    def fair_ticks(self) -> float:
        """Return what the product is worth now, in ticks."""
        return self.base.value / self.quote.value * self.listing.ticks_per_unit

    def pressure(self) -> float:
        """Return who pushes: -0.9 all sellers, 0.9 all buyers."""
        base, quote = self.base, self.quote
        pressure = base.pressure * base.lively - quote.pressure * quote.lively
        return _within(pressure, _MOST_PRESSURE)

    def agitation(self) -> float:
        """Return how agitated the livelier of its two assets is."""
        base, quote = self.base, self.quote
        one, other = base.agitation * base.lively, quote.agitation * quote.lively
        return one if one > other else other  # noqa: FURB136 - max() costs three times as much

    # -- the book ---------------------------------------------------------------------------

    def step(self) -> None:
        """Move the quotes to where the assets are and let the levels behind them breathe."""
        draw = self.random.random
        fair, agitation = self.fair_ticks(), self.agitation()
        self._requote(fair, agitation)
        self.thinness = 1.0 / (0.5 + agitation)
        self.gap = int(fair * _NEAR_GAP) or 1
        if draw() < _BREATH_CHANCE:
            self._breathe(self.bids)
        if draw() < _BREATH_CHANCE:
            self._breathe(self.asks)

    def _requote(self, fair: float, agitation: float) -> None:
        half = fair * (_CALM_HALF_SPREAD + _AGITATED_HALF_SPREAD * agitation)
        half = max(half, 0.5)
        bid, ask = self.bids.order[-1], -self.asks.order[-1]
        # A quote stays while it is about right, so the mid stands still between moves.
        tolerance = 0.4 * half + 0.3
        low, high = fair - half, fair + half
        if not (-tolerance <= low - bid <= tolerance and bid < fair):
            bid = int(low) or 1
        if not (-tolerance <= high - ask <= tolerance and ask > fair):
            ask = int(high) + 1
        if ask <= bid:
            ask = bid + 1
        draw = self.random.random
        imbalance = 0.9 * self.pressure() + 0.5 * (draw() - 0.5)
        imbalance = _within(imbalance, _MOST_IMBALANCE)
        steps = _SIZE_STEPS * (0.5 + draw()) / (0.5 + agitation)
        lot_step = self.lot_step
        # Each side is cleared down to its new quote, so nothing is left beyond the other side's.
        self.asks.quote(-ask, lot_step * (int(steps * (1.0 - imbalance)) + 1))
        self.bids.quote(bid, lot_step * (int(steps * (1.0 + imbalance)) + 1))

    def _breathe(self, side: BookSide) -> None:
        draw = self.random.random
        depth = int(draw() ** 2 * _NEAR_LEVELS * 0.5)
        kind = draw()
        levels = len(side.order)
        if kind < _ABSENT_DELETED:
            self._delete_absent(side)
        elif kind < _RESIZED and depth < levels - 1:
            side.place(side.order[-1 - depth], self._some_lots())
        elif levels > _MOST_LEVELS:
            # Levels left behind by a long move: the farthest one goes.
            side.remove(side.order[0])
        elif levels > _ENOUGH_LEVELS and kind > _REMOVED_ABOVE and depth > 0:
            side.remove(side.order[-1 - depth])
        else:
            self._add_level(side, depth)

    def _add_level(self, side: BookSide, depth: int) -> None:
        key = side.order[-1] - 1 - int((depth + self.random.random()) * self.gap)
        if key * side.sign > 0:
            side.place(key, self._some_lots())

    def _delete_absent(self, side: BookSide) -> None:
        # Batched feeds delete what they never showed: added and gone within one batch.
        key = side.order[-1] - 1 - int(self.random.random() * 40 * self.gap)
        if key * side.sign > 0 and key not in side.lots:
            side.changed[key] = 0

    def _some_lots(self) -> int:
        share = 0.1 + 4.0 * self.random.random() ** 3
        return self.lot_step * (int(_SIZE_STEPS * share * self.thinness) + 1)

    def take_change(self, time_us: int) -> BookChange | None:
        """Return what changed since the last call, if anything did."""
        bids, asks = self.bids.take_changes(), self.asks.take_changes()
        return BookChange(self.listing.name, bids, asks, time_us) if bids or asks else None

    def copy(self, time_us: int) -> BookCopy:
        """Return the full book as of now."""
        return BookCopy(self.listing.name, self.bids.levels(), self.asks.levels(), time_us)

    # -- trades -----------------------------------------------------------------------------

    def trade(self, time_us: int) -> Trade:
        """Let a taker hit the best level of the other side."""
        draw = self.random.random
        taker_buys = draw() < 0.5 + 0.4 * self.pressure()
        side = self.asks if taker_buys else self.bids
        tick = side.sign * side.best()
        lots = side.take(self.lot_step * (int(_SIZE_STEPS * 0.8 * draw() ** 4) + 1))
        self.trade_id += 1
        step = _SMALLEST_STEP + int(draw() * (_LARGEST_STEP - _SMALLEST_STEP))
        self.sequence += step
        name = self.listing.name
        return Trade(name, self.trade_id, self.sequence, not taker_buys, tick, lots, time_us)

    # -- the start --------------------------------------------------------------------------

    def _fill(self) -> None:
        fair = int(self.fair_ticks())
        for side in (self.bids, self.asks):
            self._fill_side(side, side.sign * fair - 1)
        self.step()
        self.take_change(0)

    def _fill_side(self, side: BookSide, best: int) -> None:
        key, growing = best, float(self.gap)
        for number in range(_NEAR_LEVELS + _TAIL_LEVELS):
            if key * side.sign <= 0:
                return
            side.place(key, self._some_lots())
            if number > _NEAR_LEVELS:
                growing *= _TAIL_GROWTH
            key -= 1 + int(growing * (0.3 + 1.4 * self.random.random()))

    def deepen(self) -> None:
        """Fill the book far away from the market: real books have tens of thousands of levels."""
        for side in (self.bids, self.asks):
            far = side.sign * side.order[0]
            step = max(1, far // (_DEEP_LEVELS + 1)) if side.sign > 0 else far // 2_000 + 1
            ticks = (far - side.sign * step * number for number in range(1, _DEEP_LEVELS + 1))
            side.deep = [(tick, self._some_lots()) for tick in ticks if tick > 0]


def _within(value: float, most: float) -> float:
    return -most if value < -most else min(value, most)
