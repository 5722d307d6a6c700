"""Faults ordered by a test, over real sockets: each is seen as documented, and the truth has it."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytest

from quotewatch.coinbase import advanced, exchange
from quotewatch.local.exchange.fault_plan import FaultPlan
from quotewatch.local.exchange.fault_rules import BOOKS, TRADES
from quotewatch.local.exchange.server import ExchangeConfig, ExchangeServer
from quotewatch.local.exchange.spoiling import FLAWS, Flaw
from tests.local.exchange.listener import (
    Listener,
    close_code,
    gone,
    kind_of,
    listening,
    read_truth,
    run,
)
from tests.local.exchange.mirror import Mirror, model_book

PRODUCTS = ("BTC-USD", "ETH-USD")
Dialect = Literal["exchange", "advanced"]
both = pytest.mark.parametrize("dialect", ["exchange", "advanced"])


class Outcome:
    """What a listener got while a fault happened, and the truth about it."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.truth: list[dict[str, Any]] = []
        self.rest_ids: list[int] = []

    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.texts]

    def trade_ids(self, product: str) -> list[int]:
        mirror = Mirror()
        mirror.read(self.texts)
        return mirror.trades[product]

    def faulty(self) -> list[dict[str, Any]]:
        return [line for line in self.truth if line["fault"] is not None]

    def numbers(self) -> list[int]:
        return [m["sequence_num"] for m in self.messages() if "sequence_num" in m]


def suffer(dialect: Dialect, tmp_path: Path, order: Callable[[FaultPlan], None]) -> Outcome:
    """Listen for 2 s, order a fault, listen for 5 s more."""
    outcome, plan = Outcome(), FaultPlan()
    truth = tmp_path / "truth.jsonl"
    config = ExchangeConfig(products=PRODUCTS, dialect=dialect, truth=truth, rate=120)

    async def test() -> None:
        async with (
            ExchangeServer(config, plan, paced=False) as server,
            listening(server) as listener,
        ):
            await listener.subscribe(PRODUCTS)
            server.advance(2)
            order(plan)
            server.advance(5)
            await listener.catch_up()
            assert plan.idle
            outcome.texts = listener.texts
            remembered = server.exchange.market.trades["BTC-USD"]
            outcome.rest_ids = [trade.trade_id for trade in remembered]

    run(test)
    outcome.truth = read_truth(truth)
    sent = [line["message"] for line in outcome.truth if line["sent"]]
    assert sent == outcome.texts
    return outcome


@both
def test_without_orders_nothing_goes_wrong(dialect: Dialect, tmp_path: Path) -> None:
    assert suffer(dialect, tmp_path, lambda _: None).faulty() == []


@both
def test_dropped_trades_are_missing_on_the_socket_only(dialect: Dialect, tmp_path: Path) -> None:
    outcome = suffer(dialect, tmp_path, lambda plan: plan.drop_trades(range(5, 8), "BTC-USD"))
    ids = outcome.trade_ids("BTC-USD")
    holes = [(a, b) for a, b in pairwise(ids) if b != a + 1]
    assert len(holes) == 1
    assert holes[0][1] == holes[0][0] + 4
    assert set(range(ids[0], ids[-1] + 1)) <= set(outcome.rest_ids)
    withheld = Mirror()
    withheld.read(line["message"] for line in outcome.faulty())
    assert withheld.trades["BTC-USD"] == list(range(holes[0][0] + 1, holes[0][1]))
    assert {(line["sent"], line["fault"]) for line in outcome.faulty()} == {(False, "drop_trades")}
    # Only trades are gone: the numbers of Advanced Trade go on without a hole.
    assert outcome.numbers() == list(range(len(outcome.numbers())))


@both
@pytest.mark.parametrize("kinds", [BOOKS, TRADES])
def test_a_dropped_message_leaves_a_hole(
    dialect: Dialect, kinds: frozenset[str], tmp_path: Path
) -> None:
    outcome = suffer(dialect, tmp_path, lambda plan: plan.drop_message(kinds))
    (line,) = outcome.faulty()
    assert (line["sent"], line["fault"]) == (False, "drop_messages")
    assert kind_of(line["message"]) in kinds
    if dialect == "advanced":
        holes = [a for a, b in pairwise(outcome.numbers()) if b == a + 2]
        assert [json.loads(line["message"])["sequence_num"] - 1] == holes


