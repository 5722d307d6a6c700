"""The Exchange feed (wss://ws-feed.exchange.coinbase.com): bytes to typed messages and back.

`side` is the maker's side on this wire. docs/messages.md owns the meaning of every field.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

LEVEL2 = "level2_batch"
MATCHES = "matches"
HEARTBEAT = "heartbeat"
CHANNELS = (LEVEL2, MATCHES, HEARTBEAT)

MakerSide = Literal["buy", "sell"]
Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]  # what a table's long holds


class Snapshot(msgspec.Struct, tag_field="type", tag="snapshot", gc=False, omit_defaults=True):
    """The full book of one product. Level: (price, size)."""

    product_id: str
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]
    time: str | None = None


class L2Update(msgspec.Struct, tag_field="type", tag="l2update", gc=False):
    """Levels that changed. Change: (`buy` or `sell`, price, new absolute size); zero removes."""

    product_id: str
    changes: list[tuple[MakerSide, str, str]]
    time: str


class Match(msgspec.Struct, tag_field="type", tag="match", gc=False, omit_defaults=True):
    """One trade as it happens."""

    trade_id: Id
    side: MakerSide
    size: str
    price: str
    product_id: str
    sequence: Id
    time: str
    maker_order_id: str | None = None
    taker_order_id: str | None = None


class LastMatch(Match, tag_field="type", tag="last_match", gc=False, omit_defaults=True):
    """The newest trade before the subscription: complete, but older."""


class Heartbeat(msgspec.Struct, tag_field="type", tag="heartbeat", gc=False):
    """Sent each second per product. last_trade_id has been a constant 0 at times: unknown."""

    last_trade_id: Id
    product_id: str
    sequence: Id
    time: str


class SubscribedChannel(msgspec.Struct, gc=False, omit_defaults=True):
    """One channel of an acknowledgement; `level2_batch` is acked as `level2_50`."""

    name: str
    product_ids: list[str]
    account_ids: list[str] | None = None


class Subscriptions(msgspec.Struct, tag_field="type", tag="subscriptions", gc=False):
    """Everything this connection is subscribed to now."""

    channels: list[SubscribedChannel]


class Error(msgspec.Struct, tag_field="type", tag="error", gc=False, omit_defaults=True):
    """The exchange refused a request: one bad product id voids the whole subscribe."""

    message: str
    reason: str = ""


class Ticker(msgspec.Struct, tag_field="type", tag="ticker", gc=False):
    """Known and not used: what it says is in the trades and the book."""


class Status(msgspec.Struct, tag_field="type", tag="status", gc=False):
    """Known and not used."""


Incoming = (
    L2Update | Match | Heartbeat | Snapshot | LastMatch | Subscriptions | Error | Ticker | Status
)

decoder = msgspec.json.Decoder(Incoming)


class Request(msgspec.Struct, gc=False):
    """What a client sends: `subscribe` or `unsubscribe`."""

    type: Literal["subscribe", "unsubscribe"]
    product_ids: list[str]
    channels: list[str]


request_decoder = msgspec.json.Decoder(Request)


def encode(message: Incoming | Request) -> bytes:
    """Spell a message as the exchange (or a client of it) would."""
    return msgspec.json.encode(message)


def subscribe(products: Sequence[str], channels: Sequence[str] = CHANNELS) -> list[bytes]:
    """Return the requests that subscribe the products to the channels."""
    return [encode(Request("subscribe", list(products), list(channels)))]


def unsubscribe(products: Sequence[str], channels: Sequence[str] = CHANNELS) -> list[bytes]:
    """Return the requests that undo `subscribe`."""
    return [encode(Request("unsubscribe", list(products), list(channels)))]


def acked(message: Subscriptions) -> dict[str, set[str]]:
    """Return the products per channel that an ack names, under the names we asked by."""
    found: dict[str, set[str]] = {}
    for channel in message.channels:
        name = LEVEL2 if channel.name.startswith("level2") else channel.name
        found.setdefault(name, set()).update(channel.product_ids)
    return found
