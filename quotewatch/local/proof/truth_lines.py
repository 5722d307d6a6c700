"""A truth file in, what each line said about books and trades out.

The lines are read as the wire's messages, by the same decoders as everywhere; what they cannot
read, or what a fault spoilt, is a message that has to be refused.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from quotewatch.coinbase import advanced, exchange
from quotewatch.coinbase.values import time_us
from quotewatch.errors import QuoteWatchError, WireError
from quotewatch.local.exchange.truth import TruthLine
from quotewatch.local.proof.row_keys import Change, PlainTexts, TradeId, book_key, trade_content

_KIND = re.compile(r'"(?:type|channel)":\s*"([a-z0-9_]{1,40})"')


class TruthError(QuoteWatchError):
    """A line that is none; the message names it."""


class SentTrade(NamedTuple):
    """One trade of a message."""

    id: TradeId
    content: bytes


@dataclass(frozen=True, slots=True)
class Line:
    """One message that was sent or withheld: the keys of its books, its trades."""

    number: int
    conn: int
    kind: str
    sent: bool
    fault: str | None
    spoilt: bool
    books: Sequence[bytes] = ()
    trades: Sequence[SentTrade] = ()


class TruthReader:
    """Reads truth files of both dialects."""

    def __init__(self) -> None:
        self._plain = PlainTexts()

    def read(self, path: Path) -> Iterator[Line]:
        """Yield the lines in the order in which they were sent."""
        decoder = msgspec.json.Decoder(TruthLine)
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                try:
                    line = decoder.decode(raw)
                except msgspec.MsgspecError as error:
                    raise TruthError(f"{path}, line {number}: {error}") from error
                yield self._parse(number, line)

    def _parse(self, number: int, line: TruthLine) -> Line:
        text = line.message
        found = _KIND.search(text)
        kind = found.group(1) if found else "unknown"
        spoilt = line.sent and line.fault == "malformed"
        if not spoilt:
            try:
                books, trades = self._contents(text)
            except (msgspec.MsgspecError, WireError):
                spoilt = True
            else:
                return Line(
                    number, line.conn, kind, line.sent, line.fault, spoilt, books, trades
                )  # fmt: skip
        return Line(number, line.conn, kind, line.sent, line.fault, spoilt)

    def _contents(self, text: str) -> tuple[list[bytes], list[SentTrade]]:
        if text.startswith('{"channel"'):
            return self._of_advanced(advanced.decoder.decode(text))
        return self._of_exchange(exchange.decoder.decode(text))

    def _of_exchange(self, message: exchange.Incoming) -> tuple[list[bytes], list[SentTrade]]:
        match message:
            case exchange.L2Update():
                sides = {"buy": "bid", "sell": "ask"}
                changes = [(sides[side], price, size) for side, price, size in message.changes]
                return [self._book(message.product_id, "update", message.time, changes)], []
            case exchange.Snapshot():
                levels = [("bid", *level) for level in message.bids]
                levels += [("ask", *level) for level in message.asks]
                return [self._book(message.product_id, "snapshot", message.time, levels)], []
            case exchange.Match() | exchange.LastMatch():
                taker = "sell" if message.side == "buy" else "buy"
                number, price, size = message.trade_id, message.price, message.size
                trade = self._trade(
                    message.product_id, number, price, size, taker, message.time
                )  # fmt: skip
                return [], [trade]
        return [], []

    def _of_advanced(self, message: advanced.Incoming) -> tuple[list[bytes], list[SentTrade]]:
        match message:
            case advanced.L2Data():
                return [self._event(event) for event in message.events], []
            case advanced.MarketTrades():
                trades = [trade for event in message.events for trade in event.trades]
                return [], [
                    self._trade(
                        trade.product_id,
                        int(trade.trade_id),
                        trade.price,
                        trade.size,
                        "sell" if trade.side == "BUY" else "buy",
                        trade.time,
                    )
                    for trade in trades
                ]
        return [], []

    def _event(self, event: advanced.L2Event) -> bytes:
        names = {"bid": "bid", "offer": "ask"}
        changes = [
            (names[each.side], each.price_level, each.new_quantity) for each in event.updates
        ]
        if event.type == "snapshot":
            # A snapshot's rows stand bids first, in whatever order they were sent.
            changes.sort(key=lambda change: change[0] == "ask")
        newest = max((each.event_time for each in event.updates), key=time_us, default=None)
        return self._book(event.product_id, event.type, newest, changes)

    def _book(
        self, symbol: str, kind: str, time: str | None, changes: Sequence[Change]
    ) -> bytes:  # fmt: skip
        plain = self._plain
        us = None if time is None else time_us(time)
        return book_key(
            symbol, kind, us, ((side, plain[price], plain[size]) for side, price, size in changes)
        )

    def _trade(
        self, symbol: str, number: int, price: str, size: str, taker: str, time: str
    ) -> SentTrade:  # fmt: skip
        content = trade_content(self._plain[price], self._plain[size], taker, time_us(time))
        return SentTrade(TradeId(symbol, number), content)
