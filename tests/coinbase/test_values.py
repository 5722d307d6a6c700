"""Numbers and times are taken exactly or refused."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotewatch.coinbase.values import (
    PriceKeys,
    SizeValues,
    number_text,
    price_key,
    size_value,
    time_text,
    time_us,
)
from quotewatch.errors import WireError


@pytest.mark.parametrize("text", ["8043", "8043.0", "8043.00000000", "08043"])
def test_spellings_of_one_price_are_one_key(text: str) -> None:
    assert price_key(text) == price_key("8043")
    assert hash(price_key(text)) == hash(price_key("8043"))


@given(st.decimals(min_value="0.00000001", max_value=10**12, places=8))
def test_prices_are_equal_exactly_when_their_values_are(value: Decimal) -> None:
    key = price_key(f"{value:f}")
    assert Decimal(number_text(key)) == value
    assert price_key(f"{value:f}" + ("0" if value != int(value) else "")) == key


BAD_NUMBERS = ["", " 1", "1 ", "+1", "-1", "1e5", "1E-7", "NaN", "inf", "1_000", "0x1", ".5", "5.",
               "1.2.3", "\u0661", "1" * 21, "1." + "1" * 19]  # fmt: skip


@pytest.mark.parametrize("text", BAD_NUMBERS)
def test_anything_but_a_plain_decimal_number_is_refused(text: str) -> None:
    with pytest.raises(WireError, match="bad_price"):
        price_key(text)
    with pytest.raises(WireError, match="bad_size"):
        size_value(text)


def test_zero_is_a_size_and_no_price() -> None:
    assert size_value("0.00000000") == 0
    with pytest.raises(WireError, match="not above zero"):
        price_key("0.00")


def test_what_was_refused_is_not_remembered() -> None:
    keys, sizes = PriceKeys(), SizeValues()
    for _ in range(2):
        with pytest.raises(WireError):
            keys["nan"]
        with pytest.raises(WireError):
            sizes["nan"]
    assert keys["1.50"] == sizes["1.5"] == 1.5


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quotewatch.coinbase.values._REMEMBERED", 10)
    keys = PriceKeys()
    for price in range(1, 100):
        assert keys[str(price)] == price
    assert len(keys) <= 10


@pytest.mark.parametrize(
    ("text", "fraction_us"),
    [
        ("2026-08-09T05:23:42Z", 0),
        ("2026-08-09T05:23:42.1Z", 100_000),
        ("2026-08-09T05:23:42.19670Z", 196_700),
        ("2026-08-09T05:23:42.196708Z", 196_708),
        ("2026-08-09T05:23:42.196708651Z", 196_708),
        ("2026-08-09T05:23:42.999999999Z", 999_999),
    ],
)
def test_finer_digits_than_microseconds_are_cut(text: str, fraction_us: int) -> None:
    assert time_us(text) == 1_786_253_022_000_000 + fraction_us


@given(st.integers(0, 4_000_000_000_000_000))
def test_times_come_back(us: int) -> None:
    assert time_us(time_text(us)) == us


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-08-09",
        "2026-08-09T05:23:42",
        "2026-08-09T05:23:42.Z",
        "2026-13-09T05:23:42Z",
        "2026-08-09T25:23:42.123456Z",
        "2026-08-09T05:23:42.12_456Z",
        "2026-08-09T05:23:42+00:00",
        "2026-08-09 05:23:42.123456Z",
        "2026-08-09T05:23:42.1234567891Z",
    ],
)
def test_anything_but_a_utc_time_is_refused(text: str) -> None:
    with pytest.raises(WireError, match="bad_time"):
        time_us(text)
