"""A reader's view of the simulated exchange: messages in, books and trades out, by value."""

import json
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from quotewatch.local.exchange.market_model import Market

SIDES = {"buy": "bid", "bid": "bid", "sell": "ask", "offer": "ask"}


class Mirror:
    """Keeps every book and every trade id it is told of."""

    def __init__(self) -> None:
        self.books: dict[str, dict[str, dict[Decimal, Decimal]]] = {}
        self.trades: defaultdict[str, list[int]] = defaultdict(list)
        self.absent_deletes = 0

    def read(self, texts: Iterable[str | bytes]) -> None:
        for text in texts:
            self.read_one(json.loads(text))

    def read_one(self, message: dict[str, Any]) -> None:
        match message.get("type") or message["channel"]:
            case "snapshot":
                self._start(message["product_id"])
                for side, name in (("bids", "buy"), ("asks", "sell")):
                    self._apply(message["product_id"], [(name, *lv) for lv in message[side]])
            case "l2update":
                self._apply(message["product_id"], message["changes"])
            case "match" | "last_match":
                self.trades[message["product_id"]].append(message["trade_id"])
            case "l2_data":
                self._read_levels(message["events"][0])
            case "market_trades":
                for trade in reversed(message["events"][0]["trades"]):
                    self.trades[trade["product_id"]].append(int(trade["trade_id"]))

    def _read_levels(self, event: dict[str, Any]) -> None:
        if event["type"] == "snapshot":
            self._start(event["product_id"])
        changes = [(u["side"], u["price_level"], u["new_quantity"]) for u in event["updates"]]
        self._apply(event["product_id"], changes)

    def _start(self, product: str) -> None:
        self.books[product] = {"bid": {}, "ask": {}}

    def _apply(self, product: str, changes: Iterable[Any]) -> None:
        book = self.books[product]
        for side, price, size in changes:
            levels, key, value = book[SIDES[side]], Decimal(price), Decimal(size)
            if value:
                levels[key] = value
            elif levels.pop(key, None) is None:
                self.absent_deletes += 1

    def crossed(self, product: str) -> bool:
        book = self.books[product]
        return max(book["bid"]) >= min(book["ask"])


def model_book(market: Market, product: str) -> dict[str, dict[Decimal, Decimal]]:
    """Return the market's own book as a reader should see it."""
    copy = market.book(product)
    listing = market.products[product].listing
    price, size = Decimal(10) ** -listing.price_digits, Decimal(10) ** -listing.size_digits
    return {
        "bid": {tick * price: lots * size for tick, lots in copy.bids},
        "ask": {tick * price: lots * size for tick, lots in copy.asks},
    }
