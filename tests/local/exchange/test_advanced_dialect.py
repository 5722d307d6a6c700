"""The Advanced Trade feed of the simulated exchange, without sockets."""

import json
import re
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from quotewatch.coinbase import advanced
from quotewatch.coinbase.values import time_us
from quotewatch.local.exchange.config import ExchangeConfig, build_exchange
from quotewatch.local.exchange.market_model import US
from quotewatch.local.exchange.sessions import Session
from quotewatch.local.exchange.simulation import SimulatedExchange
from tests.local.exchange.mirror import Mirror, model_book

PRODUCTS = ("BTC-USD", "ETH-USD", "ETH-BTC")
START_US = 1_700_000_000 * US


def build(products: tuple[str, ...] = PRODUCTS) -> SimulatedExchange:
    config = ExchangeConfig(products=products, rate=90, dialect="advanced")
    return build_exchange(config, START_US)


def ask(simulated: SimulatedExchange, session: Session, *requests: bytes) -> list[dict[str, Any]]:
    for request in requests:
        simulated.request(session, request)
    return taken(session)


def taken(session: Session) -> list[dict[str, Any]]:
    return [json.loads(shipment.text) for shipment in session.take()]


def run_for(simulated: SimulatedExchange, session: Session, seconds: float) -> list[dict[str, Any]]:
    simulated.advance(simulated.market.now_us + round(seconds * US))
    return taken(session)


