"""The REST interface: pages of trades, cursors, limits and refusals; and over a real socket."""

import asyncio
import json
from itertools import pairwise
from typing import Any, Literal

import pytest

from quotewatch.coinbase import exchange
from quotewatch.local.exchange.config import ExchangeConfig, build_exchange
from quotewatch.local.exchange.fault_plan import FaultPlan
from quotewatch.local.exchange.market_model import US
from quotewatch.local.exchange.rest import BURST, Answer, RestInterface
from quotewatch.local.exchange.server import ExchangeServer
from tests.local.exchange.listener import StoppedClock, listening, run

PRODUCTS = ("BTC-USD", "ETH-USD", "SHIB-USD")


def rest(dialect: Literal["exchange", "advanced"] = "exchange", **settings: Any) -> RestInterface:
    config = ExchangeConfig(products=PRODUCTS, rate=300, dialect=dialect, **settings)
    simulated = build_exchange(config, US)
    simulated.advance(60 * US)
    return RestInterface(simulated.dialect)


def trades(answer: Answer) -> list[dict[str, Any]]:
    assert answer.status == 200
    found: list[dict[str, Any]] = json.loads(answer.body)
    return found


def test_products_have_what_a_reader_needs() -> None:
    listed = {p["id"]: p for p in json.loads(rest().answer("/products", 1.0).body)}
    assert set(listed) == set(PRODUCTS)
    bitcoin = listed["BTC-USD"]
    assert (bitcoin["base_currency"], bitcoin["quote_currency"]) == ("BTC", "USD")
    assert (bitcoin["quote_increment"], bitcoin["base_increment"]) == ("0.01", "0.00000001")
    assert listed["SHIB-USD"]["base_increment"] == "1"
    assert {product["status"] for product in listed.values()} == {"online"}


def test_trades_are_newest_first_and_at_most_a_thousand() -> None:
    page = trades(rest().answer("/products/BTC-USD/trades", 1.0))
    assert len(page) == 1000
    assert all(a["trade_id"] == b["trade_id"] + 1 for a, b in pairwise(page))
    assert set(page[0]) == {"trade_id", "side", "size", "price", "time"}


@pytest.mark.parametrize("dialect", ["exchange", "advanced"])
def test_trades_are_those_of_the_feed(dialect: Literal["exchange", "advanced"]) -> None:
    interface = rest(dialect)
    remembered = interface._dialect.market.trades["BTC-USD"]
    page = trades(interface.answer("/products/BTC-USD/trades?limit=5", 1.0))
    assert [t["trade_id"] for t in page] == [t.trade_id for t in list(remembered)[:-6:-1]]
    assert page[0]["side"] == ("buy" if remembered[-1].maker_buys else "sell")


def test_a_gap_is_filled_by_paging_downwards() -> None:
    interface = rest()
    newest = trades(interface.answer("/products/BTC-USD/trades?limit=1", 1.0))[0]["trade_id"]
    wanted = range(newest - 250, newest - 50)
    after, got = wanted.stop, list[int]()
    while after > wanted.start:
        answer = interface.answer(f"/products/BTC-USD/trades?limit=70&after={after}", 1.0)
        got += [trade["trade_id"] for trade in trades(answer)]
        after = int(answer.headers["CB-AFTER"])
        assert int(answer.headers["CB-BEFORE"]) == got[-70]
    assert len(got) == len(set(got))
    assert set(wanted) <= set(got)


def test_before_asks_for_newer_trades() -> None:
    interface = rest()
    newest = trades(interface.answer("/products/BTC-USD/trades?limit=1", 1.0))[0]["trade_id"]
    page = trades(interface.answer(f"/products/BTC-USD/trades?before={newest - 3}", 1.0))
    assert [trade["trade_id"] for trade in page] == [newest, newest - 1, newest - 2]
    nothing = interface.answer(f"/products/BTC-USD/trades?before={newest}", 1.0)
    assert trades(nothing) == []
    assert nothing.headers == {}


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/products/NO-SUCH/trades", 404, "NotFound"),
        ("/nowhere", 404, "NotFound"),
        ("/products/BTC-USD/trades?limit=1001", 400, "limit"),
        ("/products/BTC-USD/trades?limit=0", 400, "limit"),
        ("/products/BTC-USD/trades?after=yesterday", 400, "Invalid"),
    ],
)
def test_bad_requests_are_refused(path: str, status: int, told: str) -> None:
    answer = rest().answer(path, 1.0)
    assert answer.status == status
    assert told in json.loads(answer.body)["message"]


def test_a_delisted_product_is_not_found() -> None:
    interface = rest(faults=("bad_product",))
    assert interface.answer("/products/SHIB-USD/trades", 1.0).status == 404
    listed = json.loads(interface.answer("/products", 1.0).body)
    assert {p["id"]: p["status"] for p in listed}["SHIB-USD"] == "delisted"


def test_who_asks_too_often_is_told_so() -> None:
    interface = rest()

    def ask(now: float, times: int) -> list[int]:
        return [interface.answer("/products", now).status for _ in range(times)]

    assert ask(100.0, 17) == [200] * int(BURST) + [429] * 2
    assert ask(100.5, 7) == [200] * 5 + [429] * 2
    assert ask(200.0, 16) == [200] * 15 + [429]


async def get(port: int, path: str) -> tuple[int, dict[str, str], Any]:
    """Ask over a plain socket, as any HTTP client would."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n".encode())
    await writer.drain()
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, json.loads(body)


def test_it_answers_on_the_port_of_the_feed() -> None:
    async def test() -> None:
        config = ExchangeConfig(products=PRODUCTS, rate=300)
        async with (
            ExchangeServer(config, clock=StoppedClock(), paced=False) as server,
            listening(server) as listener,
        ):
            await listener.subscribe(PRODUCTS)
            server.advance(5)
            await listener.catch_up()
            status, headers, page = await get(server.port, "/products/BTC-USD/trades?limit=10")
            assert status == 200
            assert headers["Content-Type"].startswith("application/json")
            assert int(headers["CB-BEFORE"]) == page[0]["trade_id"]
            last = [m for m in listener.messages("match") if m["product_id"] == "BTC-USD"][-1]
            for key in ("trade_id", "side", "size", "price", "time"):
                assert page[0][key] == last[key]
            assert (await get(server.port, "/products/NO-SUCH/trades"))[::2] == (
                404,
                {"message": "NotFound"},
            )
            while (await get(server.port, "/products"))[0] != 429:
                pass

    run(test)


def test_while_it_is_down_it_answers_503_or_not_at_all() -> None:
    plan = FaultPlan()

    async def test() -> None:
        config = ExchangeConfig(products=PRODUCTS)
        async with ExchangeServer(config, plan, paced=False) as server:
            plan.rest_down_until_us = server.exchange.market.now_us + 4 * US
            server.advance(0)
            assert (await get(server.port, "/products"))[0] == 503
            hanging = asyncio.create_task(get(server.port, "/products"))
            while server.report.faults["rest_down"] < 2:  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(0)
            server.advance(3)
            assert not hanging.done()
            server.advance(2)
            assert (await hanging)[0] == 503
            assert (await get(server.port, "/products"))[0] == 200
            async with listening(server) as listener:
                await listener.socket.send(exchange.subscribe(PRODUCTS)[0], text=True)

    run(test)
