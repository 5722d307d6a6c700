"""Trades over REST: the way down a range, and what is read of an answer."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotewatch.coinbase.rest import (
    Descent,
    RefusedTrade,
    RestTrade,
    TradePage,
    plan_descent,
    read_listing,
)
from quotewatch.coinbase.values import time_us
from quotewatch.errors import WireError
from tests.fakes.rest import listed, newest_first

SYMBOL = "BTC-USD"


def listing(*trades: Any) -> tuple[RestTrade | RefusedTrade, ...]:
    return read_listing(SYMBOL, json.dumps(trades).encode())


def descend(
    ids: Sequence[int], first: int, last: int, most: int, *, inclusive: bool
) -> list[TradePage]:
    """Walk down a range of a history, with no more answers than can be needed."""
    trades = [listed(number) for number in ids]
    descent, pages = plan_descent(first, last), list[TradePage]()
    for _ in range(2 * max(0, last - first + 2)):
        if descent.done:
            break
        answer = newest_first(trades, ids, descent.after, most, inclusive=inclusive)
        page, descent = descent.take(listing(*answer))
        pages += [] if page is None else [page]
    assert descent.done, "it does not end"
    return pages


def assert_covers(pages: Sequence[TradePage], ids: Sequence[int], first: int, last: int) -> None:
    """Check that the pages are the range, downwards, and have the trades that exist."""
    covered = [n for page in pages for n in range(page.to_id, page.from_id - 1, -1)]
    assert covered == list(range(last, first - 1, -1))
    for page in pages:
        got = [trade.trade_id for trade in page.trades]
        assert got == [number for number in ids if page.from_id <= number <= page.to_id]


# The way down


@given(
    ids=st.sets(st.integers(1, 60)).map(sorted),
    bounds=st.tuples(st.integers(1, 60), st.integers(0, 60)),
    most=st.integers(1, 70),
    inclusive=st.booleans(),
)
def test_pages_cover_a_range_exactly_once(
    ids: list[int], bounds: tuple[int, int], most: int, inclusive: bool
) -> None:
    pages = descend(ids, *bounds, most, inclusive=inclusive)
    assert_covers(pages, ids, *bounds)


@given(st.lists(st.lists(st.integers(0, 12) | st.none(), max_size=4), min_size=40, max_size=40))
def test_no_server_keeps_it_going_for_ever(answers: list[list[int | None]]) -> None:
    descent = plan_descent(1, 10)
    for ids in answers:
        if descent.done:
            return
        answer = [listed(0) | {"trade_id": number} for number in ids]
        try:
            _, descent = descent.take(listing(*answer))
        except WireError:
            return
    raise AssertionError("it does not end")


def test_it_asks_for_no_more_than_is_left() -> None:
    assert plan_descent(5, 7).path(SYMBOL) == "/products/BTC-USD/trades?limit=4&after=8"
    assert plan_descent(1, 9_000).path(SYMBOL) == "/products/BTC-USD/trades?limit=1000&after=9001"


def test_a_name_cannot_change_the_path() -> None:
    assert plan_descent(5, 5).path("../a?b").startswith("/products/..%2Fa%3Fb/trades?")


def test_an_empty_answer_is_the_end_of_the_history() -> None:
    assert plan_descent(5, 9).take(()) == (TradePage((), 5, 9, 0), Descent(5, 4, 5))


def test_a_trade_that_comes_twice_is_there_once() -> None:
    page, _ = plan_descent(5, 7).take(listing(*map(listed, (7, 6, 6, 5))))
    assert page is not None
    assert [trade.trade_id for trade in page.trades] == [5, 6, 7]


@pytest.mark.parametrize("ids", [(9, 8, 7), (6, 7), (7, 5, 6)])
def test_an_answer_to_another_question_is_refused(ids: tuple[int, ...]) -> None:
    with pytest.raises(WireError, match="newest first was due"):
        plan_descent(5, 7).take(listing(*map(listed, ids)))


def test_an_answer_without_any_id_leads_nowhere() -> None:
    with pytest.raises(WireError, match="no trade below 8 has an id"):
        plan_descent(5, 7).take(listing({"side": "buy"}))


# What came


def test_a_trade_has_the_taker_s_side_and_its_numbers_as_they_were_spelled() -> None:
    (trade,) = listing(
        {
            "trade_id": 74,
            "side": "sell",
            "size": "0.00000001",
            "price": "10.00000000",
            "time": "2026-08-09T05:23:42.123456789Z",
        }
    )
    moment = time_us("2026-08-09T05:23:42.123456Z")
    assert trade == RestTrade(SYMBOL, 74, "10.00000000", "0.00000001", "buy", moment)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"price": "-1"}, "bad_price"),
        ({"price": "0.00"}, "bad_price"),
        ({"size": "1e5"}, "bad_size"),
        ({"size": "0.0"}, "bad_size"),
        ({"time": "yesterday"}, "bad_time"),
        ({"price": 10}, "wrong_type"),
        ({"side": "bid"}, "bad_value"),
    ],
)
def test_a_bad_trade_is_refused_and_the_others_stay(fields: dict[str, Any], reason: str) -> None:
    entries = listing(listed(9), listed(8, **fields), listed(7))
    assert entries[1] == RefusedTrade(8, reason)
    page, _ = plan_descent(7, 9).take(entries)
    assert page is not None
    assert [trade.trade_id for trade in page.trades] == [7, 9]
    assert (page.from_id, page.to_id, page.refused, page.reasons) == (7, 9, 1, (reason,))


@pytest.mark.parametrize("item", [{"side": "buy"}, {"trade_id": "8"}, {"trade_id": -8}, 8, None])
def test_a_trade_without_a_readable_id_is_refused(item: Any) -> None:
    page, _ = plan_descent(7, 9).take(listing(listed(9), item, listed(7)))
    assert page is not None
    assert page.refused == 1


def test_a_bad_trade_outside_the_range_is_not_counted() -> None:
    entries = listing(listed(10, price=""), listed(9), listed(6, price=""), listed(5))
    page, _ = plan_descent(7, 9).take(entries)
    assert page is not None
    assert page.refused == 0


def test_the_lowest_trade_is_where_it_goes_on_even_if_it_is_bad() -> None:
    page, descent = plan_descent(1, 9).take(listing(listed(9), listed(8, price="")))
    assert page is not None
    assert (page.from_id, page.refused) == (8, 1)
    assert descent == Descent(1, 7, 8)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'[{"trade_id":1', "malformed_json"),
        (b"<html>", "malformed_json"),
        (b"", "malformed_json"),
        (b"\xff", "malformed_json"),
        (b'{"message":"later"}', "wrong_type"),
        (b"[" * 100_000 + b"]" * 100_000, "bad_value"),
    ],
    ids=["cut", "html", "empty", "bytes", "other", "deep"],
)
def test_what_is_no_list_of_trades_is_refused_as_a_whole(body: bytes, reason: str) -> None:
    with pytest.raises(WireError) as refused:
        read_listing(SYMBOL, body)
    assert refused.value.reason == reason
