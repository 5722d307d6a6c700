"""The simulated market: repeatable, never crossed, consistent, and worth learning from."""

from collections import defaultdict
from itertools import pairwise
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotewatch.local.exchange.listings import DEFAULT_PRODUCTS, NAMED_PRODUCTS
from quotewatch.local.exchange.market_events import BookChange, Event, Pulse, Trade
from quotewatch.local.exchange.market_model import US, Market, plan_pace

UNKNOWN = tuple(f"COIN{number}-USD" for number in range(120))


def market(products: tuple[str, ...] = DEFAULT_PRODUCTS, seed: int = 1, rate: float = 0) -> Market:
    return Market(products, seed, plan_pace(rate or 30 * len(products), len(products)), US)


def mid(market: Market, product: str) -> float:
    one = market.products[product]
    return (one.bids.best() - one.asks.best()) / 2 / one.listing.ticks_per_unit


def test_the_same_seed_is_the_same_market() -> None:
    assert list(market().play(10 * US)) == list(market().play(10 * US))


def test_another_seed_is_another_market() -> None:
    assert list(market(seed=1).play(3 * US)) != list(market(seed=2).play(3 * US))


def test_it_does_not_matter_how_often_one_looks() -> None:
    often, events = market(), list[Event]()
    for step in range(1, 998):
        events += often.play(US + step * 9_973)
    assert events == list(market().play(US + 997 * 9_973))


@given(seed=st.integers(0, 2**32))
@settings(max_examples=10, deadline=None)
def test_books_are_never_crossed_or_locked(seed: int) -> None:
    live = market(NAMED_PRODUCTS + UNKNOWN[:20], seed)
    for event in live.play(6 * US):
        product = live.products[event.product]
        assert 0 < product.bids.best() < -product.asks.best()


def test_a_hundred_unknown_products_have_a_market_each() -> None:
    live = market(UNKNOWN)
    kinds = defaultdict(set)
    for event in live.play(12 * US):
        kinds[type(event)].add(event.product)
    assert kinds[BookChange] == kinds[Trade] == kinds[Pulse] == set(UNKNOWN)


def test_trade_ids_are_contiguous_and_sequences_skip() -> None:
    by_product = defaultdict(list)
    for event in market().play(30 * US):
        if isinstance(event, Trade):
            by_product[event.product].append(event)
    assert set(by_product) == set(DEFAULT_PRODUCTS)
    for trades in by_product.values():
        assert all(b.trade_id == a.trade_id + 1 for a, b in pairwise(trades))
        assert all(b.sequence > a.sequence + 1 for a, b in pairwise(trades))
        assert all(b.time_us >= a.time_us for a, b in pairwise(trades))


def test_trades_hit_the_best_level_of_the_makers_side() -> None:
    product = market().products["BTC-USD"]
    for number in range(200):
        bid, ask = product.bids.best(), -product.asks.best()
        there = {True: product.bids.lots[bid], False: product.asks.lots[-ask]}
        trade = product.trade(number)
        assert trade.tick == (bid if trade.maker_buys else ask)
        assert 0 < trade.lots <= there[trade.maker_buys]
        product.step()


def test_sizes_and_prices_are_positive_whole_numbers() -> None:
    for event in market(NAMED_PRODUCTS).play(10 * US):
        if isinstance(event, Trade):
            assert event.tick > 0
            assert event.lots > 0
        if isinstance(event, BookChange):
            assert all(tick > 0 and lots >= 0 for tick, lots in event.bids + event.asks)


