"""Trades over REST, `GET /products/{id}/trades`: what to ask for next, what an answer covers. Pure.

An answer has the newest trades below a cursor, newest first; a hole in its ids is a hole at the
exchange. Whether the trade at the cursor is in it is nowhere promised: both are understood.
`side` is the maker's side on this wire.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal
from urllib.parse import quote

import msgspec

from quotewatch.coinbase.exchange import Id, MakerSide
from quotewatch.coinbase.values import price_key, size_value, time_us
from quotewatch.errors import WireError

MOST_TRADES = 1000  # the exchange gives no more in one answer

_UNREADABLE = (WireError, msgspec.MsgspecError, ValueError, RecursionError)
_PLACE = re.compile(r" - at `.*`$")


@dataclass(frozen=True, slots=True)
class RestTrade:
    """One trade, its numbers as exactly as the exchange spelled them."""

    symbol: str
    trade_id: int
    price: str
    size: str
    taker_side: Literal["buy", "sell"]
    exchange_us: int


@dataclass(frozen=True, slots=True)
class RefusedTrade:
    """A trade that cannot be taken as it is, and why; where its id can be read it is known."""

    trade_id: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class TradePage:
    """All the exchange has of the ids `from_id` to `to_id`, ascending, each once.

    But for `refused` trades, each with one of `reasons`: an id that is in no page does not exist.
    """

    trades: tuple[RestTrade, ...]
    from_id: int
    to_id: int
    refused: int
    reasons: tuple[str, ...] = ()


Listing = tuple[RestTrade | RefusedTrade, ...]  # one answer, in the order of the wire


class _Listed(msgspec.Struct, gc=False):
    trade_id: Id
    side: MakerSide
    size: str
    price: str
    time: str


class _Numbered(msgspec.Struct, gc=False):
    trade_id: Id


_array = msgspec.json.Decoder(list[msgspec.Raw])
_listed = msgspec.json.Decoder(_Listed)
_numbered = msgspec.json.Decoder(_Numbered)


# What to ask for


@dataclass(frozen=True, slots=True)
class Descent:
    """The way down through a range of ids: `first` to `upper` are left, `after` is the cursor."""

    first: int
    upper: int
    after: int

    @property
    def done(self) -> bool:
        """Say whether nothing is left."""
        return self.upper < self.first

    def path(self, product: str) -> str:
        """Return what to GET next."""
        # One more than is left, for an answer that begins with the trade at the cursor.
        limit = min(MOST_TRADES, self.upper - self.first + 2)
        return f"/products/{quote(product, safe='')}/trades?limit={limit}&after={self.after}"

    def take(self, listing: Listing) -> tuple[TradePage | None, "Descent"]:
        """Return what the answer covers, None for nothing yet, and how to go on.

        Two answers at most leave less to do; one that cannot be the answer is a WireError.
        """
        lowest = self._lowest(listing)
        if lowest > self.upper:
            # Only the trade at the cursor: answers include it, and have room for nothing else.
            return None, replace(self, after=self.upper)
        from_id = max(self.first, lowest)
        return self._page(listing, from_id), Descent(self.first, from_id - 1, from_id)

    def _lowest(self, listing: Listing) -> int:
        if not listing:
            return self.first  # the history of the product ends above
        ids = [each.trade_id for each in listing if each.trade_id is not None]
        if not ids:
            raise WireError("bad_trade_id", f"no trade below {self.after} has an id")
        for above, below in pairwise((self.after, *ids)):
            # What is not below the cursor, or not in order, may have left out what we look for.
            if below > above:
                raise WireError("bad_trade_id", f"{below} follows {above}, newest first was due")
        return ids[-1]

    def _page(self, listing: Listing, from_id: int) -> TradePage:
        trades: dict[int, RestTrade] = {}
        reasons: list[str] = []
        for each in listing:
            if each.trade_id is not None and not from_id <= each.trade_id <= self.upper:
                continue
            if isinstance(each, RefusedTrade):
                reasons.append(each.reason)
            else:
                trades[each.trade_id] = each
        ascending = tuple(trades[trade_id] for trade_id in sorted(trades))
        return TradePage(ascending, from_id, self.upper, len(reasons), tuple(reasons))


def plan_descent(first: int, last: int) -> Descent:
    """Plan to get the trades `first` to `last`, both included, from the newest downwards."""
    return Descent(first, last, last + 1)


# What came


def read_listing(symbol: str, body: bytes) -> Listing:
    """Read an answer; a bad trade is refused alone, what is no list of trades is a WireError."""
    try:
        items = _array.decode(body)
    except _UNREADABLE as error:
        raise WireError(_reason_of(error), f"{body[:80]!r}") from error
    return tuple(_read(symbol, items))


def _read(symbol: str, items: list[msgspec.Raw]) -> Iterator[RestTrade | RefusedTrade]:
    for item in items:
        try:
            yield _trade(symbol, _listed.decode(item))
        except _UNREADABLE as error:
            yield RefusedTrade(_id_of(item), _reason_of(error))


def _trade(symbol: str, listed: _Listed) -> RestTrade:
    price_key(listed.price)
    if not size_value(listed.size):
        raise WireError("bad_size", f"a trade of {listed.size!r}")
    return RestTrade(
        symbol,
        listed.trade_id,
        listed.price,
        listed.size,
        "sell" if listed.side == "buy" else "buy",
        time_us(listed.time),
    )


def _id_of(item: msgspec.Raw) -> int | None:
    try:
        return _numbered.decode(item).trade_id
    except _UNREADABLE:
        return None


def _reason_of(error: Exception) -> str:
    """Name a reason out of the same closed set as for the messages of the feeds."""
    if isinstance(error, WireError):
        return error.reason
    if isinstance(error, msgspec.ValidationError):
        text = _PLACE.sub("", str(error))
        if "missing required field" in text:
            return "missing_field"
        return "wrong_type" if text.startswith("Expected") else "bad_value"
    return "bad_value" if isinstance(error, RecursionError) else "malformed_json"
