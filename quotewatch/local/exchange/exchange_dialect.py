"""The Exchange feed, from its far side: market events to messages, requests to answers. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from quotewatch.coinbase import exchange
from quotewatch.local.exchange.market_events import BookChange, BookCopy, Event, Pulse, Trade
from quotewatch.local.exchange.market_model import Market
from quotewatch.local.exchange.sessions import Parcel, Session
from quotewatch.local.exchange.spelling import Spelling, TimeTexts

TICKER, STATUS = "ticker", "status"
PUBLIC = (*exchange.CHANNELS, TICKER, "ticker_batch", STATUS)
NEED_LOGIN = ("full", "level2", "level3", "user", "balance")
ACKED_AS = {exchange.LEVEL2: "level2_50"}

_REFUSED = "Failed to subscribe"
_LOGIN = (
    "level2, level3, and full channels now require authentication. "
    "https://docs.cdp.coinbase.com/exchange/docs/websocket-auth"
)


class AskedChannel(msgspec.Struct):
    """A channel with products of its own."""

    name: str
    product_ids: list[str] = []


class Asked(msgspec.Struct):
    """A request: products for all channels, or for each."""

    type: Literal["subscribe", "unsubscribe"]
    channels: list[str | AskedChannel] = []
    product_ids: list[str] = []


class Ticker(msgspec.Struct, tag_field="type", tag="ticker", gc=False):
    """The wire's ticker in full; `side` is the taker's here, as in the captures."""

    sequence: int
    product_id: str
    price: str
    best_bid: str
    best_ask: str
    side: exchange.MakerSide
    time: str
    trade_id: int
    last_size: str


_asked = msgspec.json.Decoder(Asked)
_encode = msgspec.json.Encoder().encode


class ExchangeDialect:
    """Speaks the Exchange feed for a market."""

    name = "exchange"
    trades_channel = exchange.MATCHES

    def __init__(self, market: Market, delisted: Iterable[str] = ()) -> None:
        self.market = market
        self.delisted = frozenset(delisted)
        self.times = TimeTexts()
        self.spelling = {
            name: Spelling(product.listing) for name, product in market.products.items()
        }

    def known(self, product: str) -> bool:
        """Say whether the product can be subscribed to."""
        return product in self.market.products and product not in self.delisted

    def routed(self, product: str) -> str:
        """Return the product whose data a subscriber of this one gets."""
        return product

    # -- market events ----------------------------------------------------------------------

    def parcels(
        self, event: Event, heard: Mapping[tuple[str, str], object]
    ) -> list[tuple[str, Parcel]]:
        """Return what goes to which channel; what nobody hears is not encoded, but for trades."""
        product = event.product
        if isinstance(event, BookChange):
            if (exchange.LEVEL2, product) in heard:
                return [(exchange.LEVEL2, self.change(event))]
        elif isinstance(event, Trade):
            found = [(exchange.MATCHES, self.match(event))]
            if (TICKER, product) in heard:
                found.append((TICKER, self.ticker(event)))
            return found
        elif isinstance(event, Pulse) and (exchange.HEARTBEAT, product) in heard:
            return [(exchange.HEARTBEAT, self.heartbeat(event))]
        return []

    def change(self, event: BookChange) -> Parcel:
        """Spell a batch of book changes."""
        spelling = self.spelling[event.product]
        price = spelling.padded_price
        size = spelling.size if event.time_us & 1 else spelling.size_or_zeros
        changes: list[tuple[exchange.MakerSide, str, str]]
        changes = [("buy", price[tick], size[lots]) for tick, lots in event.bids]
        changes += [("sell", price[tick], size[lots]) for tick, lots in event.asks]
        time = self.times.trimmed(event.time_us)
        text = _encode(exchange.L2Update(event.product, changes, time))
        return Parcel("l2update", event.product, text, change=event)

    def match(self, trade: Trade) -> Parcel:
        """Spell a trade."""
        return Parcel("match", trade.product, self._match(exchange.Match, trade), trades=(trade,))

    def _match(self, kind: type[exchange.Match] | type[exchange.LastMatch], trade: Trade) -> bytes:
        spelling = self.spelling[trade.product]
        number = trade.sequence
        return _encode(
            kind(
                trade.trade_id,
                "buy" if trade.maker_buys else "sell",
                spelling.size[trade.lots],
                spelling.price[trade.tick],
                trade.product,
                number,
                self.times.trimmed(trade.time_us),
                f"{trade.trade_id:08x}-5e11-4b1d-8aaa-{number:012x}",
                f"{trade.trade_id:08x}-7a4e-4001-9bbb-{number:012x}",
            )
        )

    def heartbeat(self, pulse: Pulse) -> Parcel:
        """Spell a product's heartbeat."""
        time = self.times.trimmed(pulse.time_us)
        beat = exchange.Heartbeat(pulse.last_trade_id, pulse.product, pulse.sequence, time)
        return Parcel("heartbeat", pulse.product, _encode(beat))

    def ticker(self, trade: Trade) -> Parcel:
        """Spell a trade as a ticker."""
        spelling, product = self.spelling[trade.product], self.market.products[trade.product]
        text = _encode(
            Ticker(
                trade.sequence,
                trade.product,
                spelling.price[trade.tick],
                spelling.price[product.bids.best()],
                spelling.price[-product.asks.best()],
                "sell" if trade.maker_buys else "buy",
                self.times.trimmed(trade.time_us),
                trade.trade_id,
                spelling.size[trade.lots],
            )
        )
        return Parcel("ticker", trade.product, text)

    def snapshot(self, book: BookCopy) -> Parcel:
        """Spell a full book. It carries no time, as most snapshots of this feed do not."""
        spelling = self.spelling[book.product]
        price, size = spelling.price, spelling.size
        bids = [(price[tick], size[lots]) for tick, lots in book.bids]
        asks = [(price[tick], size[lots]) for tick, lots in book.asks]
        text = _encode(exchange.Snapshot(book.product, bids, asks))
        return Parcel("snapshot", book.product, text, update=False)

    # -- requests ---------------------------------------------------------------------------

    def answer(self, session: Session, text: str | bytes) -> list[Parcel]:
        """Carry out a request and return everything it is answered with."""
        try:
            asked = _asked.decode(text)
        except msgspec.DecodeError as error:
            return [self.error("Malformed request", str(error))]
        wanted = _by_channel(asked)
        if asked.type == "unsubscribe":
            for channel, products in wanted.items():
                session.remove(channel, products)
            return [self.ack(session)]
        reason = self._objection(wanted)
        if reason:
            return [self.error(_REFUSED, reason)]
        session.asked = True
        return self._subscribe(session, wanted)

    def _objection(self, wanted: Mapping[str, Sequence[str]]) -> str:
        if not wanted:
            return "channels may not be empty"
        for channel, products in wanted.items():
            if channel in NEED_LOGIN:
                return _LOGIN
            if channel not in PUBLIC:
                return f"{channel} is not a valid channel"
            for product in products:
                # One bad product voids the whole request.
                if not self.known(product):
                    return f"{product} is not a valid product"
            if not products and channel != STATUS:
                return "no product_ids given"
        return ""

    def _subscribe(self, session: Session, wanted: Mapping[str, Sequence[str]]) -> list[Parcel]:
        session.requests += 1
        first: list[Parcel] = []
        for channel, products in wanted.items():
            for product in session.add(channel, products):
                first.extend(self._greeting(channel, product))
        ack = self.ack(session)
        # The real feed acknowledges before or after the first data; every second time each.
        return [*first, ack] if session.requests % 2 else [ack, *first]

    def _greeting(self, channel: str, product: str) -> list[Parcel]:
        if channel == exchange.LEVEL2:
            return [self.snapshot(self.market.book(product))]
        if channel == exchange.MATCHES:
            trade = self.market.last_trade(product)
            text = self._match(exchange.LastMatch, trade)
            return [Parcel("last_match", product, text, trades=(trade,), update=False)]
        return []

    def ack(self, session: Session) -> Parcel:
        """Spell everything the session is subscribed to."""
        channels = [
            exchange.SubscribedChannel(ACKED_AS.get(channel, channel), list(products))
            for channel, products in session.subscribed.items()
        ]
        return Parcel(
            "subscriptions", "", exchange.encode(exchange.Subscriptions(channels)), update=False
        )

    def error(self, message: str, reason: str = "") -> Parcel:
        """Spell a refusal."""
        return Parcel("error", "", exchange.encode(exchange.Error(message, reason)), update=False)


def _by_channel(asked: Asked) -> dict[str, list[str]]:
    wanted: dict[str, list[str]] = {}
    for channel in asked.channels:
        name = channel if isinstance(channel, str) else channel.name
        own = [] if isinstance(channel, str) else channel.product_ids
        wanted.setdefault(name, []).extend([*asked.product_ids, *own])
    return wanted
