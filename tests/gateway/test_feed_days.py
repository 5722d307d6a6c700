"""Bad days of the feed: each ends in an event, and the gateway goes on."""

import asyncio
from pathlib import Path

import pytest

from quotewatch.coinbase import exchange
from tests.gateway.running import (
    Line,
    acknowledgement,
    feed,
    match,
    running,
    settings_for,
    snapshot,
    update,
)


async def welcome_and_stay(line: Line) -> None:
    await line.welcome()
    await line.send(update())
    await line.stay()


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1009, 1011])
def test_whatever_closes_the_connection_it_comes_back(tmp_path: Path, code: int) -> None:
    async def talk(line: Line) -> None:
        await line.welcome()
        if line.number:
            await line.send(match(9), update("ETH-USD"))
            await line.stay()
        await line.send(match(6), update())
        if code == 1006:
            line.abort()
        else:
            await line.socket.close(code, "bye")

    async def scenario() -> None:
        async with feed(talk) as url, running(tmp_path, settings_for(url)) as gateway:
            await gateway.until(lambda: len(gateway.rows("raw_trades")) == 2)
            await gateway.until(lambda: gateway.rows("features")[-1:] and gateway.events("gap"))
        assert gateway.reasons("close")[0].startswith(str(code))
        assert [row["conn"] for row in gateway.events("open")][:2] == [1, 2]
        (gap,) = gateway.events("gap")
        assert (gap["from_id"], gap["to_id"]) == (7, 8)
        books = {(row["symbol"], row["conn"]): row["book"] for row in gateway.events("snapshot")}
        assert books["BTC-USD", 2] > books["BTC-USD", 1]
        assert gateway.recorder.value("websocket_reconnections_total") == 1

    asyncio.run(scenario())


def test_a_silent_connection_is_given_up(tmp_path: Path) -> None:
    async def talk(line: Line) -> None:
        await line.welcome()
        await line.stay()

    async def scenario() -> None:
        async with feed(talk) as url:
            settings = settings_for(url, watchdog_s=0.3)
            async with running(tmp_path, settings) as gateway:
                await gateway.until(lambda: len(gateway.events("open")) >= 2)
        assert gateway.reasons("close")[0] == "silence for 0.3 s"

    asyncio.run(scenario())


def test_a_feed_that_accepts_and_says_nothing_is_given_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with feed(lambda line: line.stay()) as url:
            settings = settings_for(url, watchdog_s=0.3)
            async with running(tmp_path, settings) as gateway:
                await gateway.until(lambda: len(gateway.events("close")) >= 2)
        assert gateway.reasons("close")[0] == "silence for 0.3 s"

    asyncio.run(scenario())


def test_heartbeats_alone_keep_a_quiet_market_connected(tmp_path: Path) -> None:
    async def talk(line: Line) -> None:
        products = await line.welcome()
        for _ in range(12):
            beats = [
                exchange.Heartbeat(0, product, 1, "2026-08-09T05:23:42Z") for product in products
            ]
            await line.send(*beats)
            await asyncio.sleep(0.1)
        await line.send(update())
        await line.stay()

    async def scenario() -> None:
        async with feed(talk) as url:
            settings = settings_for(url, watchdog_s=1.0)
            async with running(tmp_path, settings) as gateway:
                await gateway.until(lambda: gateway.rows("features"))
                assert gateway.events("close") == []

    asyncio.run(scenario())


def test_a_product_that_falls_silent_is_asked_for_again(tmp_path: Path) -> None:
    async def talk(line: Line) -> None:
        await line.welcome()
        asked = asyncio.create_task(line.request())
        while not asked.done():
            await line.send(exchange.Heartbeat(0, "ETH-USD", 1, "2026-08-09T05:23:42Z"))
            await asyncio.sleep(0.05)
        request = await asked
        assert (request.type, request.product_ids) == ("unsubscribe", ["BTC-USD"])
        assert "heartbeat" in request.channels
        request = await line.request()
        assert (request.type, request.product_ids) == ("subscribe", ["BTC-USD"])
        await line.send(acknowledgement(["BTC-USD", "ETH-USD"]), snapshot("BTC-USD"), update())
        await line.stay()

    async def scenario() -> None:
        async with feed(talk) as url:
            settings = settings_for(url, watchdog_s=0.5)
            async with running(tmp_path, settings) as gateway:
                await gateway.until(lambda: gateway.rows("features"))
        assert gateway.reasons("invalid") == ["silence"]

    asyncio.run(scenario())


def test_a_refused_message_leads_to_a_fresh_snapshot_of_its_product_alone(tmp_path: Path) -> None:
    async def talk(line: Line) -> None:
        await line.welcome()
        await line.send(update(price="-1"), update("ETH-USD"))
        assert await line.request() == exchange.Request(
            "unsubscribe", ["BTC-USD"], ["level2_batch"]
        )
        assert await line.request() == exchange.Request("subscribe", ["BTC-USD"], ["level2_batch"])
        await line.send(snapshot("BTC-USD"), update())
        await line.stay()

    async def scenario() -> None:
        async with feed(talk) as url, running(tmp_path, settings_for(url)) as gateway:
            await gateway.until(lambda: len(gateway.rows("features")) == 2)
        assert [row["symbol"] for row in gateway.rows("features")] == ["ETH-USD", "BTC-USD"]
        assert gateway.reasons("reject") == ["bad_price"]
        assert len(gateway.events("open")) == 1

    asyncio.run(scenario())


