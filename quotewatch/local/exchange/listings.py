"""What the simulated exchange lists: a product's name in, its increments and a plausible price out.

Pure. Any name gets a market, so a load test may list hundreds of products that do not exist.
"""

import math
import zlib
from dataclasses import dataclass
from functools import cached_property

DEFAULT_PRODUCTS = ("BTC-USD", "ETH-USD", "ETH-BTC", "BTC-EUR", "BTC-USDT")

# All named products have their real increments, so that prices look and behave like the real ones.
_INCREMENT_DIGITS = {
    "BTC-USD": 2, "ETH-USD": 2, "ETH-BTC": 5, "BTC-EUR": 2, "BTC-USDT": 2, "ETH-EUR": 2,
    "ETH-USDT": 2, "BTC-GBP": 2, "SOL-USD": 2, "SOL-BTC": 7, "SOL-EUR": 2, "LTC-USD": 2,
    "LTC-BTC": 6, "XRP-USD": 4, "ADA-USD": 4, "DOGE-USD": 5, "LINK-USD": 3, "AVAX-USD": 2,
    "SHIB-USD": 8, "PEPE-USD": 8, "USDT-USD": 5, "BTC-USDC": 2, "ETH-USDC": 2,
}  # fmt: skip
NAMED_PRODUCTS = tuple(_INCREMENT_DIGITS)

_USD_PRICES = {
    "USD": 1.0, "EUR": 1.0871, "GBP": 1.2693, "USDT": 0.99987, "USDC": 1.0, "BTC": 65_012.37,
    "ETH": 3_452.41, "SOL": 172.38, "LTC": 84.23, "XRP": 0.6123, "ADA": 0.4471, "DOGE": 0.13172,
    "LINK": 14.317, "AVAX": 36.42, "SHIB": 0.00002461, "PEPE": 0.00001184,
}  # fmt: skip

# How lively an asset is beside BTC; what is not here is as lively as BTC.
_LIVELINESS = {"USD": 0.0, "USDC": 0.0, "USDT": 0.01, "EUR": 0.03, "GBP": 0.03}

MAX_DIGITS = 8  # no product of Coinbase has more decimals (facts of 2026-08)
_TICK_OF_PRICE = 2e-6  # an unknown product ticks in about a fiftieth of a basis point
_LEVEL_USD = 6_000.0  # what an ordinary level of the book is worth


@dataclass(frozen=True)
class Listing:
    """One product: prices are ticks of 10^-price_digits, sizes lots of 10^-size_digits."""

    name: str
    base: str
    quote: str
    price_digits: int
    size_digits: int
    price: float
    level_size: float

    @cached_property
    def ticks_per_unit(self) -> float:
        """Ticks in a price of 1."""
        return 10.0**self.price_digits

    @cached_property
    def level_lots(self) -> int:
        """Lots of an ordinary level."""
        return max(10, round(self.level_size * 10.0**self.size_digits))


def _hashed(name: str) -> float:
    # crc32, not hash(): the same name is the same market in every process.
    return zlib.crc32(name.encode()) / 2**32


def usd_price(asset: str) -> float:
    """Return what one unit of an asset costs at the start; unknown names between 0.001 and 1000."""
    return _USD_PRICES.get(asset) or 10.0 ** (6.0 * _hashed(asset) - 3.0)


def liveliness(asset: str) -> float:
    """Return how much an asset moves against the dollar, as a share of what BTC does."""
    return _LIVELINESS.get(asset, 1.0)


def list_product(name: str) -> Listing:
    """Return the market of a product; a name without a quote currency is quoted in USD."""
    base, _, quote = name.partition("-")
    quote = quote or "USD"
    price = usd_price(base) / usd_price(quote)
    digits = _INCREMENT_DIGITS.get(name)
    if digits is None:
        digits = min(MAX_DIGITS, max(2, math.ceil(-math.log10(price * _TICK_OF_PRICE))))
    level_size = _LEVEL_USD / usd_price(base)
    # Cheap coins trade in whole units, dear ones in hundred-millionths.
    size_digits = min(MAX_DIGITS, max(0, math.ceil(-math.log10(level_size)) + 6))
    return Listing(name, base, quote, digits, size_digits, price, level_size)


def increment_text(digits: int) -> str:
    """Spell the increment of so many digits: 2 is `0.01`, 0 is `1`."""
    return f"0.{1:0{digits}d}" if digits else "1"
