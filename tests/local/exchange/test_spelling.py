"""Spelling: the same value in the ways the real feed writes it."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from quotewatch.coinbase.values import time_text, time_us
from quotewatch.local.exchange.listings import list_product
from quotewatch.local.exchange.spelling import Spelling, TimeTexts, decimal_text, padded_text


@given(units=st.integers(0, 10**15), digits=st.integers(0, 8))
def test_both_spellings_are_the_same_number(units: int, digits: int) -> None:
    exact = Decimal(units).scaleb(-digits)
    assert Decimal(decimal_text(units, digits)) == Decimal(padded_text(units, digits)) == exact


def test_a_whole_price_is_spelled_two_ways() -> None:
    spelling = Spelling(list_product("BTC-USD"))
    assert (spelling.price[804300], spelling.padded_price[804300]) == ("8043", "8043.00000000")


def test_zero_is_spelled_two_ways() -> None:
    spelling = Spelling(list_product("BTC-USD"))
    assert (spelling.size[0], spelling.size_or_zeros[0]) == ("0", "0.00000000")


@given(us=st.integers(10**15, 2 * 10**15))
def test_times_are_spelled_as_the_codec_spells_them(us: int) -> None:
    texts = TimeTexts()
    assert texts.trimmed(us) == time_text(us)
    assert time_us(texts.nanoseconds(us, 123)) == us
    assert texts.nanoseconds(us, 7).endswith("007Z")
