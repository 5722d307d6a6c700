"""The Exchange feed of the simulated exchange, without sockets."""

import json
import re
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from quotewatch.coinbase import exchange
from quotewatch.coinbase.values import price_key, size_value, time_us
from quotewatch.local.exchange.config import ExchangeConfig, build_exchange
from quotewatch.local.exchange.market_model import US
from quotewatch.local.exchange.sessions import Session
from quotewatch.local.exchange.simulation import SimulatedExchange
from tests.local.exchange.mirror import Mirror, model_book

PRODUCTS = ("BTC-USD", "ETH-USD", "ETH-BTC")
START_US = 1_700_000_000 * US


def build(**settings: Any) -> SimulatedExchange:
    return build_exchange(ExchangeConfig(products=PRODUCTS, rate=90, **settings), START_US)


def ask(simulated: SimulatedExchange, session: Session, *requests: bytes) -> list[dict[str, Any]]:
    for request in requests:
        simulated.request(session, request)
    return taken(session)


def taken(session: Session) -> list[dict[str, Any]]:
    return [json.loads(shipment.text) for shipment in session.take()]


def run_for(simulated: SimulatedExchange, session: Session, seconds: float) -> list[dict[str, Any]]:
    simulated.advance(simulated.market.now_us + round(seconds * US))
    return taken(session)


def subscribe(*products: str, channels: tuple[str, ...] = exchange.CHANNELS) -> bytes:
    return exchange.subscribe(products or PRODUCTS, channels)[0]


def test_a_subscription_is_acknowledged_and_greeted() -> None:
    simulated = build()
    got = ask(simulated, simulated.open(), subscribe())
    kinds = Counter(message["type"] for message in got)
    assert kinds == {"snapshot": 3, "last_match": 3, "subscriptions": 1}
    ack = next(message for message in got if message["type"] == "subscriptions")
    assert [channel["name"] for channel in ack["channels"]] == ["level2_50", "matches", "heartbeat"]
    assert exchange.acked(exchange.decoder.decode(json.dumps(ack))) == {
        channel: set(PRODUCTS) for channel in exchange.CHANNELS
    }


def test_data_may_come_before_the_acknowledgement_or_after_it() -> None:
    simulated = build()
    session = simulated.open()
    first = ask(simulated, session, subscribe("BTC-USD"))
    second = ask(simulated, session, subscribe("ETH-USD"))
    assert [message["type"] for message in first] == ["snapshot", "last_match", "subscriptions"]
    assert [message["type"] for message in second] == ["subscriptions", "snapshot", "last_match"]


def test_everything_sent_is_what_the_codec_reads() -> None:
    simulated = build()
    session = simulated.open()
    simulated.request(session, subscribe(channels=(*exchange.CHANNELS, "ticker")))
    simulated.advance(START_US + 5 * US)
    for shipment in session.take():
        message = exchange.decoder.decode(shipment.text)
        if isinstance(message, exchange.L2Update):
            assert time_us(message.time) >= START_US
            for _, price, size in message.changes:
                price_key(price)
                size_value(size)


def test_a_reader_ends_up_with_the_markets_own_books() -> None:
    simulated = build()
    session = simulated.open()
    mirror = Mirror()
    for message in ask(simulated, session, subscribe()) + run_for(simulated, session, 30):
        mirror.read_one(message)
        if message["type"] in ("snapshot", "l2update"):
            assert not mirror.crossed(message["product_id"])
    for product in PRODUCTS:
        assert mirror.books[product] == model_book(simulated.market, product)
    assert mirror.absent_deletes > 0


def test_trade_ids_join_the_last_match_and_sequences_skip() -> None:
    simulated = build()
    session = simulated.open()
    got = ask(simulated, session, subscribe()) + run_for(simulated, session, 20)
    for product in PRODUCTS:
        trades = [m for m in got if "trade_id" in m and m["product_id"] == product]
        assert trades[0]["type"] == "last_match"
        assert all(b["trade_id"] == a["trade_id"] + 1 for a, b in pairwise(trades))
        assert all(b["sequence"] > a["sequence"] + 1 for a, b in pairwise(trades))


def test_the_side_of_a_match_is_the_makers() -> None:
    simulated = build()
    session = simulated.open()
    ask(simulated, session, subscribe(channels=("matches", "ticker")))
    got = run_for(simulated, session, 20)
    matches = {(m["product_id"], m["trade_id"]): m for m in got if m["type"] == "match"}
    tickers = [m for m in got if m["type"] == "ticker"]
    assert len(tickers) == len(matches) > 20
    opposite = {"buy": "sell", "sell": "buy"}
    for ticker in tickers:
        match = matches[ticker["product_id"], ticker["trade_id"]]
        assert ticker["side"] == opposite[match["side"]]


