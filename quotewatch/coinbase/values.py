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

_is_number = re.compile(rf"[0-9]{{1,{INTEGER_DIGITS}}}(?:\.[0-9]{{1,{DECIMAL_DIGITS}}})?").fullmatch
_SECOND = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}")
_FRACTION = re.compile(r"(?:\.[0-9]{1,9})?Z")
_REMEMBERED = 200_000  # texts a memo keeps before it starts afresh: about 25 MB


class LongPrice(Decimal):
    """A price of more digits than a float gives back. Negated it keeps them all."""

    __slots__ = ()

    def __neg__(self, context: object = None) -> "LongPrice":
        # Decimal's own rounds to the 28 digits of the context.
        return LongPrice(self.copy_negate())


class LongSize(float):
    """A size of more digits than a float gives back: `text` has them all."""

    __slots__ = ("text",)
    text: str


def price_key(text: str) -> Number:
    """Turn a price into the number it is known by: two spellings of one price are one key.

    A float where it is exact enough to give the digits back, a Decimal beyond.
    """
    # float() alone would take "nan", "1_000", " 1" and "1e5".
    if not _is_number(text):
        raise _not_a_number("bad_price", text)
    value = float(text)
    if not value:
        raise WireError("bad_price", f"{text!r} is not above zero")
    return LongPrice(text) if len(text) > FLOAT_DIGITS and _is_long(text) else value


def size_value(text: str) -> float:
    """Turn a size into the nearest float. Zero is a size: it removes a level."""
    if not _is_number(text):
        raise _not_a_number("bad_size", text)
    value = float(text)
    if len(text) > FLOAT_DIGITS and _is_long(text):
        size = LongSize(value)
        size.text = text
        return size
    return value


def _is_long(text: str) -> bool:
    return len(text.replace(".", "").strip("0")) > FLOAT_DIGITS


def _not_a_number(reason: str, text: str) -> WireError:
    return WireError(reason, f"{text[:40]!r} is not a plain decimal number")


class PriceKeys(dict[str, Number]):
    """price_key, remembered: eight prices in ten were seen before, and a look-up costs a fifth."""

    long = False  # whether a price ever was a LongPrice

    def __missing__(self, text: str) -> Number:
        if len(self) >= _REMEMBERED:
            self.clear()
        value = self[text] = price_key(text)
        if type(value) is not float:
            self.long = True
        return value


class SizeValues(dict[str, float]):
    """size_value, remembered: half of all sizes and more were seen before."""

    long = False  # whether a size ever was a LongSize

    def __missing__(self, text: str) -> float:
        if len(self) >= _REMEMBERED:
            self.clear()
        value = self[text] = size_value(text)
        if type(value) is not float:
            self.long = True
        return value


# Microseconds since 1970 of the start of a second, by the text up to the point; what was refused
# is not in it.
_seconds: dict[str, int] = {}
# The digits after the point as Coinbase sends them nearly always: six, or fewer without the
# trailing zeros. Three look-ups cost two thirds of checking and converting the digits.
_millis = {f"{number:03d}": number * 1_000 for number in range(1_000)}
_micros = {
    f"{number:03d}"[:digits] + "Z": number
    for digits in range(4)
    for number in range(0, 1_000, 10 ** (3 - digits))
}


def time_us(text: str) -> int:
    """Microseconds since 1970 of a UTC time with 0 to 9 fractional digits; finer digits are cut."""
    try:
        return _seconds[text[:20]] + _millis[text[20:23]] + _micros[text[23:]]
    except KeyError:
        return _any_time_us(text)


def _any_time_us(text: str) -> int:
    if not _FRACTION.fullmatch(text, 19):
        raise WireError("bad_time", f"{text[:40]!r} is not a UTC time like 2026-08-09T05:23:42.5Z")
    second = text[:19]
    if not _SECOND.fullmatch(second):
        raise WireError("bad_time", f"{second!r} is not a UTC time like 2026-08-09T05:23:42.5Z")
    try:
        moment = datetime.fromisoformat(second + "+00:00")
    except ValueError as error:
        raise WireError("bad_time", f"{second!r}: {error}") from error
    if len(_seconds) >= _REMEMBERED:
        _seconds.clear()
    us = _seconds[second + "."] = int(moment.timestamp()) * 1_000_000
    return us + int(text[20:-1][:6].ljust(6, "0"))


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
