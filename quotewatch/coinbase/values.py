"""Numbers and times as Coinbase spells them: exact text in, comparable values out.

Anything else is refused with a WireError.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal

from quotewatch.errors import WireError

# What decimal(38, 18) holds: nothing within it is rounded, anything outside it is refused.
INTEGER_DIGITS = 20
DECIMAL_DIGITS = 18
FLOAT_DIGITS = 15  # decimal digits that a float always gives back unchanged

Number = float | Decimal

_NUMBER = re.compile(rf"[0-9]{{1,{INTEGER_DIGITS}}}(?:\.[0-9]{{1,{DECIMAL_DIGITS}}})?")
_SECOND = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}")
_FRACTION = re.compile(r"(?:\.[0-9]{1,9})?Z")
_MICROSECOND_TIME = len("2026-08-09T05:23:42.196708Z")
_REMEMBERED = 200_000  # texts a memo keeps before it starts afresh: about 25 MB


def price_key(text: str) -> Number:
    """Turn a price into the number it is known by: two spellings of one price are one key.

    A float where it is exact enough to give the digits back, a Decimal beyond.
    """
    value = _plain(text, "bad_price")
    if not value:
        raise WireError("bad_price", f"{text!r} is not above zero")
    significant = text.replace(".", "").strip("0")
    return value if len(significant) <= FLOAT_DIGITS else Decimal(text)


def size_value(text: str) -> float:
    """Turn a size into the nearest float. Zero is a size: it removes a level."""
    return _plain(text, "bad_size")


def _plain(text: str, reason: str) -> float:
    # float() alone would take "nan", "1_000", " 1" and "1e5".
    if not _NUMBER.fullmatch(text):
        raise WireError(reason, f"{text[:40]!r} is not a plain decimal number")
    return float(text)


class PriceKeys(dict[str, Number]):
    """price_key, remembered: eight prices in ten were seen before, and a look-up costs a fifth."""

    def __missing__(self, text: str) -> Number:
        if len(self) >= _REMEMBERED:
            self.clear()
        value = self[text] = price_key(text)
        return value


class SizeValues(dict[str, float]):
    """size_value, remembered."""

    def __missing__(self, text: str) -> float:
        if len(self) >= _REMEMBERED:
            self.clear()
        value = self[text] = size_value(text)
        return value


class Seconds(dict[str, int]):
    """Microseconds since 1970 of the whole second a time text starts with, remembered."""

    def __missing__(self, text: str) -> int:
        if not _SECOND.fullmatch(text):
            raise WireError("bad_time", f"{text!r} is not a UTC time like 2026-08-09T05:23:42.5Z")
        if len(self) >= _REMEMBERED:
            self.clear()
        try:
            moment = datetime.fromisoformat(text + "+00:00")
        except ValueError as error:
            raise WireError("bad_time", f"{text!r}: {error}") from error
        value = self[text] = int(moment.timestamp()) * 1_000_000
        return value


_seconds = Seconds()


def time_us(text: str) -> int:
    """Microseconds since 1970 of a UTC time with 0 to 9 fractional digits; finer digits are cut."""
    # Nearly all times have six digits; the rest take the slower way.
    if len(text) == _MICROSECOND_TIME and text[19] == "." and text[26] == "Z":
        fraction = text[20:26]
        if fraction.isdecimal() and fraction.isascii():
            return _seconds[text[:19]] + int(fraction)
    if not _FRACTION.fullmatch(text, 19):
        raise WireError("bad_time", f"{text[:40]!r} is not a UTC time like 2026-08-09T05:23:42.5Z")
    return _seconds[text[:19]] + int(text[20:-1][:6].ljust(6, "0"))


def number_text(value: Number) -> str:
    """Spell a key as a plain decimal, never as 1e-07."""
    if isinstance(value, float):
        text = repr(value)
        return format(Decimal(text), "f") if "e" in text else text
    return format(value, "f")


def time_text(us: int) -> str:
    """Spell microseconds since 1970 as Coinbase does: trailing zeros of the fraction trimmed."""
    second, fraction = divmod(us, 1_000_000)
    stamp = datetime.fromtimestamp(second, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")
    digits = f"{fraction:06d}".rstrip("0")
    return f"{stamp}.{digits}Z" if digits else f"{stamp}Z"
