"""The order book of one product: levels by value, best prices fast, any depth. Pure.

The best levels of each side stand in two parallel sorted lists, the rest in a dict: a change
costs a bisection in a short list, whatever the depth of the book. Asks are kept under negated
prices, so that on both sides the best level is the last.
"""

from bisect import bisect_left
from collections.abc import Iterable
from heapq import nlargest

from quotewatch.coinbase.values import Number

_INFINITY = float("inf")
TOP = 10  # levels a side that features look at
_FULL = 256  # levels in the lists before the worse half moves to the dict
_HALF = _FULL // 2
_LOW = 32  # levels in the lists below which they are filled again; never below TOP


class BookSide:
    """One side: keys ascend towards the best. For asks the key is the negated price."""

    __slots__ = ("_bound", "_deep", "keys", "sizes")

    def __init__(self, levels: Iterable[tuple[Number, float]] = ()) -> None:
        self._deep: dict[Number, float] = {key: size for key, size in levels if size}
        # Keys below the bound belong into the dict.
        self._bound: Number = -_INFINITY
        self.keys: list[Number] = []
        self.sizes: list[float] = []
        self._refill()

    def put(self, key: Number, size: float) -> bool:
        """Set the size of a level, zero removes it. Return whether the top may have changed.

        Removing a level that is not there is normal on batched feeds.
        """
        if key < self._bound:
            self._put_deep(key, size)
            return False
        keys = self.keys
        at = bisect_left(keys, key)
        count = len(keys)
        if at < count and keys[at] == key:
            if size:
                self.sizes[at] = size
            else:
                del keys[at], self.sizes[at]
                if count <= _LOW and self._deep:
                    self._refill()
        elif size:
            keys.insert(at, key)
            self.sizes.insert(at, size)
            if count >= _FULL:
                self._spill()
        else:
            return False
        return at >= count - TOP

    def __len__(self) -> int:
        return len(self.keys) + len(self._deep)

    def best(self, depth: int) -> list[tuple[Number, float]]:
        """Return up to `depth` levels, best first."""
        near = list(zip(self.keys[: -depth - 1 : -1], self.sizes[: -depth - 1 : -1], strict=True))
        missing = depth - len(near)
        return near + nlargest(missing, self._deep.items()) if missing > 0 else near

    def _put_deep(self, key: Number, size: float) -> None:
        if size:
            self._deep[key] = size
        elif self._deep.pop(key, None) is not None and not self._deep:
            self._bound = -_INFINITY

    def _spill(self) -> None:
        self._deep.update(zip(self.keys[:_HALF], self.sizes[:_HALF], strict=True))
        del self.keys[:_HALF], self.sizes[:_HALF]
        self._bound = self.keys[0]

    def _refill(self) -> None:
        nearest = nlargest(_HALF, self._deep.items())
        nearest.reverse()
        self.keys[:0] = [key for key, _ in nearest]
        self.sizes[:0] = [size for _, size in nearest]
        for key, _ in nearest:
            del self._deep[key]
        # With nothing deeper, every key belongs into the lists again.
        self._bound = self.keys[0] if self._deep else -_INFINITY


class Book:
    """Both sides of one product since its last snapshot."""

    __slots__ = ("asks", "bids")

    def __init__(
        self,
        bids: Iterable[tuple[Number, float]] = (),
        asks: Iterable[tuple[Number, float]] = (),
    ) -> None:
        self.bids = BookSide(bids)
        self.asks = BookSide((-price, size) for price, size in asks)

    def put_bid(self, price: Number, size: float) -> bool:
        """Set a bid level; return whether the top may have changed."""
        return self.bids.put(price, size)

    def put_ask(self, price: Number, size: float) -> bool:
        """Set an ask level; return whether the top may have changed."""
        return self.asks.put(-price, size)

    def best_bids(self, depth: int) -> list[tuple[Number, float]]:
        """Return up to `depth` bids as (price, size), best first."""
        return self.bids.best(depth)

    def best_asks(self, depth: int) -> list[tuple[Number, float]]:
        """Return up to `depth` asks as (price, size), best first."""
        return [(-key, size) for key, size in self.asks.best(depth)]

    @property
    def one_sided(self) -> bool:
        """Whether a side is empty. Such a book never crosses: ask for this as well."""
        return not (self.bids.keys and self.asks.keys)

    @property
    def crossed(self) -> bool:
        """Whether the best bid reaches the best ask: no honest feed does, state was lost."""
        return not self.one_sided and self.bids.keys[-1] >= -self.asks.keys[-1]
