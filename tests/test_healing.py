"""Holes of a product in, rows of raw_trades out: what is stored, and what is said of the rest."""

from collections import deque
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from quotewatch import healing
from quotewatch.healing import ABSENT, GONE, Healing
from quotewatch.intervals import Intervals
from quotewatch.tables.commit import Committer
from quotewatch.trade_source import RestTrades
from tests.bus.clocks import HandClock
from tests.emulator import free_port
from tests.fakes.rest import Reply, TradesOverRest, trades_over_rest
from tests.tables.desk import open_desk

BTC = "BTC-USD"


@pytest.fixture
def exchange() -> Iterator[TradesOverRest]:
    with trades_over_rest(TradesOverRest(range(1, 51))) as served:
        yield served


@pytest.fixture
def committer(tmp_path: Path) -> Iterator[Committer]:
    with open_desk(tmp_path) as opened:
        yield opened


def healer(committer: Committer, url: str, **given: Any) -> Healing:
    clock = HandClock()
    budget: dict[str, Any] = {"max_requests": 50, "budget_seconds": 600.0, "jitter": lambda: 0.0}
    source = RestTrades(url, clock=clock, sleep=clock.sleep, **budget | given)
    return Healing(committer, clock, source)


def stored(committer: Committer) -> list[int]:
    table = committer.tables.find("raw_trades")
    rows = table.scan().to_arrow().to_pylist() if table is not None else []
    return sorted(row["trade_id"] for row in rows)


def holes(text: str) -> Intervals:
    return Intervals.parse(text)


def test_all_holes_are_fetched_and_stored_in_one_commit(
    committer: Committer, exchange: TradesOverRest
) -> None:
    made = healer(committer, exchange.url)
    assert made.heal(BTC, holes("3-4,9,20-22")) is None
    assert (made.stored, made.requests, made.waits, made.spent) == (6, 3, {}, False)
    assert stored(committer) == [3, 4, 9, 20, 21, 22]
    assert len(committer.tables.load("raw_trades").snapshots()) == 1


def test_a_second_healing_stores_nothing_twice(
    committer: Committer, exchange: TradesOverRest
) -> None:
    healer(committer, exchange.url).heal(BTC, holes("3-6"))
    again = healer(committer, exchange.url)
    assert again.heal(BTC, holes("5-8")) is None
    assert again.stored == 2
    assert stored(committer) == [3, 4, 5, 6, 7, 8]


def test_much_is_stored_bit_by_bit(
    committer: Committer, exchange: TradesOverRest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(healing, "_STORED_AT_ONCE", 10)
    exchange.page_size = 5
    healer(committer, exchange.url).heal(BTC, holes("1-25"))
    assert stored(committer) == list(range(1, 26))
    assert len(committer.tables.load("raw_trades").snapshots()) == 3
    rows = committer.tables.load("raw_trades").scan().to_arrow().to_pylist()
    assert {row["received_at"] for row in rows} != {None}


def test_numbers_are_what_the_exchange_spelled(
    committer: Committer, exchange: TradesOverRest
) -> None:
    exchange.spoilt = {7: {"price": "0.000000000123456789", "size": "98765432109.00000001"}}
    healer(committer, exchange.url).heal(BTC, holes("7"))
    (row,) = committer.tables.load("raw_trades").scan().to_arrow().to_pylist()
    assert row["price"] == Decimal("0.000000000123456789")
    assert row["size"] == Decimal("98765432109.00000001")


def test_what_the_exchange_lacks_is_said(committer: Committer, exchange: TradesOverRest) -> None:
    exchange.ids = [1, 2, 5, 9]
    made = healer(committer, exchange.url)
    assert made.heal(BTC, holes("3-8")) == ABSENT
    assert (made.stored, made.waits, made.spent) == (1, {}, False)
    assert stored(committer) == [5]


def test_a_product_that_is_gone_is_said(committer: Committer, exchange: TradesOverRest) -> None:
    made = healer(committer, exchange.url)
    assert made.heal("OLD-USD", holes("3-8")) == GONE
    assert "HTTP 404" in made.waits["OLD-USD"]
    assert not made.spent


@pytest.mark.parametrize("replies", [[Reply(403)], [Reply(500)] * 4], ids=["refused", "broken"])
def test_no_verdict_where_not_all_was_asked_for(
    committer: Committer, exchange: TradesOverRest, replies: list[Reply]
) -> None:
    """The first hole is empty at the exchange; of the second nobody knows."""
    exchange.ids = [*range(1, 3), *range(4, 51)]

    class Later(deque[Reply]):
        def __bool__(self) -> bool:
            return len(exchange.paths) > 1 and len(self) > 0

    exchange.first_replies = Later(replies)
    made = healer(committer, exchange.url)
    assert made.heal(BTC, holes("3,40-41")) is None
    assert BTC in made.waits
    assert made.spent == (replies[0].status == 500)


def test_what_was_fetched_before_the_budget_was_spent_is_stored(
    committer: Committer, exchange: TradesOverRest
) -> None:
    exchange.page_size = 5
    made = healer(committer, exchange.url, max_requests=2)
    assert made.heal(BTC, holes("1-20")) is None
    assert made.spent
    assert "the next run goes on" in made.waits[BTC]
    assert stored(committer) == list(range(11, 21))


def test_nobody_answers(committer: Committer) -> None:
    made = healer(committer, f"http://127.0.0.1:{free_port()}")
    assert made.heal(BTC, holes("1-20")) is None
    assert made.spent
    assert (made.stored, stored(committer)) == (0, [])


def test_a_trade_that_cannot_be_read_waits_and_is_no_verdict(
    committer: Committer, exchange: TradesOverRest
) -> None:
    exchange.ids, exchange.spoilt = [1, 2, 3, 6], {3: {"side": "up"}}
    made = healer(committer, exchange.url)
    assert made.heal(BTC, holes("2-5")) is None
    assert "was refused" in made.waits[BTC]
    assert stored(committer) == [2]


def test_no_holes_ask_nothing(committer: Committer, exchange: TradesOverRest) -> None:
    assert healer(committer, exchange.url).heal(BTC, Intervals.none()) is None
    assert exchange.paths == []
