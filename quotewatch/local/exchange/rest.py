"""The exchange's REST interface without its socket: a path and the time in, an answer out. Pure.

Trades are newest first, and trade ids are the cursors. Ten requests a second, fifteen at once.
"""

from collections.abc import Mapping
from itertools import islice
from urllib.parse import parse_qs, urlsplit

import msgspec

from quotewatch.local.exchange.fault_rules import Dialect
from quotewatch.local.exchange.listings import increment_text
from quotewatch.local.exchange.market_events import Trade

MAX_LIMIT = 1000
RATE, BURST = 10.0, 15.0


class Answer(msgspec.Struct, frozen=True):
    """An HTTP status, extra headers and a JSON body."""

    status: int
    body: bytes
    headers: dict[str, str] = {}


class ListedProduct(msgspec.Struct, frozen=True):
    """One product of `/products`, as far as anybody here reads it."""

    id: str
    base_currency: str
    quote_currency: str
    quote_increment: str
    base_increment: str
    status: str
    trading_disabled: bool = False


class ListedTrade(msgspec.Struct, frozen=True):
    """One trade of `/products/{id}/trades`; `side` is the maker's, as on the feed."""

    trade_id: int
    side: str
    size: str
    price: str
    time: str


class RestInterface:
    """Answers requests about the products and trades of a dialect's market."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._tokens = BURST
        self._filled_at = 0.0

    def answer(self, path: str, now_seconds: float) -> Answer:
        """Answer one GET."""
        if not self._admit(now_seconds):
            return _message(429, "Public rate limit exceeded")
        parts = urlsplit(path)
        match parts.path.strip("/").split("/"):
            case ["products"]:
                return Answer(200, msgspec.json.encode(self._products()))
            case ["products", product, "trades"]:
                return self._trades(product, parse_qs(parts.query))
        return _message(404, "NotFound")

    def _admit(self, now_seconds: float) -> bool:
        gained = (now_seconds - self._filled_at) * RATE
        self._tokens = min(BURST, self._tokens + max(0.0, gained))
        self._filled_at = now_seconds
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def _products(self) -> list[ListedProduct]:
        listings = (product.listing for product in self._dialect.market.products.values())
        return [
            ListedProduct(
                listing.name,
                listing.base,
                listing.quote,
                increment_text(listing.price_digits),
                increment_text(listing.size_digits),
                "delisted" if listing.name in self._dialect.delisted else "online",
                listing.name in self._dialect.delisted,
            )
            for listing in listings
        ]

    def _trades(self, product: str, query: Mapping[str, list[str]]) -> Answer:
        if product not in self._dialect.market.products or not self._dialect.known(product):
            return _message(404, "NotFound")
        try:
            numbers = {name: int(values[-1]) for name, values in query.items()}
        except ValueError:
            return _message(400, "Invalid request")
        limit = numbers.get("limit", MAX_LIMIT)
        if not 1 <= limit <= MAX_LIMIT:
            return _message(400, f"limit must be between 1 and {MAX_LIMIT}")
        page = self._page(product, limit, numbers.get("before"), numbers.get("after"))
        body = msgspec.json.encode([self._listed(trade) for trade in page])
        if not page:
            return Answer(200, body)
        cursors = {"CB-BEFORE": str(page[0].trade_id), "CB-AFTER": str(page[-1].trade_id)}
        return Answer(200, body, cursors)

    def _page(self, product: str, limit: int, before: int | None, after: int | None) -> list[Trade]:
        remembered = self._dialect.market.trades[product]
        # Ids are contiguous, so the place of the newest wanted one is known.
        newest = remembered[-1].trade_id
        skipped = 0 if after is None else max(0, newest + 1 - after)
        page = islice(reversed(remembered), skipped, skipped + limit)
        return [trade for trade in page if before is None or trade.trade_id > before]

    def _listed(self, trade: Trade) -> ListedTrade:
        spelling = self._dialect.spelling[trade.product]
        return ListedTrade(
            trade.trade_id,
            "buy" if trade.maker_buys else "sell",
            spelling.size[trade.lots],
            spelling.price[trade.tick],
            self._dialect.times.trimmed(trade.time_us),
        )


def unavailable() -> Answer:
    """Return what the interface says while it is down."""
    return _message(503, "Service Unavailable")


def _message(status: int, text: str) -> Answer:
    return Answer(status, msgspec.json.encode({"message": text}))
