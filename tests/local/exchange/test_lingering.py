"""A market that has ended: the feed is over and the truth complete, REST answers on."""

import asyncio
from pathlib import Path
from typing import Literal

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from quotewatch.coinbase import advanced, exchange
from quotewatch.local.exchange import server as server_module
from quotewatch.local.exchange.config import ExchangeConfig, ExchangeReport
from quotewatch.local.exchange.fault_plan import FaultPlan
from quotewatch.local.exchange.market_model import US
from quotewatch.local.exchange.server import ExchangeServer, serve_exchange
from quotewatch.local.exchange.simulation import SimulatedExchange
from tests.local.exchange.listener import Listener, close_code, listening, read_truth, run
from tests.local.exchange.test_rest import get

PRODUCTS = ("BTC-USD", "ETH-USD")
Dialect = Literal["exchange", "advanced"]
both = pytest.mark.parametrize("dialect", ["exchange", "advanced"])


@both
def test_when_the_market_ends_the_feed_ends_and_rest_goes_on(
    dialect: Dialect, tmp_path: Path
) -> None:
    truth = tmp_path / "truth.jsonl"
    config = ExchangeConfig(
        products=PRODUCTS, dialect=dialect, truth=truth, seconds=1.5, rate=300, linger=True
    )
    subscribe = exchange.subscribe if dialect == "exchange" else advanced.subscribe

    async def test() -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[int] = loop.create_future()
        ended: asyncio.Future[ExchangeReport] = loop.create_future()
        stop = asyncio.Event()
        serving = asyncio.create_task(
            serve_exchange(config, ready.set_result, stop, ended.set_result)
        )
        port = await ready
        async with connect(f"ws://127.0.0.1:{port}") as socket:
            for request in subscribe(PRODUCTS):
                await socket.send(request, text=True)
            texts = [str(text) async for text in socket]
            assert socket.close_code == 1001
        report = await ended
        assert (report.connections, report.sent.total()) == (1, len(texts))
        assert [line["message"] for line in read_truth(truth) if line["sent"]] == texts
        with pytest.raises(InvalidStatus, match="503"):
            await connect(f"ws://127.0.0.1:{port}")
        page = await trades(port)
        sent = "".join(texts)
        # Advanced Trade collects trades for a while: the newest may have been waiting for others.
        assert any(f"{trade['trade_id']}" in sent for trade in page)
        assert await trades(port) == page, "the market went on"
        assert not serving.done()
        stop.set()
        assert await serving is report

    run(test)


async def trades(port: int) -> list[dict[str, object]]:
    status, _, page = await get(port, "/products/BTC-USD/trades?limit=50")
    assert status == 200
    found: list[dict[str, object]] = page
    return found


@pytest.mark.parametrize("linger", [True, False])
def test_who_is_stopped_early_reports_once_and_ends(linger: bool) -> None:
    reports: list[ExchangeReport] = []

    async def test() -> None:
        stop = asyncio.Event()
        stop.set()
        config = ExchangeConfig(products=PRODUCTS, seconds=60, linger=linger)
        await serve_exchange(config, None, stop, reports.append)

    run(test)
    assert len(reports) == 1


def test_a_market_that_fails_does_not_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object, __: int) -> None:
        raise ArithmeticError("no such price")

    async def test() -> None:
        monkeypatch.setattr(SimulatedExchange, "advance", fail)
        config = ExchangeConfig(products=PRODUCTS, linger=True)
        with pytest.raises(ArithmeticError, match="no such price"):
            await serve_exchange(config, None, asyncio.Event(), unexpected)

    run(test)


def unexpected(report: ExchangeReport) -> None:
    pytest.fail(f"{report} of a market that failed")


def test_rest_that_was_down_at_the_end_comes_up_again() -> None:
    plan = FaultPlan()

    async def test() -> None:
        async with ExchangeServer(ExchangeConfig(products=PRODUCTS), plan, paced=False) as server:
            plan.rest_down_until_us = server.exchange.market.now_us + US // 2
            server.advance(0)
            await server.end_market()
            assert (await get(server.port, "/products"))[0] == 503
            assert (await get(server.port, "/products"))[0] == 503  # hangs until it is up
            assert (await get(server.port, "/products"))[0] == 200

    run(test)


def test_a_client_that_does_not_read_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(server_module, "_HANG_UP_SECONDS", 0.1)
    truth = tmp_path / "truth.jsonl"
    config = ExchangeConfig(products=PRODUCTS, truth=truth, rate=90)

    async def test() -> None:
        async with (
            ExchangeServer(config, paced=False) as server,
            connect(server.url, max_queue=1, compression=None, ping_interval=None) as socket,
        ):
            listener = Listener(server, socket)
            await listener.subscribe(PRODUCTS)
            session = server.exchange.sessions[1]
            while not session.outbox:  # until no buffer takes any more
                server.advance(30)
                await asyncio.sleep(0)
            await server.end_market()
            assert not server.exchange.sessions
            assert any(not line["sent"] for line in read_truth(truth))
            assert (await get(server.port, "/products"))[0] == 200
            await listener.until_closed()

    run(test)


def test_who_was_about_to_connect_is_sent_away() -> None:
    async def test() -> None:
        async with ExchangeServer(ExchangeConfig(products=PRODUCTS), paced=False) as server:
            server._ended = True
            async with listening(server) as listener:
                assert close_code(await listener.until_closed()) == 1001
            assert server.exchange.connections == 0

    run(test)
