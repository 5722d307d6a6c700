"""What makes two records of one message the same, whatever either spells it like. Pure.

Numbers count by value, times by the microsecond, and changes in their order.
"""

from collections.abc import Iterable
from decimal import Decimal
from hashlib import blake2b
from typing import NamedTuple

_REMEMBERED = 200_000

Change = tuple[str, str, str]  # side (`bid` or `ask`), price, size


class TradeId(NamedTuple):
    """What a trade is known by."""

    symbol: str
    number: int


class PlainTexts(dict[str, str]):
    """One spelling a number: no exponent, no trailing zeros. Remembered."""

    def __missing__(self, value: str) -> str:
        if len(self) >= _REMEMBERED:
            self.clear()
        text = self[value] = plain_text(value)
        return text


def plain_text(value: str | Decimal) -> str:
    """Spell a number the one way: 8043.00000000 is 8043, and 1E-7 is 0.0000001."""
    text = format(value, "f") if isinstance(value, Decimal) else value
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    whole = whole.lstrip("0") or "0"
    return f"{whole}.{fraction}" if fraction else whole


def book_key(symbol: str, kind: str, exchange_us: int | None, changes: Iterable[Change]) -> bytes:
    """Return what one level-2 message of one product is known by; numbers as plain texts."""
    digest = blake2b(f"{symbol} {kind} {exchange_us}".encode(), digest_size=16)
    digest.update("".join([f"\n{side} {price} {size}" for side, price, size in changes]).encode())
    return digest.digest()


def trade_content(price: str, size: str, taker_side: str, exchange_us: int) -> bytes:
    """Return what a trade says beside its id; numbers as plain texts."""
    text = f"{price} {size} {taker_side} {exchange_us}"
    return blake2b(text.encode(), digest_size=16).digest()
