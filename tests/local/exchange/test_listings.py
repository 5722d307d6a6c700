"""Listings: every name has a plausible market."""

import pytest

from quotewatch.local.exchange.listings import NAMED_PRODUCTS, increment_text, list_product


def test_there_are_enough_named_products() -> None:
    assert len(NAMED_PRODUCTS) >= 12
    assert {"BTC-USD", "ETH-USD", "ETH-BTC", "BTC-EUR", "BTC-USDT"} <= set(NAMED_PRODUCTS)


@pytest.mark.parametrize("name", ["BTC-USD", "SHIB-USD", "NEVERHEARD-USD", "A-B", "PLAIN", "X-BTC"])
def test_prices_have_enough_ticks_and_sizes_enough_lots(name: str) -> None:
    listing = list_product(name)
    assert listing.price * listing.ticks_per_unit > 100 or listing.price_digits == 8
    assert listing.level_lots >= 10
    assert 0 <= listing.size_digits <= 8


def test_low_priced_coins_trade_in_sizes_of_more_than_ten_digits() -> None:
    listing = list_product("PEPE-USD")
    assert listing.size_digits == 0
    assert len(str(listing.level_lots * 30)) > 10


def test_increments_are_spelled_out() -> None:
    assert [increment_text(digits) for digits in (0, 2, 8)] == ["1", "0.01", "0.00000001"]
