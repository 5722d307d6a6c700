"""What is asked of the exchange, and when it is asked again."""

from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from typing import NamedTuple

import msgspec
import pytest

from ingest_gateway.dialect import DIALECTS
from ingest_gateway.subscriber import ANSWER_SECONDS, RETRY_BAD_SECONDS, Subscriber
from quotewatch.coinbase import advanced, exchange
from quotewatch.metrics.declared.capture import EVENT_REASONS
from tests.gateway.desk import RECEIVED_US, TIME, Desk
from tests.gateway.running import acknowledgement, snapshot, update

BTC, ETH, FOO = "BTC-USD", "ETH-USD", "FOO-USD"
START = 5_000.0
SILENCE_SECONDS = 30.0
TICK = 0.1


class Asked(NamedTuple):
    """One request as the exchange reads it."""

    type: str
    products: list[str]
    channels: list[str]


class Talk:
    """A subscriber, the reader that hears the answers, and a clock."""

    def __init__(self, dialect: str, products: Sequence[str] = (BTC, ETH)) -> None:
        self.desk = Desk(dialect, products)
        self.dialect = DIALECTS[dialect]
        self.now = START
        self.numbers = iter(range(1_000_000))
        self.subscriber = Subscriber(
            self.dialect, self.desk.lanes, self.desk.reader, self.desk.journal, SILENCE_SECONDS
        )
        self.opening = self.decode(self.subscriber.start(self.now))

    def decode(self, requests: Iterable[bytes]) -> list[Asked]:
        return [_asked(request) for request in requests]

    def after(self, seconds: float) -> list[Asked]:
        """Let time pass, looking every tick as a connection does; return what was asked."""
        asked: list[Asked] = []
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + TICK, end)
            now_us = RECEIVED_US + round((self.now - START) * 1_000_000)
            asked += self.decode(self.subscriber.next_requests(self.now, now_us))
        return asked

    def hear(self, *messages: object) -> None:
        received_us = RECEIVED_US + round((self.now - START) * 1_000_000)
        self.desk.read(*messages, received_us=received_us)

    def beat(self, *products: str) -> None:
        self.hear(*(exchange.Heartbeat(1, product, 1, TIME) for product in products))

    def acknowledge(self, *products: str, trades: Sequence[str] | None = None) -> None:
        """Answer as the exchange does: all that is subscribed now."""
        if self.dialect is DIALECTS["exchange"]:
            self.hear(acknowledgement(products))
            return
        listed = {
            "level2": list(products),
            "market_trades": list(products if trades is None else trades),
            "heartbeats": ["heartbeats"],
        }
        event = advanced.SubscriptionsEvent(listed)
        self.hear(advanced.Subscriptions(TIME, next(self.numbers), [event]))

    def show(self, *products: str) -> None:
        """Send books."""
        for product in products:
            if self.dialect is DIALECTS["exchange"]:
                self.hear(snapshot(product))
                continue
            levels = [
                advanced.Level("bid", TIME, "100", "1"),
                advanced.Level("offer", TIME, "101", "1"),
            ]
            event = advanced.L2Event("snapshot", product, levels)
            self.hear(advanced.L2Data(TIME, next(self.numbers), [event]))

    def refuse(self, text: str) -> None:
        self.hear(exchange.Error("Failed to subscribe", text))

    def bad(self) -> list[tuple[str | None, str]]:
        """Return who was refused, and why."""
        rows = self.desk.events("reject")
        assert {row["reason"] for row in rows} <= EVENT_REASONS
        return [(row["symbol"], row["reason"]) for row in rows]


def _asked(raw: bytes) -> Asked:
    request = msgspec.json.decode(raw)
    channels = request.get("channels") or [request["channel"]]
    return Asked(request["type"], request["product_ids"], channels)


def products_asked(asked: Iterable[Asked], kind: str = "subscribe") -> list[list[str]]:
    return [one.products for one in asked if one.type == kind]


def running(dialect: str, products: Sequence[str] = (BTC, ETH)) -> Talk:
    """A conversation in which everything asked has come."""
    talk = Talk(dialect, products)
    talk.acknowledge(*products)
    talk.show(*products)
    assert talk.after(TICK) == []
    return talk


