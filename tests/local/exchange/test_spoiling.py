"""Spoiling: no flaw leaves a message that a careful reader would take."""

import msgspec
import pytest

from quotewatch.coinbase import advanced, exchange
from quotewatch.coinbase.values import price_key, size_value, time_us
from quotewatch.errors import WireError
from quotewatch.local.exchange.spoiling import FLAWS, Flaw, spoil

TIME = "2026-08-09T05:23:42.5Z"
GOOD = {
    "l2update": exchange.encode(exchange.L2Update("BTC-USD", [("buy", "1.5", "2")], TIME)),
    "match": exchange.encode(exchange.Match(7, "buy", "2", "1.5", "BTC-USD", 70, TIME)),
    "l2_data": advanced.encode(
        advanced.L2Data(
            TIME,
            3,
            [advanced.L2Event("update", "BTC-USD", [advanced.Level("bid", TIME, "1.5", "2")])],
        )
    ),
    "market_trades": advanced.encode(
        advanced.MarketTrades(
            TIME,
            4,
            [
                advanced.TradesEvent(
                    "update", [advanced.Trade("BTC-USD", "7", "1.5", "2", TIME, "BUY")]
                )
            ],
        )
    ),
}


def take(text: bytes) -> None:
    """Read a message as carefully as the gateway must; raise if anything is wrong."""
    if b'"channel"' in text:
        take_advanced(text)
        return
    message = exchange.decoder.decode(text)
    assert isinstance(message, exchange.L2Update | exchange.Match)
    time_us(message.time)
    pairs = (
        [(message.price, message.size)]
        if isinstance(message, exchange.Match)
        else [change[1:] for change in message.changes]
    )
    for price, size in pairs:
        price_key(price)
        size_value(size)


def take_advanced(text: bytes) -> None:
    message = advanced.decoder.decode(text)
    assert isinstance(message, advanced.L2Data | advanced.MarketTrades)
    for event in message.events:
        if isinstance(event, advanced.L2Event):
            for level in event.updates:
                time_us(level.event_time)
                price_key(level.price_level)
                size_value(level.new_quantity)
        else:
            for trade in event.trades:
                time_us(trade.time)
                price_key(trade.price)
                size_value(trade.size)


@pytest.mark.parametrize("kind", GOOD)
def test_the_good_message_is_taken(kind: str) -> None:
    take(GOOD[kind])


@pytest.mark.parametrize("flaw", FLAWS)
@pytest.mark.parametrize("kind", GOOD)
def test_the_spoilt_message_is_not(kind: str, flaw: Flaw) -> None:
    with pytest.raises((msgspec.DecodeError, WireError)):
        take(spoil(GOOD[kind], flaw))