def test_a_bad_product_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    async def talk(line: Line) -> None:
        request = await line.request()
        assert request.product_ids == ["BTC-USD", "FOO-BAR", "ETH-USD"]
        await line.send(exchange.Error("Failed to subscribe", "FOO-BAR is not a valid product"))
        assert await line.welcome() == ["BTC-USD", "ETH-USD"]
        await line.send(update())
        await line.stay()

    async def scenario() -> None:
        async with feed(talk) as url:
            settings = settings_for(url, products="BTC-USD,FOO-BAR,ETH-USD")
            async with running(tmp_path, settings) as gateway:
                await gateway.until(lambda: gateway.rows("features"))
        (reject,) = gateway.events("reject")
        assert (reject["symbol"], reject["reason"]) == ("FOO-BAR", "bad_product")

    asyncio.run(scenario())


def test_a_refusal_that_names_nobody_is_found_out_one_by_one(tmp_path: Path) -> None:
    async def talk(line: Line) -> None:
        await line.request()
        acked: list[str] = []
        await line.send(exchange.Error("Failed to subscribe", "invalid"))
        for _ in range(3):
            (product,) = (await line.request()).product_ids
            if product == "FOO-BAR":
                await line.send(exchange.Error("Failed to subscribe", "invalid"))
                continue
            acked.append(product)
            await line.send(acknowledgement(acked), snapshot(product))
        await line.send(update(), update("ETH-USD"))
        await line.stay()

    async def scenario() -> None:
        async with feed(talk) as url:
            settings = settings_for(url, products="BTC-USD,FOO-BAR,ETH-USD")
            async with running(tmp_path, settings) as gateway:
                await gateway.until(lambda: len(gateway.rows("features")) == 2)
        assert [(row["symbol"], row["reason"]) for row in gateway.events("reject")] == [
            (None, "refused"),
            ("FOO-BAR", "bad_product"),
        ]

    asyncio.run(scenario())


def test_a_message_too_big_for_us_is_said_and_survived(tmp_path: Path) -> None:
    async def talk(line: Line) -> None:
        if line.number == 0:
            await line.request()
            await line.send(b'{"type":"snapshot","x":"' + b"9" * 1_500_000 + b'"}')
            await line.stay()
        await welcome_and_stay(line)

    async def scenario() -> None:
        async with feed(talk) as url:
            settings = settings_for(url, max_message_mb=1)
            async with running(tmp_path, settings) as gateway:
                await gateway.until(lambda: gateway.rows("features"))
        assert gateway.reasons("close")[0].startswith("1009")

    asyncio.run(scenario())


def test_a_five_megabyte_snapshot_is_kept_whole(tmp_path: Path) -> None:
    levels = [(f"{60000 + place / 100:.2f}", f"{place + 1}.123456") for place in range(100_000)]
    book = exchange.Snapshot("BTC-USD", levels[:50_000], levels[50_001:])

    async def talk(line: Line) -> None:
        await line.request()
        await line.send(acknowledgement(["BTC-USD", "ETH-USD"]), book, update(price="60499.999"))
        await line.stay()

    async def scenario() -> None:
        async with feed(talk) as url, running(tmp_path, settings_for(url)) as gateway:
            await gateway.until(lambda: gateway.rows("features"))
        row = gateway.rows("raw_orderbook")[0]
        assert len(row["changes"]) == 99_999
        assert str(row["changes"][-1]["price"]).startswith("60999.99")
        assert float(gateway.rows("features")[0]["best_bid"]) == 60499.999

    asyncio.run(scenario())


@pytest.mark.parametrize("url", ["ws://127.0.0.1:1", "ws://no-such-host.invalid:80"])
def test_no_feed_at_all_is_said_again_and_again_without_an_end(tmp_path: Path, url: str) -> None:
    async def scenario() -> None:
        async with running(tmp_path, settings_for(url)) as gateway:
            await gateway.until(lambda: len(gateway.events("close")) >= 3)
        assert all(reason.startswith("0 connect:") for reason in gateway.reasons("close")[:3])
        assert gateway.events("open") == []
        assert gateway.events("final") != []

    asyncio.run(scenario())


def test_many_products_share_several_connections(tmp_path: Path) -> None:
    products = [f"P{number}-USD" for number in range(130)]
    asked: list[list[str]] = []

    async def talk(line: Line) -> None:
        asked.append(await line.welcome())
        await line.send(*(update(product) for product in asked[-1]))
        await line.stay()

    async def scenario() -> None:
        async with feed(talk) as url:
            settings = settings_for(url, products=",".join(products))
            async with running(tmp_path, settings) as gateway:
                await gateway.until(lambda: len(gateway.rows("features")) == 130)
        assert sorted(map(len, asked)) == [30, 50, 50]
        assert {row["symbol"] for row in gateway.rows("features")} == set(products)

    asyncio.run(scenario())


def test_a_feed_that_redirects_to_nowhere_is_said_and_survived(tmp_path: Path) -> None:
    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: ws://host:99999/\r\n\r\n")
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(redirect, "127.0.0.1", 0)
        async with server:
            url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with running(tmp_path, settings_for(url)) as gateway:
                await gateway.until(lambda: len(gateway.events("close")) >= 2)
        assert gateway.reasons("close")[0].startswith("0 connect")

    asyncio.run(scenario())