BOTH = pytest.mark.parametrize("dialect", ["exchange", "advanced"])


# The beginning


def test_the_exchange_is_asked_for_all_channels_at_once() -> None:
    channels = ["level2_batch", "matches", "heartbeat"]
    assert Talk("exchange").opening == [Asked("subscribe", [BTC, ETH], channels)]


def test_advanced_trade_is_asked_channel_by_channel() -> None:
    assert Talk("advanced").opening == [
        Asked("subscribe", [BTC, ETH], [channel])
        for channel in ("level2", "market_trades", "heartbeats")
    ]


@BOTH
def test_what_has_come_is_not_asked_again(dialect: str) -> None:
    talk = running(dialect)
    for _ in range(100):
        if dialect == "exchange":
            talk.beat(BTC, ETH)
        assert talk.after(1.0) == []
    assert talk.bad() == []


@BOTH
def test_a_feed_that_acknowledges_nothing_is_left_to_the_watchdog(dialect: str) -> None:
    talk = Talk(dialect)
    talk.show(BTC, ETH)
    assert talk.after(3 * ANSWER_SECONDS) == []
    assert talk.bad() == []


# Products the exchange does not know


def test_advanced_leaves_a_bad_product_out_and_the_others_go_on() -> None:
    talk = Talk("advanced", [BTC, FOO, ETH])
    talk.acknowledge(BTC, ETH)
    talk.show(BTC, ETH)
    talk.after(ANSWER_SECONDS - 1.0)
    assert talk.bad() == []
    assert talk.after(2.0) == []
    assert talk.bad() == [(FOO, "bad_product")]
    assert talk.desk.lanes[BTC].book is not None
    assert talk.after(ANSWER_SECONDS) == []
    assert len(talk.bad()) == 1


def test_advanced_that_knows_none_of_the_products_names_them_all() -> None:
    talk = Talk("advanced", [FOO, "BAR-USD"])
    talk.acknowledge()
    talk.after(ANSWER_SECONDS + 1.0)
    assert talk.bad() == [(FOO, "bad_product"), ("BAR-USD", "bad_product")]


def test_an_answer_that_comes_late_is_an_answer() -> None:
    talk = Talk("advanced", [BTC, ETH])
    talk.acknowledge(ETH)
    talk.show(ETH)
    talk.after(ANSWER_SECONDS + 1.0)
    assert talk.bad() == [(BTC, "bad_product")]
    talk.acknowledge(BTC, ETH)
    talk.show(BTC)
    talk.after(TICK)
    talk.desk.reader.lose(talk.desk.lanes[BTC], "crossed", RECEIVED_US)
    assert products_asked(talk.after(1.0)) == [[BTC]]


def test_a_product_whose_book_lives_is_there_whatever_the_answer_says() -> None:
    # A replayed capture answers what was asked when it was recorded.
    talk = Talk("advanced", [BTC, ETH])
    talk.acknowledge(BTC, trades=[])
    talk.show(BTC, ETH)
    talk.after(3 * ANSWER_SECONDS)
    assert talk.bad() == []
    assert all(lane.book is not None for lane in talk.desk.lanes.values())


def test_a_refusal_that_names_a_product_leads_to_the_others_being_asked_again() -> None:
    talk = Talk("exchange", [BTC, FOO, ETH])
    talk.refuse(f"{FOO} is not a valid product")
    assert products_asked(talk.after(TICK)) == [[BTC, ETH]]
    talk.acknowledge(BTC, ETH)
    talk.show(BTC, ETH)
    assert talk.after(1.0) == []
    assert talk.bad() == [(FOO, "bad_product")]


def test_each_of_several_bad_products_is_named() -> None:
    talk = Talk("exchange", [FOO, BTC, "BAR-USD"])
    talk.refuse(f"{FOO} is not a valid product")
    assert products_asked(talk.after(TICK)) == [[BTC, "BAR-USD"]]
    talk.refuse("BAR-USD is not a valid product")
    assert products_asked(talk.after(TICK)) == [[BTC]]
    assert talk.bad() == [(FOO, "bad_product"), ("BAR-USD", "bad_product")]