def test_a_duplicate_of_the_exchange_feed_is_the_same_match_again(tmp_path: Path) -> None:
    outcome = suffer("exchange", tmp_path, lambda plan: plan.duplicate("BTC-USD"))
    (line,) = outcome.faulty()
    assert (line["sent"], line["fault"]) == (True, "duplicate")
    place = outcome.truth.index(line)
    assert outcome.truth[place - 1]["message"] == line["message"]
    ids = outcome.trade_ids("BTC-USD")
    assert len(ids) == len(set(ids)) + 1


def test_a_duplicate_of_advanced_trade_is_an_old_trade_in_a_later_message(tmp_path: Path) -> None:
    outcome = suffer("advanced", tmp_path, lambda plan: plan.duplicate("BTC-USD"))
    (line,) = outcome.faulty()
    assert (line["sent"], line["fault"]) == (True, "duplicate")
    ids = outcome.trade_ids("BTC-USD")
    assert len(ids) == len(set(ids)) + 1
    assert outcome.numbers() == list(range(len(outcome.numbers())))


@both
def test_reordered_trades_come_after_their_successors(dialect: Dialect, tmp_path: Path) -> None:
    outcome = suffer(dialect, tmp_path, lambda plan: plan.reorder("BTC-USD"))
    (line,) = outcome.faulty()
    assert (line["sent"], line["fault"]) == (True, "reorder")
    messages = [m for m in outcome.messages() if kind_of(json.dumps(m)) in TRADES | {"last_match"}]
    arrived = []
    for message in messages:
        trades = message["events"][0]["trades"] if "events" in message else [message]
        ids = [int(t["trade_id"]) for t in trades if t["product_id"] == "BTC-USD"]
        arrived += sorted(ids)
    assert arrived != sorted(arrived)
    assert sorted(arrived) == list(range(min(arrived), max(arrived) + 1))
    assert outcome.numbers() == list(range(len(outcome.numbers())))


@both
@pytest.mark.parametrize("flaw", FLAWS)
@pytest.mark.parametrize("kinds", [BOOKS, TRADES])
def test_a_malformed_message_is_spoilt_and_its_good_text_withheld(
    dialect: Dialect, flaw: Flaw, kinds: frozenset[str], tmp_path: Path
) -> None:
    outcome = suffer(dialect, tmp_path, lambda plan: plan.malform(flaw, kinds))
    good, spoilt = outcome.faulty()
    assert (good["sent"], good["fault"]) == (False, "malformed")
    assert (spoilt["sent"], spoilt["fault"]) == (True, "malformed")
    assert good["message"] != spoilt["message"]
    assert kind_of(good["message"]) in kinds
    reader = exchange.decoder if dialect == "exchange" else advanced.decoder
    reader.decode(good["message"])


@both
def test_a_crossed_book_is_healed_by_a_fresh_snapshot(dialect: Dialect, tmp_path: Path) -> None:
    plan = FaultPlan()
    truth = tmp_path / "truth.jsonl"
    config = ExchangeConfig(products=PRODUCTS, dialect=dialect, truth=truth, rate=120)

    async def test() -> None:
        async with (
            ExchangeServer(config, plan, paced=False) as server,
            listening(server) as listener,
        ):
            await listener.subscribe(PRODUCTS)
            server.advance(1)
            plan.cross("BTC-USD")
            server.advance(0.3)
            await listener.catch_up()
            assert "BTC-USD" in crossed_once(listener)
            await resubscribe(listener, "BTC-USD")
            server.advance(1)
            await listener.catch_up()
            mirror = Mirror()
            mirror.read(listener.texts)
            assert mirror.books["BTC-USD"] == model_book(server.exchange.market, "BTC-USD")

    run(test)
    (line,) = [line for line in read_truth(truth) if line["fault"]]
    assert (line["sent"], line["fault"]) == (True, "crossed")


