"""Fetching trades by id from a real HTTP server that is not always well."""

import socket
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quotewatch.clock import SystemClock
from quotewatch.errors import (
    FetchBudgetError,
    ProductGoneError,
    TradeSourceError,
    TradeSourceUnavailableError,
    is_retryable,
)
from quotewatch.trade_source import RestTrades, TradePage
from tests.bus.clocks import HandClock
from tests.fakes.rest import DRIP, HANG, Reply, TradesOverRest, listed, trades_over_rest

PRODUCT = "BTC-USD"
LIMITED = Reply(429)
BROKEN = Reply(500)


@pytest.fixture
def served() -> Iterator[TradesOverRest]:
    with trades_over_rest(TradesOverRest(range(1, 51))) as served:
        yield served


@pytest.fixture(scope="module")
def changing() -> Iterator[TradesOverRest]:
    with trades_over_rest(TradesOverRest()) as served:
        yield served


class TimedClock(HandClock):
    """Remembers when somebody slept, and how long."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        super().sleep(seconds)


def rest_trades(served: TradesOverRest, clock: HandClock | None = None, **given: Any) -> RestTrades:
    clock = clock or HandClock()
    budget: dict[str, Any] = {"max_requests": 1_000, "budget_seconds": 600.0, "jitter": lambda: 0.0}
    return RestTrades(served.url, clock=clock, sleep=clock.sleep, **budget | given)


def fetch(served: TradesOverRest, first: int, last: int, **given: Any) -> list[TradePage]:
    return list(rest_trades(served, **given).fetch(PRODUCT, first, last))


def ids_of(pages: Sequence[TradePage]) -> list[int]:
    """Return the ids that were fetched, ascending; pages come from above."""
    return [trade.trade_id for page in reversed(pages) for trade in page.trades]


def assert_covers(pages: Sequence[TradePage], first: int, last: int) -> None:
    assert (pages[0].to_id, pages[-1].from_id) == (last, first)
    for above, below in pairwise(pages):
        assert below.to_id == above.from_id - 1


# What is fetched


@given(
    ids=st.sets(st.integers(1, 40)).map(sorted),
    bounds=st.tuples(st.integers(1, 40), st.integers(1, 40)).map(sorted),
    page_size=st.integers(1, 50),
    inclusive=st.booleans(),
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_pages_cover_the_range_once_and_have_what_the_server_has(
    changing: TradesOverRest, ids: list[int], bounds: list[int], page_size: int, inclusive: bool
) -> None:
    changing.ids, changing.page_size, changing.inclusive = ids, page_size, inclusive
    first, last = bounds
    pages = fetch(changing, first, last)
    assert_covers(pages, first, last)
    assert ids_of(pages) == [number for number in ids if first <= number <= last]
    for trade in (trade for page in pages for trade in page.trades):
        wire = listed(trade.trade_id)
        assert (trade.symbol, trade.price, trade.size) == (PRODUCT, wire["price"], wire["size"])
        assert {trade.taker_side, wire["side"]} == {"buy", "sell"}


@pytest.mark.parametrize("inclusive", [True, False])
def test_a_range_of_many_pages_is_fetched_in_as_many_requests(
    served: TradesOverRest, inclusive: bool
) -> None:
    served.ids, served.inclusive = range(1, 3_001), inclusive
    pages = fetch(served, 101, 3_000)
    assert ids_of(pages) == list(range(101, 3_001))
    assert len(served.paths) == 3


def test_a_small_gap_is_one_request(served: TradesOverRest) -> None:
    (page,) = fetch(served, 20, 23)
    assert [trade.trade_id for trade in page.trades] == [20, 21, 22, 23]
    assert served.paths == ["/products/BTC-USD/trades?limit=5&after=24"]


def test_what_the_history_does_not_reach_does_not_exist(served: TradesOverRest) -> None:
    served.ids = range(30, 51)
    pages = fetch(served, 10, 40)
    assert_covers(pages, 10, 40)
    assert ids_of(pages) == list(range(30, 41))


def test_an_empty_range_asks_nothing(served: TradesOverRest) -> None:
    assert fetch(served, 8, 7) == []
    assert served.paths == []


def test_one_bad_trade_does_not_cost_the_page(served: TradesOverRest) -> None:
    served.spoilt = {22: {"price": "NaN"}}
    (page,) = fetch(served, 20, 23)
    assert [trade.trade_id for trade in page.trades] == [20, 21, 23]
    assert (page.refused, page.reasons) == (1, ("bad_price",))


# What is refused


def test_a_product_that_is_gone(served: TradesOverRest) -> None:
    with pytest.raises(ProductGoneError, match=r"XYZ-USD.*404.*NotFound") as gone:
        list(rest_trades(served).fetch("XYZ-USD", 1, 9))
    assert not is_retryable(gone.value)
    assert len(served.paths) == 1


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(400, b'{"message":"no such cursor"}'), "400.*no such cursor"),
        (Reply(403), "403"),
        (Reply(302, headers={"Location": "http://127.0.0.1:1/"}), "302"),
        (Reply(200, b'[{"trade_id":1'), "malformed_json"),
        (Reply(200, b'{"message":"later"}'), "wrong_type"),
        (Reply(200, b"[" + b" " * 5_000_000 + b"]"), "malformed_json"),
    ],
    ids=["400", "403", "302", "cut", "other", "huge"],
)
def test_what_will_not_pass_is_no_reason_to_try_again(
    served: TradesOverRest, reply: Reply, said: str
) -> None:
    served.first_replies.append(reply)
    with pytest.raises(TradeSourceError, match=said) as refused:
        fetch(served, 1, 9)
    assert not is_retryable(refused.value)
    assert len(served.paths) == 1


def test_a_server_that_ignores_the_cursor_is_found_out(served: TradesOverRest) -> None:
    always = Reply(200, b"[" + repr(listed(50)).replace("'", '"').encode() + b"]")
    served.first_replies = deque([always] * 10)
    with pytest.raises(TradeSourceError, match="newest first was due"):
        fetch(served, 1, 49)
    assert len(served.paths) == 2


# What passes


def test_a_server_that_recovers_is_asked_again(served: TradesOverRest) -> None:
    served.first_replies.extend([BROKEN, Reply(503), Reply(200, b"[", missing=9)])
    clock = TimedClock()
    assert len(ids_of(fetch(served, 1, 9, clock=clock))) == 9
    assert clock.slept == [0.5, 1.0, 2.0]


def test_delays_are_cut_at_random(served: TradesOverRest) -> None:
    served.first_replies.extend([BROKEN, BROKEN])
    clock = TimedClock()
    fetch(served, 1, 9, clock=clock, jitter=lambda: 0.5)
    assert clock.slept == [0.375, 0.75]


@pytest.mark.parametrize("reply", [BROKEN, HANG, DRIP], ids=["500", "hang", "drip"])
def test_a_server_that_stays_ill_is_left_for_later(served: TradesOverRest, reply: Reply) -> None:
    served.first_replies.extend([reply] * 9)
    with pytest.raises(TradeSourceUnavailableError, match="failed 4 times") as unavailable:
        fetch(served, 1, 9, connect_seconds=0.05, read_seconds=0.05)
    assert is_retryable(unavailable.value)
    assert len(served.paths) == 4


def test_nobody_listening_is_left_for_later() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    nobody = TradesOverRest(url=f"http://127.0.0.1:{port}")
    with pytest.raises(TradeSourceUnavailableError, match="refused"):
        fetch(nobody, 1, 9)


def test_after_an_error_the_pages_before_it_stay_true(served: TradesOverRest) -> None:
    served.page_size = 10
    pages = rest_trades(served).fetch(PRODUCT, 1, 50)
    page = next(pages)
    assert (page.from_id, page.to_id, len(page.trades)) == (41, 50, 10)
    served.first_replies.extend([BROKEN] * 4)
    with pytest.raises(TradeSourceUnavailableError):
        next(pages)


# The pace and the budget


def test_requests_are_paced_over_all_calls(served: TradesOverRest) -> None:
    clock = TimedClock()
    source = rest_trades(served, clock, requests_per_second=4.0)
    for number in (10, 20, 30):
        list(source.fetch(PRODUCT, number, number))
    assert clock.slept == [0.25, 0.25]
    assert source.requests == 3


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"Retry-After": "7"}, 7.0), ({}, 0.5), ({"Retry-After": "soon"}, 0.5)],
)
def test_who_is_told_to_wait_waits(
    served: TradesOverRest, headers: dict[str, str], seconds: float
) -> None:
    served.first_replies.append(Reply(429, headers=headers))
    clock = TimedClock()
    assert ids_of(fetch(served, 1, 3, clock=clock)) == [1, 2, 3]
    assert clock.slept == [seconds]


def test_a_date_to_wait_for_may_be_over(served: TradesOverRest) -> None:
    served.first_replies.append(
        Reply(429, headers={"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"})
    )
    clock = TimedClock()
    assert ids_of(fetch(served, 1, 3, clock=clock)) == [1, 2, 3]
    assert clock.slept == [0.125], "paced all the same"


def test_a_server_that_only_says_wait_is_left_when_the_time_is_over(served: TradesOverRest) -> None:
    served.first_replies.extend([LIMITED] * 50)
    clock = TimedClock()
    with pytest.raises(FetchBudgetError, match="60 s are used up"):
        fetch(served, 1, 3, clock=clock, budget_seconds=60.0)
    assert clock.monotonic() < 60
    assert len(served.paths) == 11


def test_nobody_waits_for_longer_than_there_is_time(served: TradesOverRest) -> None:
    served.first_replies.append(Reply(429, headers={"Retry-After": "3600"}))
    clock = TimedClock()
    with pytest.raises(FetchBudgetError, match=r"60 s .* but for 60.0 s; the next run goes on"):
        fetch(served, 1, 3, clock=clock, budget_seconds=60.0)
    assert clock.slept == []


def test_requests_are_capped_over_all_calls(served: TradesOverRest) -> None:
    source = rest_trades(served, max_requests=2)
    list(source.fetch(PRODUCT, 10, 10))
    served.page_size = 5
    pages = source.fetch(PRODUCT, 1, 50)
    assert next(pages).to_id == 50
    with pytest.raises(FetchBudgetError, match="all 2 requests"):
        next(pages)
    assert len(served.paths) == 2


def test_tries_count_against_the_cap(served: TradesOverRest) -> None:
    served.first_replies.extend([BROKEN, LIMITED, BROKEN])
    with pytest.raises(FetchBudgetError, match="all 3 requests"):
        fetch(served, 1, 9, max_requests=3)


@pytest.mark.parametrize("reply", [HANG, DRIP], ids=["hang", "drip"])
def test_a_server_that_hangs_does_not_hold_us_past_the_budget(
    served: TradesOverRest, reply: Reply
) -> None:
    served.first_replies.append(reply)
    clock = SystemClock()
    source = RestTrades(served.url, clock=clock, sleep=never, max_requests=9, budget_seconds=0.2)
    began = clock.monotonic()
    with pytest.raises(FetchBudgetError, match=r"0\.2 s are used up"):
        list(source.fetch(PRODUCT, 1, 9))
    assert clock.monotonic() - began < 5, "the timeout of one request alone is 15 s"


def never(seconds: float) -> None:
    pytest.fail(f"no time is left to sleep {seconds} s")


def test_no_time_at_all_is_no_request(served: TradesOverRest) -> None:
    with pytest.raises(FetchBudgetError):
        fetch(served, 1, 9, budget_seconds=0.0)
    assert served.paths == []
