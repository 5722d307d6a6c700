"""The simulated exchange over real sockets: what is sent is what comes, and the truth says so."""

import asyncio
import json
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest
from websockets.asyncio.client import connect

from quotewatch.errors import SettingsError
from quotewatch.local.exchange import sessions
from quotewatch.local.exchange.server import ExchangeConfig, ExchangeServer, serve_exchange
from quotewatch.local.exchange.simulation import SimulatedExchange
from tests.local.exchange.listener import (
    Listener,
    StoppedClock,
    close_code,
    gone,
    kind_of,
    listening,
    read_truth,
    run,
)
from tests.local.exchange.mirror import Mirror, model_book

PRODUCTS = ("BTC-USD", "ETH-USD", "ETH-BTC")
Dialect = Literal["exchange", "advanced"]
both = pytest.mark.parametrize("dialect", ["exchange", "advanced"])


def config(dialect: Dialect, truth: Path | None = None, seed: int = 1) -> ExchangeConfig:
    return ExchangeConfig(products=PRODUCTS, dialect=dialect, truth=truth, seed=seed, rate=90)


@both
def test_what_comes_is_what_the_truth_says_was_sent(dialect: Dialect, tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"

    async def test() -> None:
        async with (
            ExchangeServer(config(dialect, truth), paced=False) as server,
            listening(server) as listener,
        ):
            await listener.subscribe(PRODUCTS)
            server.advance(5)
            await listener.catch_up()
            mirror = Mirror()
            mirror.read(listener.texts)
            for product in PRODUCTS:
                assert mirror.books[product] == model_book(server.exchange.market, product)
            texts.extend(listener.texts)

    texts: list[str] = []
    run(test)
    lines = read_truth(truth)
    assert len(texts) > 200
    assert [line["message"] for line in lines] == texts
    assert {(line["conn"], line["sent"], line["fault"]) for line in lines} == {(1, True, None)}
    assert set(lines[0]) == {"t", "conn", "message", "sent", "fault"}


@both
def test_the_same_seed_and_clock_send_the_same_bytes(dialect: Dialect) -> None:
    async def listen(seed: int) -> list[str]:
        clock = StoppedClock()
        server = ExchangeServer(config(dialect, seed=seed), clock=clock, paced=False)
        async with server, listening(server) as listener:
            await listener.subscribe(PRODUCTS)
            server.advance(3)
            await listener.catch_up()
            return listener.texts

    async def test() -> None:
        first = await listen(7)
        assert first == await listen(7)
        assert first != await listen(8)

    run(test)


@both
def test_trades_go_on_during_an_outage_and_the_truth_has_them(
    dialect: Dialect, tmp_path: Path
) -> None:
    truth = tmp_path / "truth.jsonl"

    async def test() -> None:
        async with ExchangeServer(config(dialect, truth), paced=False) as server:
            server.advance(3)  # nobody has ever listened: nothing can be missed
            async with listening(server) as listener:
                await listener.subscribe(PRODUCTS)
                server.advance(2)
                await listener.catch_up()
            await gone(server)
            server.advance(4)
            async with listening(server) as listener:
                await listener.subscribe(PRODUCTS)
                server.advance(2)
                await listener.catch_up()

    run(test)
    lines = read_truth(truth)
    missed = [line for line in lines if line["conn"] == 0]
    assert {(line["sent"], line["fault"]) for line in missed} == {(False, "outage")}
    assert {kind_of(line["message"]) for line in missed} <= {"match", "market_trades"}
    mirror = Mirror()
    mirror.read(line["message"] for line in lines)
    for product in PRODUCTS:
        ids = sorted(set(mirror.trades[product]))
        assert all(b == a + 1 for a, b in pairwise(ids))
        assert len(ids) > 5


@both
def test_who_does_not_subscribe_is_disconnected(dialect: Dialect) -> None:
    async def test() -> None:
        async with (
            ExchangeServer(config(dialect), paced=False) as server,
            listening(server) as silent,
            listening(server) as listener,
        ):
            await listener.subscribe(PRODUCTS)
            await silent.socket.ping()
            server.advance(4.9)
            assert len(server.exchange.sessions) == 2
            server.advance(0.3)
            closed = await silent.until_closed()
            assert close_code(closed) == 1008
            assert "5 seconds" in str(closed)
            await listener.catch_up()

    run(test)


def test_compression_is_offered() -> None:
    async def test() -> None:
        async with (
            ExchangeServer(config("exchange"), paced=False) as server,
            listening(server) as listener,
        ):
            response = listener.socket.response
            assert response is not None
            assert "permessage-deflate" in response.headers["Sec-WebSocket-Extensions"]

    run(test)


def test_a_client_that_does_not_read_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_WAITING_BYTES", 1_000_000)
    most_waiting = 0

    async def test() -> None:
        nonlocal most_waiting
        async with (
            ExchangeServer(config("exchange"), paced=False) as server,
            connect(server.url, max_queue=1, compression=None, ping_interval=None) as socket,
        ):
            listener = Listener(server, socket)
            await listener.subscribe(PRODUCTS)
            while server.exchange.sessions:
                server.advance(30)
                await asyncio.sleep(0)
                waiting = [s.waiting_bytes for s in server.exchange.sessions.values()]
                most_waiting = max([most_waiting, *waiting])
            assert close_code(await listener.until_closed()) == 1006

    run(test)
    assert most_waiting < 5_000_000


@pytest.mark.parametrize("code", [1001, 1006, 1009, 1011])
def test_a_test_can_hang_up_with_any_code(code: int) -> None:
    async def test() -> None:
        async with (
            ExchangeServer(config("exchange"), paced=False) as server,
            listening(server) as listener,
        ):
            await listener.subscribe(PRODUCTS)
            server.advance(1)
            server.close(server.exchange.sessions[1], code)
            assert close_code(await listener.until_closed()) == code
            sent = server.report.sent
            assert len(listener.texts) == sent.total() - sent["raw"]

    run(test)


def test_it_runs_for_its_seconds_and_reports(tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"

    async def test() -> None:
        ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        settings = ExchangeConfig(products=PRODUCTS, truth=truth, seconds=1.5, rate=300)
        serving = asyncio.create_task(serve_exchange(settings, ready.set_result, asyncio.Event()))
        texts = []
        async with connect(f"ws://127.0.0.1:{await ready}") as socket:
            await socket.send(json.dumps(everything), text=True)
            texts = [str(text) async for text in socket]  # ends with a clean 1001
        report = await serving
        assert report.connections == 1
        assert report.sent.total() == len(texts) > 10
        assert report.withheld == report.duplicated == report.spoilt == 0
        assert [line["message"] for line in read_truth(truth) if line["sent"]] == texts

    everything = {
        "type": "subscribe",
        "product_ids": list(PRODUCTS),
        "channels": ["level2_batch", "matches", "heartbeat"],
    }
    run(test)


def test_it_stops_when_told() -> None:
    async def test() -> None:
        stop = asyncio.Event()
        stop.set()
        report = await serve_exchange(config("advanced"), None, stop)
        assert report.sent.total() == 0

    run(test)


def test_a_market_that_fails_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object, __: int) -> None:
        raise ArithmeticError("no such price")

    async def test() -> None:
        monkeypatch.setattr(SimulatedExchange, "advance", fail)
        with pytest.raises(ArithmeticError, match="no such price"):
            await serve_exchange(config("exchange"), None, asyncio.Event())

    run(test)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"faults": ("earthquake",)}, "earthquake"),
        ({"faults": ("bad_product",), "products": ("BTC-USD",)}, "at least two products"),
        ({"products": ()}, "at least one product"),
        ({"dialect": "klingon"}, "klingon"),
    ],
)
def test_what_cannot_be_simulated_is_refused(settings: dict[str, object], told: str) -> None:
    async def test() -> None:
        with pytest.raises(SettingsError, match=told):
            ExchangeServer(ExchangeConfig(**settings))  # type: ignore[arg-type]

    run(test)