def acked(message: dict[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = message["events"][0]["subscriptions"]
    return found


def test_each_request_is_acknowledged_with_everything_so_far() -> None:
    simulated = build()
    got = ask(simulated, simulated.open(), *advanced.subscribe(PRODUCTS))
    acks = [acked(message) for message in got if message["channel"] == "subscriptions"]
    assert acks[0] == {"level2": list(PRODUCTS)}
    assert acks[2] == {
        "level2": list(PRODUCTS),
        "market_trades": list(PRODUCTS),
        "heartbeats": ["heartbeats"],
    }
    channels = Counter(message["channel"] for message in got)
    assert channels == {"l2_data": 3, "market_trades": 3, "subscriptions": 3}


def test_numbers_are_contiguous_over_all_channels_of_a_connection() -> None:
    simulated = build()
    session = simulated.open()
    got = ask(simulated, session, *advanced.subscribe(PRODUCTS))
    got += run_for(simulated, session, 5)
    got += ask(simulated, session, *advanced.unsubscribe(["BTC-USD"]))
    assert [message["sequence_num"] for message in got] == list(range(len(got)))
    again = ask(simulated, simulated.open(), *advanced.subscribe(["BTC-USD"]))
    assert again[0]["sequence_num"] == 0


def test_everything_sent_is_what_the_codec_reads() -> None:
    simulated = build()
    session = simulated.open()
    for request in advanced.subscribe(PRODUCTS):
        simulated.request(session, request)
    simulated.advance(START_US + 5 * US)
    kinds = Counter(type(advanced.decoder.decode(s.text)) for s in session.take())
    assert set(kinds) == {
        advanced.L2Data,
        advanced.MarketTrades,
        advanced.Heartbeats,
        advanced.Subscriptions,
    }


def test_a_reader_ends_up_with_the_markets_own_books() -> None:
    simulated = build()
    session = simulated.open()
    mirror = Mirror()
    got = ask(simulated, session, *advanced.subscribe(PRODUCTS)) + run_for(simulated, session, 30)
    for message in got:
        mirror.read_one(message)
        if message["channel"] == "l2_data":
            assert not mirror.crossed(message["events"][0]["product_id"])
    for product in PRODUCTS:
        assert mirror.books[product] == model_book(simulated.market, product)


def test_envelopes_are_stamped_with_nine_digits() -> None:
    simulated = build()
    session = simulated.open()
    ask(simulated, session, *advanced.subscribe(PRODUCTS))
    for message in run_for(simulated, session, 2):
        assert re.fullmatch(r"2023-11-14T22:13:\d\d\.\d{9}Z", message["timestamp"])


def test_trades_are_newest_first_with_ids_as_text_and_join_the_snapshot() -> None:
    simulated = build()
    session = simulated.open()
    # Somewhere within a quarter of a second, with trades collected and not yet sent.
    simulated.advance(START_US + 7_613_000)
    got = ask(simulated, session, *advanced.subscribe(["ETH-USD"], ["market_trades"]))
    got += run_for(simulated, session, 10)
    events = [m["events"][0] for m in got if m["channel"] == "market_trades"]
    assert [event["type"] for event in events[:2]] == ["snapshot", "update"]
    assert len(events[0]["trades"]) == 100
    assert any(len(event["trades"]) > 1 for event in events[1:])
    ids = [trade["trade_id"] for event in events for trade in reversed(event["trades"])]
    assert all(isinstance(trade_id, str) for trade_id in ids)
    assert all(int(b) == int(a) + 1 for a, b in pairwise(ids))
    assert len(events) <= 1 + 4 * 10 + 1
    times = [time_us(trade["time"]) for trade in events[0]["trades"]]
    assert times == sorted(times, reverse=True)


def test_heartbeats_count_the_servers_uptime_not_the_connections() -> None:
    simulated = build()
    simulated.advance(START_US + 20 * US)
    session = simulated.open()
    ask(simulated, session, *advanced.subscribe([], ["heartbeats"]))
    beats = [message["events"][0] for message in run_for(simulated, session, 5)]
    counters = [beat["heartbeat_counter"] for beat in beats]
    assert len(beats) == 5
    assert all(b == a + 1 for a, b in pairwise(counters))
    assert counters[0] > 7_000
    go_time = r"2023-11-14 22:13:\d\d\.\d{9} \+0000 UTC m=\+77\d\d\.\d{9}"
    assert all(re.fullmatch(go_time, beat["current_time"]) for beat in beats)


def test_a_usdc_product_returns_the_usd_data() -> None:
    simulated = build(("BTC-USDC",))
    session = simulated.open()
    got = ask(simulated, session, *advanced.subscribe(["BTC-USDC"]))
    got += run_for(simulated, session, 3)
    events = [m["events"][0] for m in got if m["channel"] == "l2_data"]
    assert len(events) > 10
    assert {event["product_id"] for event in events} == {"BTC-USD"}


def test_both_names_of_one_product_do_not_double_its_data() -> None:
    simulated = build()
    session = simulated.open()
    ask(simulated, session, *advanced.subscribe(["BTC-USD", "BTC-USDC"], ["market_trades"]))
    ids = [
        trade["trade_id"]
        for message in run_for(simulated, session, 5)
        for trade in message["events"][0]["trades"]
    ]
    assert len(ids) == len(set(ids)) > 0


def test_a_bad_product_is_left_out_and_the_others_go_on() -> None:
    simulated = build()
    session = simulated.open()
    got = ask(simulated, session, *advanced.subscribe(["NO-SUCH", "BTC-USD"], ["level2"]))
    assert acked(got[-1]) == {"level2": ["BTC-USD"]}
    assert len(run_for(simulated, session, 2)) > 10


@pytest.mark.parametrize(
    "request_text",
    [
        b"hello",
        b'{"type":"subscribe","product_ids":["BTC-USD"],"channel":"user"}',
        b'{"type":"subscribe","product_ids":["BTC-USD"],"channel":"full"}',
        b'{"type":"subscribe","product_ids":["BTC-USD"],"channels":["level2"]}',
    ],
)
def test_what_cannot_be_done_is_answered_outside_the_envelope(request_text: bytes) -> None:
    simulated = build()
    session = simulated.open()
    simulated.request(session, request_text)
    (answer,) = session.take()
    assert advanced.error_decoder.decode(answer.text).message
    assert session.number == 0


def test_resubscribing_yields_the_full_book_as_of_now() -> None:
    simulated = build()
    session = simulated.open()
    ask(simulated, session, *advanced.subscribe(PRODUCTS))
    run_for(simulated, session, 10)
    got = ask(
        simulated,
        session,
        *advanced.unsubscribe(["BTC-USD"], ["level2"]),
        *advanced.subscribe(["BTC-USD"], ["level2"]),
    )
    assert [message["channel"] for message in got] == ["subscriptions", "l2_data", "subscriptions"]
    mirror = Mirror()
    mirror.read_one(got[1])
    assert mirror.books["BTC-USD"] == model_book(simulated.market, "BTC-USD")


def test_everybody_gets_the_same_messages_but_for_the_number() -> None:
    simulated = build()
    early, late = simulated.open(), simulated.open()
    ask(simulated, early, *advanced.subscribe(PRODUCTS))
    run_for(simulated, early, 2)
    ask(simulated, late, *advanced.subscribe(["ETH-USD"], ["level2", "market_trades"]))
    simulated.advance(START_US + 5 * US)

    def unnumbered(session: Session) -> list[bytes]:
        texts = [s.text for s in session.take() if b'"product_id":"ETH-USD"' in s.text]
        return [re.sub(rb'"sequence_num":\d+', b"", text) for text in texts]

    expected = unnumbered(early)
    assert len(expected) > 50
    assert unnumbered(late) == expected