def test_numbers_and_times_have_several_spellings() -> None:
    simulated = build()
    session = simulated.open()
    snapshot = json.dumps(ask(simulated, session, subscribe(channels=("level2_batch",))))
    updates = json.dumps(run_for(simulated, session, 30))
    assert re.search(r'\["65\d{3}(\.\d)?", ', snapshot)
    assert re.search(r'"buy", "6\d{4}\.\d{2}000000"', updates)
    assert {'"0"]', '"0.00000000"]'} <= set(re.findall(r'"0[.0]*"\]', updates))
    digits = {len(digits) for digits in re.findall(r'"time": "[^"]+?\.(\d+)Z"', updates)}
    assert len(digits) > 1


def test_heartbeats_come_each_second_with_the_last_trade() -> None:
    simulated = build()
    session = simulated.open()
    ask(simulated, session, subscribe("BTC-USD"))
    got = run_for(simulated, session, 10.5)
    last, beats = 0, 0
    for message in got:
        last = message.get("trade_id", last)
        if message["type"] == "heartbeat":
            beats += 1
            assert message["last_trade_id"] == last
    assert beats == 10


@pytest.mark.parametrize(
    ("channel", "product", "reason"),
    [
        ("level2_batch", "NO-SUCH", "NO-SUCH is not a valid product"),
        ("no_such", "BTC-USD", "no_such is not a valid channel"),
        ("level2", "BTC-USD", "now require authentication"),
        ("level3", "BTC-USD", "now require authentication"),
        ("full", "BTC-USD", "now require authentication"),
    ],
)
def test_one_bad_name_voids_the_whole_subscribe(channel: str, product: str, reason: str) -> None:
    simulated = build()
    session = simulated.open()
    request = exchange.subscribe(("BTC-USD", product), ("matches", channel))[0]
    (error,) = ask(simulated, session, request)
    assert error["type"] == "error"
    assert error["message"] == "Failed to subscribe"
    assert reason in error["reason"]
    assert not session.asked
    assert run_for(simulated, session, 2) == []


@pytest.mark.parametrize("request_text", [b"hello", b"{}", b'{"type":"dance"}', b"[1]"])
def test_an_unknown_request_is_answered_with_an_error(request_text: bytes) -> None:
    simulated = build()
    (answer,) = ask(simulated, simulated.open(), request_text)
    assert answer["type"] == "error"


def test_channels_may_name_products_of_their_own() -> None:
    simulated = build()
    request = (
        b'{"type":"subscribe","product_ids":["BTC-USD"],'
        b'"channels":["heartbeat",{"name":"matches","product_ids":["ETH-USD"]}]}'
    )
    got = ask(simulated, simulated.open(), request)
    ack = next(message for message in got if message["type"] == "subscriptions")
    assert {c["name"]: c["product_ids"] for c in ack["channels"]} == {
        "heartbeat": ["BTC-USD"],
        "matches": ["BTC-USD", "ETH-USD"],
    }


def test_resubscribing_yields_the_full_book_as_of_now() -> None:
    simulated = build()
    session = simulated.open()
    ask(simulated, session, subscribe())
    run_for(simulated, session, 10)
    got = ask(
        simulated,
        session,
        exchange.unsubscribe(["BTC-USD"], ["level2_batch"])[0],
        subscribe("BTC-USD", channels=("level2_batch",)),
    )
    assert Counter(m["type"] for m in got) == {"subscriptions": 2, "snapshot": 1}
    mirror = Mirror()
    for message in got:
        mirror.read_one(message)
    assert mirror.books["BTC-USD"] == model_book(simulated.market, "BTC-USD")


def test_what_is_unsubscribed_stops_and_the_rest_goes_on() -> None:
    simulated = build()
    session = simulated.open()
    ask(simulated, session, subscribe())
    ask(simulated, session, exchange.unsubscribe(["BTC-USD"])[0])
    products = {message["product_id"] for message in run_for(simulated, session, 3)}
    assert products == {"ETH-USD", "ETH-BTC"}


def test_everybody_gets_the_same_messages_of_a_product() -> None:
    simulated = build()
    all_of_it, one_of_it = simulated.open(), simulated.open()
    ask(simulated, all_of_it, subscribe())
    ask(simulated, one_of_it, subscribe("ETH-USD"))
    simulated.advance(START_US + 5 * US)
    wanted = [s.text for s in all_of_it.take() if b'"ETH-USD"' in s.text]
    assert [shipment.text for shipment in one_of_it.take()] == wanted
