"""Features recomputed from the kept rows equal the live ones, bit for bit, wherever frames end."""

import random
import struct
from collections.abc import Iterator

import pytest

from quotewatch.coinbase import exchange
from quotewatch.coinbase.values import time_text
from quotewatch.local.capture import read_capture
from quotewatch.market.replay import FeatureRow, recompute
from quotewatch.streams import FEATURES
from tests.captures import capture_files
from tests.gateway.desk import RECEIVED_US, Desk, Row, plain, replay_rows, us_of

PRODUCTS = ("BTC-USD", "ETH-USD")
EXCHANGE_PRODUCTS = [
    "SKL-USD",
    "SKL-BTC",
    "BAND-GBP",
    "BAND-BTC",
    "NMR-EUR",
    "YFI-BTC",
    "DASH-BTC",
    "NU-GBP",
    "CRV-EUR",
    "SKL-GBP",
]


def float32(value: float | None) -> float | None:
    return None if value is None else float(struct.unpack("f", struct.pack("f", value))[0])


def stored(row: FeatureRow) -> Row:
    """Return a recomputed row as the features stream keeps it."""
    values = row.top._asdict() | row.windowed._asdict()
    narrow = {f.name for f in FEATURES.schema if str(f.type) == "float"}
    return {
        "symbol": row.symbol,
        "book": row.book,
        "arrival": row.arrival,
        "exchange_us": row.exchange_us,
        **{name: float32(value) if name in narrow else value for name, value in values.items()},
    }


def kept(row: Row) -> Row:
    return row | {
        "exchange_us": us_of(row["exchange_time"]),
        "best_bid": plain(row["best_bid"]),
        "best_ask": plain(row["best_ask"]),
    }


def assert_parity(desk: Desk) -> int:
    live = [kept(row) for row in desk.rows("features")]
    replayed = recompute(replay_rows(desk.rows("raw_orderbook"), desk.rows("raw_trades")))
    again = [stored(row) for row in replayed]
    assert len(again) == len(live)
    for ours, theirs in zip(live, again, strict=True):
        for name in theirs.keys() & ours.keys():
            left, right = ours[name], theirs[name]
            if name in {"best_bid", "best_ask"}:
                left, right = float(left), float(right)
            assert left == right, (name, ours, theirs)
    return len(live)


def wild_feed(seed: int, steps: int) -> Iterator[bytes]:
    """Yield books that drift, cross, lose sides and come back; trades; times that step back."""
    chance = random.Random(seed)
    us = RECEIVED_US
    trade_ids = dict.fromkeys(PRODUCTS, 100)
    for product in PRODUCTS:
        yield fresh(product, chance)
    for _ in range(steps):
        product = chance.choice(PRODUCTS)
        us += chance.choice([20_000, 20_000, 150_000, 700_000, -30_000])
        draw = chance.random()
        if draw < 0.02:
            yield fresh(product, chance)
        elif draw < 0.04:
            yield b'{"type":"l2update","product_id":"%s","changes":[["buy"' % product.encode()
        elif draw < 0.3:
            trade_ids[product] += chance.choice([1, 1, 1, 2, -3])
            kind = exchange.LastMatch if chance.random() < 0.1 else exchange.Match
            side: exchange.MakerSide = chance.choice(["buy", "sell"])
            size = f"{chance.randint(1, 10**9) / 1e8:.8f}"
            ids = trade_ids[product]
            yield exchange.encode(kind(ids, side, size, "100", product, ids, time_text(us)))
        else:
            changes = [change(chance) for _ in range(chance.randint(1, 6))]
            yield exchange.encode(exchange.L2Update(product, changes, time_text(us)))


def fresh(product: str, chance: random.Random) -> bytes:
    bids = [
        (f"{100 - place / 10:.2f}", f"{chance.randint(1, 500) / 100}") for place in range(1, 60)
    ]
    asks = [
        (f"{100 + place / 10:.2f}", f"{chance.randint(1, 500) / 100}") for place in range(1, 60)
    ]
    return exchange.encode(exchange.Snapshot(product, bids, asks))


def change(chance: random.Random) -> tuple[exchange.MakerSide, str, str]:
    side: exchange.MakerSide = chance.choice(["buy", "sell"])
    away = chance.randint(-1, 40) / 20
    price = 100 - away if side == "buy" else 100 + away
    size = "0" if chance.random() < 0.3 else f"{chance.randint(1, 10**10) / 1e8:.8f}"
    return side, f"{price:.8f}", size


@pytest.mark.parametrize("seed", range(8))
def test_over_a_wild_feed(seed: int) -> None:
    desk = Desk("exchange", PRODUCTS)
    chance = random.Random(-seed)
    for message in wild_feed(seed, 1_500):
        desk.read(message)
        if chance.random() < 0.01:
            desk.close_page(chance.choice(["features", "raw_orderbook", "raw_trades"]))
        if chance.random() < 0.003:
            desk.reconnect()
            for product in PRODUCTS:
                desk.read(fresh(product, chance))
    assert assert_parity(desk) > 200


@pytest.mark.parametrize("place", range(3))
def test_over_a_real_capture(place: int) -> None:
    path = capture_files()[place]
    desk = Desk(path.parent.name, EXCHANGE_PRODUCTS if "exchange" in path.parts else ["BTC-USD"])
    for number, recorded in enumerate(read_capture(path)):
        desk.read(recorded.message, received_us=round(recorded.at * 1e6))
        if number % 700 == 0:
            desk.close_page("features")
    assert desk.events("reject") == []
    assert desk.events("gap") == []
    assert desk.events("invalid") == []
    assert assert_parity(desk) > 2_000
