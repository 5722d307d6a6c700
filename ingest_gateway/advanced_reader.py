"""Advanced Trade messages in, rows on the tape out. Pure."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from ingest_gateway.journal import Journal
from ingest_gateway.lane import Lane
from ingest_gateway.reader import Levels, Reader
from ingest_gateway.refusals import UNREADABLE, check_time
from ingest_gateway.tape import Tape
from quotewatch.coinbase import advanced
from quotewatch.coinbase.values import time_us
from quotewatch.errors import WireError
from quotewatch.market.continuity import SequenceNumbers

_CHANNEL = re.compile(rb'"channel"\s*:\s*"([^"]{1,40})"')
_SEQUENCE = re.compile(rb'"sequence_num"\s*:\s*([0-9]{1,18})\b')
_TRADE_ID_DIGITS = 18
_BOOK_CHANNELS = frozenset({"l2_data"})
_TRADE_CHANNELS = frozenset({"market_trades"})
_OTHER_CHANNELS = frozenset({"heartbeats", "subscriptions"})
_UNUSED_CHANNELS = frozenset({"ticker", "ticker_batch", "status", "candles"})


class AdvancedReader(Reader):
    """Reads one connection of the Advanced Trade dialect."""

    def __init__(self, conn: int, tape: Tape, lanes: Mapping[str, Lane], journal: Journal) -> None:
        super().__init__(conn, tape, lanes, journal)
        self._numbers = SequenceNumbers()
        self._decode = advanced.decoder.decode
        self._handlers: dict[type, Callable[[Any, int], None]] = {
            advanced.L2Data: self._books,
            advanced.MarketTrades: self._market_trades,
            advanced.Heartbeats: self._heartbeats,
            advanced.Subscriptions: self._ack,
        }

    def read(self, raw: bytes, received_us: int) -> None:
        """Take one message as it came from the socket."""
        self._tape.arrival += 1
        try:
            message = self._decode(raw)
            if message.sequence_num == self._numbers.expected:
                self._numbers.last = message.sequence_num
            elif not self._take_out_of_order(message, received_us):
                return
            self._handlers[type(message)](message, received_us)
        except UNREADABLE as error:
            self._refuse(raw, received_us, error)

    def _take_out_of_order(self, message: advanced.Incoming, received_us: int) -> bool:
        """Look at a number that is not the next; return whether its message is to be read.

        A message that comes again or too late would put an older state into the book. Its trades
        are taken all the same: they are told apart by their ids.
        """
        number = message.sequence_num
        if number > self._numbers.expected:
            self._hole(number, received_us)
            return True
        self._journal.note(
            "drop", received_us, self.conn, from_id=number, to_id=number, count=1,
            reason="old_sequence",
        )  # fmt: skip
        return isinstance(message, advanced.MarketTrades)

    def _hole(self, number: int, received_us: int) -> None:
        """Anything may have been lost: give up every book and fetch trades again."""
        gap = self._numbers.see(number)
        if gap is None:
            return
        self._journal.note(
            "gap", received_us, self.conn, from_id=gap.first, to_id=gap.last, count=gap.missing,
            reason="sequence_num",
        )  # fmt: skip
        self.lose_all("sequence_num", received_us)

    def _sequence(self) -> int | None:
        return self._numbers.last

    def _books(self, message: advanced.L2Data, received_us: int) -> None:
        kinds = {event.type for event in message.events}
        self.counts["snapshot" if "snapshot" in kinds else "l2update"] += 1
        for event in message.events:
            lane = self._lanes.get(event.product_id) or self._lane(event.product_id, received_us)
            if lane is None:
                continue
            if event.type == "snapshot":
                self._full_book(lane, event, received_us)
            else:
                self._update(lane, event, received_us)

    def _update(self, lane: Lane, event: advanced.L2Event, received_us: int) -> None:
        updates = event.updates
        us = _newest(updates)
        check_time(us, received_us)
        keys, sizes = self._keys, self._sizes
        moved = False
        kept: list[Any] = []
        book = lane.book
        # A level that cannot be read raises here, before the row is kept; the half-applied book
        # is then given up.
        if book is None:
            for level in updates:
                key = keys[level.price_level]
                kept += (key if level.side == "bid" else -key, sizes[level.new_quantity])
        else:
            put_bid, put_ask = book.bids.put, book.asks.put
            for level in updates:
                key, value = keys[level.price_level], sizes[level.new_quantity]
                if level.side == "bid":
                    if put_bid(key, value):
                        moved = True
                else:
                    key = -key
                    if put_ask(key, value):
                        moved = True
                kept += (key, value)
        self._keep_update(lane, kept, us, received_us, self._numbers.last, moved=moved)

    def _full_book(self, lane: Lane, event: advanced.L2Event, received_us: int) -> None:
        bids: Levels = []
        asks: Levels = []
        for level in event.updates:
            side = bids if level.side == "bid" else asks
            side.append((level.price_level, level.new_quantity))
        us = None
        if event.updates:
            us = _newest(event.updates)
            check_time(us, received_us)
        self._snapshot(lane, bids, asks, us, received_us)

    def _market_trades(self, message: advanced.MarketTrades, received_us: int) -> None:
        self.counts["match"] += 1
        for event in message.events:
            self._keep_trades(event.trades, received_us, live=event.type == "update")

    def _keep_trades(
        self, trades: Iterable[advanced.Trade], received_us: int, *, live: bool
    ) -> None:
        """Keep the trades of one event, oldest first; one bad trade leaves the others."""
        seen: dict[str, list[int]] = {}
        for trade_id, trade in sorted(
            self._numbered(trades, received_us), key=lambda pair: pair[0]
        ):
            lane = self._lane(trade.product_id, received_us)
            if lane is None:
                continue
            try:
                new = self._trade(
                    lane,
                    trade_id,
                    trade.price,
                    trade.size,
                    time_us(trade.time),
                    received_us,
                    taker_buys=trade.side == "SELL",  # the wire names the maker's side
                    live=live,
                    sequence=None,
                )
            except WireError as error:
                self._refuse_trade(trade, received_us, error)
            else:
                if not new:
                    seen.setdefault(lane.symbol, []).append(trade_id)
        for symbol, ids in seen.items():
            self._drop_seen(self._lanes[symbol], ids, received_us)

    def _numbered(
        self, trades: Iterable[advanced.Trade], received_us: int
    ) -> Iterable[tuple[int, advanced.Trade]]:
        for trade in trades:
            text = trade.trade_id
            if text.isascii() and text.isdecimal() and len(text) <= _TRADE_ID_DIGITS:
                yield int(text), trade
            else:
                error = WireError("bad_trade_id", f"{text[:40]!r} is not a number")
                self._refuse_trade(trade, received_us, error)

    def _refuse_trade(self, trade: advanced.Trade, received_us: int, error: WireError) -> None:
        self._reject(
            msgspec.json.encode(trade), received_us, error, about_book=False, about_trade=True
        )

    def _heartbeats(self, message: advanced.Heartbeats, received_us: int) -> None:
        del message, received_us
        self.counts["heartbeat"] += 1

    def _ack(self, message: advanced.Subscriptions, received_us: int) -> None:
        del received_us
        self.counts["subscriptions"] += 1
        self.acked = advanced.acked(message)

    def _refuse(self, raw: bytes, received_us: int, error: Exception) -> None:
        found = _CHANNEL.search(raw)
        channel = found.group(1).decode(errors="replace") if found else None
        if channel is None and self._refusal(raw):
            return
        # Its number was used up all the same: without this the next message would look like a hole.
        number = _SEQUENCE.search(raw)
        if number is not None and self._numbers.last != int(number.group(1)):
            self._hole_or_next(int(number.group(1)), received_us)
        if channel in _UNUSED_CHANNELS:
            self.counts["unused"] += 1
        elif channel is not None and channel not in _KNOWN_CHANNELS and number is not None:
            self._stranger(channel, raw, received_us)
        else:
            self._reject(
                raw,
                received_us,
                error,
                about_book=channel not in _TRADE_CHANNELS | _OTHER_CHANNELS,
                about_trade=channel in _TRADE_CHANNELS,
            )

    def _hole_or_next(self, number: int, received_us: int) -> None:
        if number == self._numbers.expected:
            self._numbers.last = number
        else:
            self._hole(number, received_us)

    def _refusal(self, raw: bytes) -> bool:
        """Take an error the exchange answered: it has no envelope."""
        try:
            message = advanced.error_decoder.decode(raw)
        except UNREADABLE:
            return False
        self.counts["error"] += 1
        self.refusals.append(f"{message.message}: {message.reason}".rstrip(": "))
        return True


_KNOWN_CHANNELS = _BOOK_CHANNELS | _TRADE_CHANNELS | _OTHER_CHANNELS


def _newest(updates: list[advanced.Level]) -> int:
    """Return the newest event time; in every capture all times of an event are the same."""
    if not updates:
        raise WireError("bad_value", "an update without changes has no time")
    first = updates[0].event_time
    if updates[-1].event_time == first:
        for level in updates:
            if level.event_time != first:
                break
        else:
            return time_us(first)
    return max(time_us(level.event_time) for level in updates)
