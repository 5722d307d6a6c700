"""The Advanced Trade feed from its far side: market events to messages, requests to answers.

Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

import msgspec

from quotewatch.coinbase import advanced
from quotewatch.local.exchange.market_events import BookChange, BookCopy, Event, Trade, Window
from quotewatch.local.exchange.market_model import Market
from quotewatch.local.exchange.sessions import Parcel, Session
from quotewatch.local.exchange.spelling import US, Spelling, TimeTexts

SNAPSHOT_TRADES = 100
_UPTIME_SECONDS = 7_693  # of the server when the market starts: its counter is no connection's
_NEED_LOGIN = ("user", "futures_balance_summary")

_encode = msgspec.json.Encoder().encode
_NUMBER = b'"sequence_num":'


class AdvancedDialect:
    """Speaks the Advanced Trade feed for a market."""

    name = "advanced"
    trades_channel = advanced.TRADES

    def __init__(self, market: Market, delisted: Iterable[str] = ()) -> None:
        self.market = market
        self.delisted = frozenset(delisted)
        self.times = TimeTexts()
        self.spelling = {
            name: Spelling(product.listing) for name, product in market.products.items()
        }
        self._collected: dict[str, list[Trade]] = {name: [] for name in market.products}
        self._beats = next(iter(market.products))

    def known(self, product: str) -> bool:
        """Say whether the product can be subscribed to."""
        return self.routed(product) in self.market.products and product not in self.delisted

    def routed(self, product: str) -> str:
        """Return the product whose data a subscriber of this one gets: -USD for -USDC."""
        return product[:-1] if product.endswith("-USDC") else product

    # -- market events ----------------------------------------------------------------------

    def parcels(
        self, event: Event, heard: Mapping[tuple[str, str], object]
    ) -> list[tuple[str, Parcel]]:
        """Return what goes to which channel; what nobody hears is not encoded, but for trades."""
        product = event.product
        if isinstance(event, BookChange):
            if (advanced.LEVEL2, product) in heard:
                return [(advanced.LEVEL2, self.change(event))]
        elif isinstance(event, Trade):
            self._collected[product].append(event)
        elif isinstance(event, Window):
            collected = self._collected[product]
            if collected:
                self._collected[product] = []
                return [(advanced.TRADES, self.trades(collected, event.time_us))]
        elif product == self._beats and (advanced.HEARTBEATS, "") in heard:
            return [(advanced.HEARTBEATS, self.heartbeat(event))]
        return []

    def _envelope(self, message: advanced.Incoming) -> tuple[bytes, bytes]:
        # Encoded once with number 0; each connection puts its own number in.
        head, mark, tail = _encode(message).partition(_NUMBER)
        return head + mark, tail[1:]

    def _stamp(self, time_us: int) -> str:
        # The envelope is written a moment after what it tells of.
        return self.times.nanoseconds(time_us + 8_000 + time_us % 977, time_us * 7 % 1000)

    def change(self, event: BookChange) -> Parcel:
        """Spell a batch of book changes."""
        spelling = self.spelling[event.product]
        price, size = spelling.price, spelling.size
        time, level = self.times.trimmed(event.time_us), advanced.Level
        updates = [level("bid", time, price[tick], size[lots]) for tick, lots in event.bids]
        updates += [level("offer", time, price[tick], size[lots]) for tick, lots in event.asks]
        head, tail = self._book("update", event.product, updates, event.time_us)
        return Parcel("l2_data", event.product, head, tail, change=event)

    def snapshot(self, book: BookCopy) -> Parcel:
        """Spell a full book, bids first, best first."""
        spelling = self.spelling[book.product]
        price, size = spelling.price, spelling.size
        time, level = self.times.trimmed(book.time_us), advanced.Level
        updates = [level("bid", time, price[tick], size[lots]) for tick, lots in book.bids]
        updates += [level("offer", time, price[tick], size[lots]) for tick, lots in book.asks]
        head, tail = self._book("snapshot", book.product, updates, book.time_us)
        return Parcel("l2_data", book.product, head, tail, update=False)

    def _book(
        self, kind: advanced.EventKind, product: str, updates: list[advanced.Level], time_us: int
    ) -> tuple[bytes, bytes]:
        event = advanced.L2Event(kind, product, updates)
        return self._envelope(advanced.L2Data(self._stamp(time_us), 0, [event]))

    def trades(
        self, trades: Sequence[Trade], time_us: int, kind: advanced.EventKind = "update"
    ) -> Parcel:
        """Spell trades, given oldest first, newest first."""
        product = trades[0].product
        event = advanced.TradesEvent(kind, [self._trade(trade) for trade in reversed(trades)])
        message = advanced.MarketTrades(self._stamp(time_us), 0, [event])
        head, tail = self._envelope(message)
        return Parcel(
            "market_trades",
            product,
            head,
            tail,
            tuple(trades),
            update=kind == "update",
            time_us=time_us,
        )

    def _trade(self, trade: Trade) -> advanced.Trade:
        spelling = self.spelling[trade.product]
        return advanced.Trade(
            trade.product,
            str(trade.trade_id),
            spelling.price[trade.tick],
            spelling.size[trade.lots],
            self.times.trimmed(trade.time_us),
            "BUY" if trade.maker_buys else "SELL",
        )

    def heartbeat(self, pulse: Event) -> Parcel:
        """Spell the heartbeat of the server."""
        up_us = _UPTIME_SECONDS * US + pulse.time_us - self.market.start_us
        date, _, clock = self.times.nanoseconds(pulse.time_us, 204).removesuffix("Z").partition("T")
        current = f"{date} {clock} +0000 UTC m=+{up_us / US:.9f}"
        event = advanced.HeartbeatEvent(current, up_us // US)
        message = advanced.Heartbeats(self._stamp(pulse.time_us), 0, [event])
        return Parcel("heartbeats", "", *self._envelope(message))

    # -- requests ---------------------------------------------------------------------------

    def answer(self, session: Session, text: str | bytes) -> list[Parcel]:
        """Carry out a request and return everything it is answered with."""
        try:
            asked = advanced.request_decoder.decode(text)
        except msgspec.DecodeError as error:
            return [self.error(f"malformed request: {error}")]
        if asked.channel in _NEED_LOGIN:
            return [self.error("authentication failure")]
        if asked.channel not in advanced.CHANNELS:
            return [self.error(f"{asked.channel} is not a channel of this feed")]
        if asked.type == "unsubscribe":
            session.remove(asked.channel, asked.product_ids)
            return [self.ack(session)]
        session.asked = True
        return self._subscribe(session, asked)

    def _subscribe(self, session: Session, asked: advanced.Request) -> list[Parcel]:
        if asked.channel == advanced.HEARTBEATS:
            session.add(asked.channel, [""])
            return [self.ack(session)]
        # A product that does not exist is left out of the acknowledgement; the others go on.
        new = session.add(asked.channel, [name for name in asked.product_ids if self.known(name)])
        first = [self._greeting(asked.channel, self.routed(name)) for name in dict.fromkeys(new)]
        if not session.subscribed[asked.channel]:
            del session.subscribed[asked.channel]
        return [*first, self.ack(session)]

    def _greeting(self, channel: str, product: str) -> Parcel:
        if channel == advanced.LEVEL2:
            return self.snapshot(self.market.book(product))
        return self.trades(self._latest(product), self.market.now_us, "snapshot")

    def _latest(self, product: str) -> list[Trade]:
        # What is being collected comes with the next update, so that the two join without a hole.
        remembered = self.market.trades[product]
        waiting = len(self._collected[product])
        newest_first = islice(reversed(remembered), waiting, waiting + SNAPSHOT_TRADES)
        return list(newest_first)[::-1]

    def ack(self, session: Session) -> Parcel:
        """Spell everything the session is subscribed to."""
        named = {
            channel: [channel] if channel == advanced.HEARTBEATS else list(products)
            for channel, products in session.subscribed.items()
        }
        stamp = self._stamp(self.market.now_us)
        message = advanced.Subscriptions(stamp, 0, [advanced.SubscriptionsEvent(named)])
        return Parcel("subscriptions", "", *self._envelope(message), update=False)

    def error(self, message: str) -> Parcel:
        """Spell a refusal: outside the envelope, without a number."""
        return Parcel("error", "", advanced.encode(advanced.Error(message)), update=False)