def test_advanced_may_refuse_each_channel_for_the_same_product() -> None:
    talk = Talk("advanced", [BTC, FOO])
    asked: list[Asked] = []
    for _ in range(3):
        talk.refuse(f"{FOO} is not a valid product")
        asked += talk.after(2 * TICK)
    assert products_asked(asked) == 3 * [[BTC]]  # one request a channel
    assert talk.bad() == [(FOO, "bad_product")]


@BOTH
def test_a_refusal_that_names_nobody_is_found_out_one_by_one(dialect: str) -> None:
    talk = Talk(dialect, [BTC, FOO, ETH])
    acked: list[str] = []
    requests = len(talk.opening)
    for _ in range(requests):
        talk.refuse("invalid")  # one for each request of ours
    for _ in range(3):
        asked: list[Asked] = []
        while not asked:
            asked = talk.after(TICK)
        ((product,),) = {tuple(one.products) for one in asked}
        if product == FOO:
            for _ in asked:  # they need not come at once
                talk.refuse("invalid")
                talk.after(2 * TICK)
            continue
        acked.append(product)
        talk.acknowledge(*acked)
        talk.show(product)
    assert talk.after(5.0) == []
    assert talk.bad() == [(None, "refused"), (FOO, "bad_product")]
    assert acked == [BTC, ETH]


def test_a_product_asked_alone_and_not_answered_holds_up_no_other() -> None:
    talk = Talk("exchange", [BTC, ETH])
    talk.refuse("invalid")
    asked = talk.after(ANSWER_SECONDS)
    assert products_asked(asked) == [[BTC], [ETH]]


def test_a_refusal_may_pass_so_a_bad_product_is_asked_again_later_alone() -> None:
    talk = running("advanced")
    talk.desk.reader.lose(talk.desk.lanes[BTC], "crossed", RECEIVED_US)
    talk.after(TICK)
    talk.refuse(f"{BTC}: too many requests")
    talk.after(TICK)
    assert talk.bad() == [(BTC, "bad_product")]
    assert talk.after(RETRY_BAD_SECONDS - 2 * ANSWER_SECONDS) == []
    assert products_asked(talk.after(3 * ANSWER_SECONDS))[:3] == 3 * [[BTC]]
    talk.acknowledge(BTC, ETH)
    talk.show(BTC)
    assert talk.after(ANSWER_SECONDS) == []


# Fresh snapshots


@BOTH
def test_a_lost_book_is_asked_for_and_nothing_else(dialect: str) -> None:
    talk = running(dialect)
    talk.desk.reader.lose(talk.desk.lanes[BTC], "crossed", RECEIVED_US)
    book = list(talk.dialect.book_channels)
    assert talk.after(TICK) == [Asked("unsubscribe", [BTC], book), Asked("subscribe", [BTC], book)]
    talk.show(BTC)
    assert talk.after(5.0) == []


def test_lost_books_are_asked_for_in_rounds() -> None:
    products = [f"P{number}-USD" for number in range(20)]
    talk = running("exchange", products)
    rounds: list[list[str]] = []
    for product in products:  # one is lost every tick
        talk.desk.reader.lose(talk.desk.lanes[product], "crossed", RECEIVED_US)
        rounds += products_asked(talk.after(TICK))
    rounds += products_asked(talk.after(0.5))
    assert sorted(chain.from_iterable(rounds)) == sorted(products)
    assert len(rounds) <= 6  # 20 ticks are 2 s: one round each half second


def test_a_book_that_is_lost_again_and_again_is_asked_for_ever_less_often() -> None:
    talk = running("exchange")
    moments: list[float] = []
    for _ in range(600):  # one minute
        talk.desk.reader.lose(talk.desk.lanes[BTC], "crossed", RECEIVED_US)
        talk.beat(BTC, ETH)
        if talk.after(TICK):
            moments.append(talk.now)
            talk.show(BTC)
    pauses = [after - before for before, after in pairwise(moments)]
    assert 4 <= len(moments) <= 8
    assert pauses[0] <= 1.1
    assert pauses[-1] > 5.0