def crossed_once(listener: Listener) -> set[str]:
    mirror, crossed = Mirror(), set()
    for message in listener.messages():
        mirror.read_one(message)
        crossed |= {product for product in mirror.books if mirror.crossed(product)}
    return crossed


async def resubscribe(listener: Listener, product: str) -> None:
    if listener.server.config.dialect == "exchange":
        requests = [
            *exchange.unsubscribe([product], ["level2_batch"]),
            *exchange.subscribe([product], ["level2_batch"]),
        ]
    else:
        requests = [
            *advanced.unsubscribe([product], ["level2"]),
            *advanced.subscribe([product], ["level2"]),
        ]
    await listener.ask(*requests)


@both
def test_a_silent_connection_stays_open_and_says_nothing(dialect: Dialect, tmp_path: Path) -> None:
    plan = FaultPlan()
    truth = tmp_path / "truth.jsonl"
    config = ExchangeConfig(products=PRODUCTS, dialect=dialect, truth=truth, rate=120)

    async def test() -> None:
        async with (
            ExchangeServer(config, plan, paced=False) as server,
            listening(server) as listener,
        ):
            await listener.subscribe(PRODUCTS)
            before = len(listener.texts)
            plan.silence(server.exchange.market.now_us + 3_000_000)
            server.advance(2.9)
            await listener.catch_up()
            assert len(listener.texts) == before
            server.advance(2)
            await listener.catch_up()
            assert len(listener.texts) > before

    run(test)
    silenced = [line for line in read_truth(truth) if line["fault"]]
    assert {(line["sent"], line["fault"]) for line in silenced} == {(False, "silence")}
    kinds = {kind_of(line["message"]) for line in silenced}
    assert len(kinds) == 3  # books, trades and heartbeats alike


def test_a_server_can_accept_and_say_nothing_at_all() -> None:
    plan = FaultPlan()

    async def test() -> None:
        plan.silence(everywhere=True)
        config = ExchangeConfig(products=PRODUCTS)
        async with (
            ExchangeServer(config, plan, paced=False) as server,
            listening(server) as listener,
        ):
            await listener.socket.send(exchange.subscribe(PRODUCTS)[0], text=True)
            await (await listener.socket.ping())
            server.advance(1)
            await listener.catch_up()
            assert listener.texts == []
            plan.speak()
            server.advance(1)
            await listener.catch_up()
            assert listener.messages("l2update")

    run(test)


def test_what_was_held_back_for_a_lost_connection_is_in_the_truth(tmp_path: Path) -> None:
    plan = FaultPlan()
    truth = tmp_path / "truth.jsonl"
    config = ExchangeConfig(products=PRODUCTS, truth=truth, rate=120)

    async def test() -> None:
        async with ExchangeServer(config, plan, paced=False) as server:
            async with listening(server) as listener:
                await listener.subscribe(PRODUCTS)
                plan.reorder()
                while not held(plan):
                    server.advance(0.01)
            await gone(server)
            async with listening(server) as listener:
                await listener.subscribe(PRODUCTS)
                server.advance(3)
                await listener.catch_up()

    run(test)
    faulty = [line for line in read_truth(truth) if line["fault"] == "reorder"]
    assert [(line["conn"], line["sent"]) for line in faulty] == [(1, False), (2, True)]


def held(plan: FaultPlan) -> bool:
    return getattr(plan.rules[0], "_held", None) is not None


def test_a_plan_survives_a_hang_up_in_the_middle_of_a_fault(tmp_path: Path) -> None:
    plan = FaultPlan()
    config = ExchangeConfig(products=PRODUCTS, truth=tmp_path / "truth.jsonl", rate=120)

    async def test() -> None:
        async with ExchangeServer(config, plan, paced=False) as server:
            async with listening(server) as listener:
                await listener.subscribe(PRODUCTS)
                plan.hangups.append(("disconnect", 1011))
                server.advance(0.1)
                assert close_code(await listener.until_closed()) == 1011
            assert server.report.faults["disconnect"] == 1

    run(test)