def test_products_agree_on_what_things_cost() -> None:
    names = ("BTC-USD", "ETH-USD", "ETH-BTC", "BTC-EUR", "ETH-EUR", "SOL-USD", "SOL-BTC")
    live = market(names)
    for second in range(2, 60):
        list(live.play(second * US))
        assert mid(live, "ETH-USD") / mid(live, "BTC-USD") == pytest.approx(
            mid(live, "ETH-BTC"), rel=4e-4
        )
        assert mid(live, "SOL-USD") / mid(live, "BTC-USD") == pytest.approx(
            mid(live, "SOL-BTC"), rel=4e-4
        )
        euro = mid(live, "BTC-USD") / mid(live, "BTC-EUR")
        assert mid(live, "ETH-USD") / mid(live, "ETH-EUR") == pytest.approx(euro, rel=4e-4)


@pytest.mark.parametrize(("rate", "products"), [(150, 5), (40, 5), (600, 23), (2_000, 5)])
def test_the_rate_is_what_was_asked_for(rate: float, products: int) -> None:
    live = market(NAMED_PRODUCTS[:products], rate=rate)
    wanted = (BookChange, Trade, Pulse)
    count = sum(isinstance(event, wanted) for event in live.play(41 * US))
    assert count / 40 == pytest.approx(rate, rel=0.2)


def test_a_product_changes_at_most_each_fifty_milliseconds() -> None:
    changes = [e for e in market(rate=150).play(11 * US) if isinstance(e, BookChange)]
    assert len(changes) <= 10 * 20 * len(DEFAULT_PRODUCTS)


def test_books_neither_dry_up_nor_grow_without_bound() -> None:
    live = market(NAMED_PRODUCTS, rate=3_000)
    for event in live.play(60 * US):
        if isinstance(event, BookChange):
            product = live.products[event.product]
            assert 20 < len(product.bids.order) < 400
            assert 20 < len(product.asks.order) < 400


@pytest.mark.parametrize("rate", [150, 2_000])
def test_trades_are_remembered_for_ten_minutes_and_not_for_ever(rate: float) -> None:
    live = market(rate=rate)
    for event in live.play(21 * US):
        assert event.time_us > 0
    for trades in live.trades.values():
        per_second = (len(trades) - 120) / 20
        assert trades.maxlen is not None
        assert 600 * per_second < trades.maxlen < max(200_001, 1_500 * per_second)


def test_two_hundred_thousand_trades_are_remembered_of_each_product_however_many() -> None:
    for trades in market(UNKNOWN, rate=20_000).trades.values():
        assert trades.maxlen == 200_000


def auc(score: list[float], truth: list[bool]) -> float:
    """Return the chance that a true one scores above a false one."""
    ranks = sorted(range(len(score)), key=score.__getitem__)
    hits = sum(truth)
    total = sum(rank for rank, index in enumerate(ranks, 1) if truth[index])
    return (total - hits * (hits + 1) / 2) / (hits * (len(truth) - hits))


def test_the_book_says_something_about_the_next_half_second() -> None:
    live = market(seed=1, rate=150)
    rows = []  # (time, bid + ask, spread, imbalance at the top)
    for event in live.play(180 * US):
        if isinstance(event, BookChange) and event.product == "BTC-USD":
            one = live.products["BTC-USD"]
            bid, ask = one.bids.best(), -one.asks.best()
            bids, asks = one.bids.lots[bid], one.asks.lots[-ask]
            rows.append((event.time_us, bid + ask, ask - bid, (bids - asks) / (bids + asks)))
    moves = [later[1] / row[1] - 1 for row, later in zip(rows, rows[10:], strict=False)]
    moved = [abs(move) > 1e-4 for move in moves]
    assert 0.1 < mean(moved) < 0.35
    assert auc([row[2] / row[1] for row in rows[: len(moves)]], moved) > 0.65
    imbalances = [row[3] for row, flag in zip(rows, moved, strict=False) if flag]
    upwards = [move > 0 for move in moves if abs(move) > 1e-4]
    assert auc(imbalances, upwards) > 0.65
    strong = [move for row, move in zip(rows, moves, strict=False) if row[3] > 0.5]
    assert mean(move > 0 for move in strong) > mean(move < 0 for move in strong) + 0.1