def test_the_pause_of_one_product_is_not_the_pause_of_another() -> None:
    talk = running("exchange")
    for _ in range(3):
        talk.desk.reader.lose(talk.desk.lanes[BTC], "crossed", RECEIVED_US)
        talk.after(3.0)
        talk.show(BTC)
    talk.desk.reader.lose(talk.desk.lanes[BTC], "crossed", RECEIVED_US)
    talk.desk.reader.lose(talk.desk.lanes[ETH], "crossed", RECEIVED_US)
    assert products_asked(talk.after(0.5))[0][-1] == ETH


@BOTH
def test_a_snapshot_that_does_not_come_is_asked_for_again(dialect: str) -> None:
    talk = Talk(dialect, [BTC, ETH])
    talk.acknowledge(BTC, ETH)
    talk.show(BTC)
    assert talk.after(ANSWER_SECONDS - 1.0) == []
    asked = talk.after(2.0)
    assert products_asked(asked) == [[ETH]]
    assert asked[0].channels == list(talk.dialect.book_channels)
    if dialect == "exchange":
        talk.beat(BTC, ETH)
    assert products_asked(talk.after(ANSWER_SECONDS + 1.0)) == [[ETH]]


def test_a_hole_in_the_sequence_numbers_asks_for_every_channel_of_every_product() -> None:
    talk = running("advanced")
    next(talk.numbers)  # lost
    talk.show(BTC)
    asked = talk.after(TICK)
    assert {(one.type, *one.channels) for one in asked} == {
        (kind, channel)
        for kind in ("unsubscribe", "subscribe")
        for channel in ("level2", "market_trades", "heartbeats")
    }
    assert all(sorted(one.products) == [BTC, ETH] for one in asked)


def test_a_hole_met_while_a_book_is_awaited_is_not_forgotten_over_it() -> None:
    talk = running("advanced")
    talk.desk.reader.lose(talk.desk.lanes[BTC], "crossed", RECEIVED_US)
    assert len(talk.after(TICK)) == 2
    next(talk.numbers)  # lost; what follows is the answer to the request before it
    talk.show(BTC)
    asked = talk.after(2.0)
    trades = [one for one in asked if one.channels == ["market_trades"]]
    assert {product for one in trades for product in one.products} == {BTC, ETH}


def test_a_product_without_a_sign_of_life_is_asked_for_whole() -> None:
    talk = running("exchange")
    for _ in range(round(SILENCE_SECONDS)):
        talk.beat(ETH)
        assert talk.after(1.0) == []
    talk.beat(ETH)
    asked = talk.after(1.0)
    assert [one.products for one in asked] == [[BTC], [BTC]]
    assert asked[1].channels == list(exchange.CHANNELS)
    assert talk.desk.reasons("invalid") == ["silence"]


def test_a_refusal_during_a_resync_heals_the_other_products_whole() -> None:
    talk = running("advanced")
    next(talk.numbers)  # lost: both are asked for again, on all channels
    talk.show(BTC)
    talk.after(TICK)
    talk.refuse(f"{BTC} is not a valid product")
    asked = [one for one in talk.after(2.0) if one.type == "subscribe"]
    assert {(*one.products, *one.channels) for one in asked} == {
        (ETH, channel) for channel in ("level2", "market_trades", "heartbeats")
    }
    assert talk.bad() == [(BTC, "bad_product")]


def test_a_subscription_that_was_undone_and_not_made_again_is_made_again() -> None:
    talk = running("advanced")
    talk.acknowledge(BTC, ETH, trades=[ETH])
    asked = [one for one in talk.after(ANSWER_SECONDS + 1.0) if one.type == "subscribe"]
    assert [one.products for one in asked] == 3 * [[BTC]]
    # Its book goes on: only trades were missing.
    assert talk.desk.lanes[BTC].book is not None


def test_a_book_that_is_not_subscribed_any_more_is_given_up() -> None:
    talk = running("exchange")
    talk.acknowledge(ETH)
    talk.beat(BTC, ETH)
    assert products_asked(talk.after(ANSWER_SECONDS + 1.0)) == [[BTC]]
    assert talk.desk.reasons("invalid") == ["unsubscribed"]
    talk.acknowledge(BTC, ETH)
    talk.show(BTC)
    talk.hear(update(BTC))
    assert len(talk.desk.rows("features")) == 1
