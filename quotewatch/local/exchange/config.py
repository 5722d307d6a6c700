"""What to simulate, and what came of it: plain records for the command line and the tests."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from quotewatch.errors import SettingsError
from quotewatch.local.exchange.advanced_dialect import AdvancedDialect
from quotewatch.local.exchange.exchange_dialect import ExchangeDialect
from quotewatch.local.exchange.fault_plan import FaultPlan
from quotewatch.local.exchange.fault_schedule import check_faults, schedule
from quotewatch.local.exchange.listings import DEFAULT_PRODUCTS
from quotewatch.local.exchange.market_model import Market, plan_pace
from quotewatch.local.exchange.sessions import Shipment
from quotewatch.local.exchange.simulation import SimulatedExchange

DialectName = Literal["exchange", "advanced"]


@dataclass(frozen=True)
class ExchangeConfig:
    """What to simulate. Port 0 takes a free one; without seconds it runs until stopped.

    `rate` is the messages a second that one subscriber of everything gets. Silences should outlast
    the client's watchdog. One that lingers answers REST after its market has ended, until stopped.
    """

    port: int = 0
    host: str = "127.0.0.1"
    products: tuple[str, ...] = DEFAULT_PRODUCTS
    dialect: DialectName = "exchange"
    rate: float = 150.0
    seed: int = 1
    faults: tuple[str, ...] = ()
    truth: Path | None = None
    seconds: float | None = None
    silence_seconds: float = 8.0
    rest_down_seconds: float = 4.0
    book_interval_ms: float | None = None
    linger: bool = False


@dataclass
class ExchangeReport:
    """What was sent, by type, and what was not as it should be, by fault."""

    sent: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    withheld: int = 0
    duplicated: int = 0
    spoilt: int = 0

    def count(self, shipments: Iterable[Shipment]) -> None:
        """Add what left for a connection, or did not."""
        for shipment in shipments:
            if shipment.sent:
                self.sent[shipment.kind] += 1
            else:
                self.withheld += 1
            if shipment.fault is not None:
                self.faults[shipment.fault] += 1
                self.duplicated += shipment.sent and shipment.fault == "duplicate"
                self.spoilt += shipment.sent and shipment.fault == "malformed"


def build_plan(config: ExchangeConfig) -> FaultPlan:
    """Return the faults that a configuration asks for, refusing what cannot be."""
    check_faults(config.faults, len(config.products))
    moments = schedule(config.faults, config.seed, config.seconds, config.silence_seconds)
    return FaultPlan(moments, config.seed, config.silence_seconds, config.rest_down_seconds)


def build_exchange(
    config: ExchangeConfig, start_us: int, plan: FaultPlan | None = None
) -> SimulatedExchange:
    """Return the exchange that a configuration describes, its market starting at a time."""
    plan = build_plan(config) if plan is None else plan
    products = _listed(config)
    interval_us = None if config.book_interval_ms is None else round(config.book_interval_ms * 1000)
    deep = products[:1] if "big_snapshot" in config.faults else ()
    pace = plan_pace(config.rate, len(products), interval_us, batched=config.dialect == "advanced")
    market = Market(products, config.seed, pace, start_us, deep)
    delisted = config.products[-1:] if "bad_product" in config.faults else ()
    kind = AdvancedDialect if config.dialect == "advanced" else ExchangeDialect
    return SimulatedExchange(market, kind(market, delisted), plan)


def _listed(config: ExchangeConfig) -> tuple[str, ...]:
    if config.dialect not in ("exchange", "advanced"):
        raise SettingsError(f"no such dialect: {config.dialect}; there are exchange and advanced")
    if not config.products or not all(config.products):
        raise SettingsError("products must name at least one product, like BTC-USD")
    if config.dialect == "exchange":
        return tuple(dict.fromkeys(config.products))
    # On Advanced Trade a -USDC product is the -USD one under another name.
    usd = (name[:-1] if name.endswith("-USDC") else name for name in config.products)
    return tuple(dict.fromkeys(usd))
