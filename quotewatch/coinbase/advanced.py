"""The Advanced Trade feed (wss://advanced-trade-ws.coinbase.com): bytes to typed messages and back.

Every message of a connection, of whatever channel, carries the next `sequence_num`.
`side` of a trade is the maker's; the ask side of the book is spelled `offer`.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

LEVEL2 = "level2"
TRADES = "market_trades"
HEARTBEATS = "heartbeats"
CHANNELS = (LEVEL2, TRADES, HEARTBEATS)

Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]  # what a table's long holds
EventKind = Literal["snapshot", "update"]


class Level(msgspec.Struct, gc=False):
    """One level and its new absolute quantity; zero removes."""

    side: Literal["bid", "offer"]
    event_time: str
    price_level: str
    new_quantity: str


class L2Event(msgspec.Struct, gc=False):
    """The book of one product, or what changed in it."""

    type: EventKind
    product_id: str
    updates: list[Level]


class L2Data(msgspec.Struct, tag_field="channel", tag="l2_data", gc=False):
    """Books. What one subscribes to as `level2` arrives as `l2_data`."""

    timestamp: str
    sequence_num: Id
    events: list[L2Event]


class Trade(msgspec.Struct, gc=False):
    """One trade; its id is a number spelled as a string."""

    product_id: str
    trade_id: str
    price: str
    size: str
    time: str
    side: Literal["BUY", "SELL"]


class TradesEvent(msgspec.Struct, gc=False):
    """Trades, newest first. A snapshot is the last 100 of each product."""

    type: EventKind
    trades: list[Trade]


class MarketTrades(msgspec.Struct, tag_field="channel", tag="market_trades", gc=False):
    """Trades of about 250 ms."""

    timestamp: str
    sequence_num: Id
    events: list[TradesEvent]


class HeartbeatEvent(msgspec.Struct, gc=False):
    """The counter is the server's uptime, not the connection's; the time is spelled as Go does."""

    current_time: str
    heartbeat_counter: int | str


class Heartbeats(msgspec.Struct, tag_field="channel", tag="heartbeats", gc=False):
    """Sent about each second while subscribed."""

    timestamp: str
    sequence_num: Id
    events: list[HeartbeatEvent]


class SubscriptionsEvent(msgspec.Struct, gc=False):
    """Products by channel."""

    subscriptions: dict[str, list[str]]


class Subscriptions(msgspec.Struct, tag_field="channel", tag="subscriptions", gc=False):
    """Everything this connection is subscribed to now."""

    timestamp: str
    sequence_num: Id
    events: list[SubscriptionsEvent]


Incoming = L2Data | MarketTrades | Heartbeats | Subscriptions

decoder = msgspec.json.Decoder(Incoming)


class Error(msgspec.Struct, tag_field="type", tag="error", gc=False, omit_defaults=True):
    """The exchange refused a request. Not in the envelope: no channel, no sequence number."""

    message: str
    reason: str = ""


class Request(msgspec.Struct, gc=False):
    """What a client sends: one channel a request."""

    type: Literal["subscribe", "unsubscribe"]
    product_ids: list[str]
    channel: str


error_decoder = msgspec.json.Decoder(Error)
request_decoder = msgspec.json.Decoder(Request)


def encode(message: Incoming | Error | Request) -> bytes:
    """Spell a message as the exchange (or a client of it) would."""
    return msgspec.json.encode(message)


def subscribe(products: Sequence[str], channels: Sequence[str] = CHANNELS) -> list[bytes]:
    """Return the requests that subscribe the products to the channels."""
    return [encode(Request("subscribe", list(products), channel)) for channel in channels]


def unsubscribe(products: Sequence[str], channels: Sequence[str] = CHANNELS) -> list[bytes]:
    """Return the requests that undo `subscribe`."""
    return [encode(Request("unsubscribe", list(products), channel)) for channel in channels]


def acked(message: Subscriptions) -> dict[str, set[str]]:
    """Return the products per channel that an acknowledgement names."""
    found: dict[str, set[str]] = {}
    for event in message.events:
        for channel, products in event.subscriptions.items():
            found.setdefault(channel, set()).update(products)
    return found
