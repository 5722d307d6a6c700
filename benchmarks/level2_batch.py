"""A seeded stream of `level2_batch` messages of 100 products, without an exchange around it.

Every removal names a level that is there: the peer this is compared with stops at any other.
"""

import json
import random
from collections.abc import Iterator

PRODUCTS = tuple(f"B{number:02d}-USD" for number in range(100))
MESSAGES = 20_000
_LEVELS = 300  # a side of a snapshot
_STEP_US = 500  # 100 products, a batch each 50 ms
_SECOND = "2026-01-05T12:00:"
_DISTANCE = 8.0  # ticks from the best price, on average
_MOST_CHANGES = 10  # of a batch: 4.9 on average once doubles are left out
_FEWEST_LEVELS = 50
_USUAL_SIZES = 20

Change = list[str]


class _Side:
    """One side of a book: ticks and size texts. `sign` is 1 for bids, -1 for asks."""

    def __init__(self, word: str, sign: int, best: int, draw: random.Random) -> None:
        self.word = word
        self.best = best
        self._sign = sign
        self._draw = draw
        # Those who quote come back with the sizes they had: in captures, seven texts in ten were
        # seen before.
        self._usual = [self._new_size() for _ in range(_USUAL_SIZES)]
        self.sizes = {best - sign * away: self._size() for away in range(_LEVELS)}

    def change(self, other_best: int, taken: set[int]) -> Change | None:
        """Place, resize or remove a level that this batch has not touched."""
        draw, sign = self._draw, self._sign
        away = int(draw.expovariate(1 / _DISTANCE))
        if draw.random() < 0.1 and self.best + sign != other_best:
            away = -1
        tick = self.best - sign * away
        if tick in taken:
            return None
        taken.add(tick)
        if tick in self.sizes and draw.random() < 0.4 and len(self.sizes) > _FEWEST_LEVELS:
            return self._remove(tick)
        self.sizes[tick] = size = self._size()
        self.best = max(self.best * sign, tick * sign) * sign
        return [self.word, _price(tick), size]

    def _remove(self, tick: int) -> Change:
        del self.sizes[tick]
        while self.best not in self.sizes:
            self.best -= self._sign
        return [self.word, _price(tick), "0.00000000"]

    def _size(self) -> str:
        return self._draw.choice(self._usual) if self._draw.random() < 0.6 else self._new_size()

    def _new_size(self) -> str:
        return f"{10 ** self._draw.uniform(-1.5, 3):.8f}"

    def levels(self) -> list[Change]:
        """Return every level as (price, size)."""
        return [[_price(tick), size] for tick, size in self.sizes.items()]


def _price(tick: int) -> str:
    return f"{tick // 100}.{tick % 100:02d}"


class _Product:
    def __init__(self, name: str, draw: random.Random) -> None:
        self.name = name
        self._draw = draw
        middle = draw.randrange(2_000, 5_000_000)
        self._bids = _Side("buy", 1, middle - 1, draw)
        self._asks = _Side("sell", -1, middle + 1, draw)

    def snapshot(self) -> bytes:
        bids, asks = self._bids.levels(), self._asks.levels()
        return _text({"type": "snapshot", "product_id": self.name, "bids": bids, "asks": asks})

    def batch(self, time: str) -> bytes:
        changes: list[Change] = []
        touched: set[int] = set()
        for _ in range(self._draw.randint(1, _MOST_CHANGES)):
            sides = (self._bids, self._asks)
            side, other = sides if self._draw.random() < 0.5 else sides[::-1]
            change = side.change(other.best, touched)
            if change is not None:
                changes.append(change)
        return _text(
            {"type": "l2update", "product_id": self.name, "changes": changes, "time": time}
        )


def _text(message: dict[str, object]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


def generate(seed: int = 1) -> Iterator[bytes]:
    """Yield a snapshot of each product, then the batches."""
    draw = random.Random(seed)
    products = [_Product(name, draw) for name in PRODUCTS]
    for product in products:
        yield product.snapshot()
    for number in range(MESSAGES):
        seconds, us = divmod(number * _STEP_US, 1_000_000)
        yield products[number % len(products)].batch(f"{_SECOND}{seconds:02d}.{us:06d}Z")
