"""What a unit costs: the prices of a file in, each with its free part, its page and its date, out.

A price that is announced for later costs nothing until then.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import msgspec

from deploy.errors import DeployError

PRICES = Path(__file__).with_name("prices.json")


class PricesError(DeployError):
    """The file of prices cannot be used."""


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one unit costs once the free part of a month is used up, as a page said on a day."""

    name: str
    dollars: float
    unit: str
    free: float
    page: str
    seen: date
    note: str
    since: date | None = None  # announced for later

    def of(self, amount: float) -> float:
        """Return what so many units in one month cost."""
        return max(0.0, amount - self.free) * self.dollars


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    currency: str
    region: str
    prices: list[Price]


@dataclass(frozen=True)
class Tariff:
    """All prices of one region."""

    region: str
    prices: Mapping[str, Price]

    def __getitem__(self, name: str) -> Price:
        return self.prices[name]

    def __iter__(self) -> Iterator[Price]:
        return iter(self.prices.values())


def load_tariff(path: Path = PRICES) -> Tariff:
    """Read a file of prices."""
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_File)
    except (OSError, msgspec.DecodeError) as error:
        raise PricesError(f"{path}: {error}; write it like {PRICES}") from error
    return Tariff(file.region, {each.name: each for each in file.prices})
