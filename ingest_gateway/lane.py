"""One product on its way through the gateway: its book's lives, its trade ids, its windows."""

from quotewatch.market.book import Book
from quotewatch.market.continuity import TradeIds
from quotewatch.market.features import FeatureWindows, Top, top_of


class Lane:
    """What is known of one product now. `number` counts the lives of its book."""

    __slots__ = (
        "book", "code", "depth", "heard_us", "ids", "newest_us", "number", "sequence",
        "symbol", "top", "waiting", "windows",
    )  # fmt: skip

    def __init__(self, symbol: str, code: int) -> None:
        self.symbol = symbol
        self.code = code  # its place among the tape's symbols
        self.number = 0
        self.book: Book | None = None  # None until the next snapshot
        self.top: Top  # as the best levels left it; the depth beside it is newer
        self.depth: float
        self.windows: FeatureWindows
        self.ids = TradeIds()
        self.newest_us: int | None = None  # newest exchange time seen
        self.heard_us = 0  # when the product last gave a sign of life
        self.sequence: int | None = None  # of the newest match; not contiguous
        self.waiting = 0  # updates kept but not applied since the book was lost

    def begin(self, book: Book) -> None:
        """Start the next life of the book from a snapshot that is neither crossed nor one-sided."""
        self.book = book
        self.top = top_of(book)
        self.depth = self.top.depth
        self.windows = FeatureWindows(self.top)
        self.waiting = 0

    def end(self) -> None:
        """End the life of the book: what comes before the next snapshot belongs to none."""
        self.book = None
        self.number += 1
