"""One estimate: so many products, this kind of gateway, these prices in; what a month costs out."""

import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from deploy.cost.facts import amount
from deploy.cost.invoice import Deployment, Invoice, Kind, alert_usages, invoice_of, naive_usages
from deploy.cost.tariff import Tariff
from deploy.cost.traffic import Traffic, traffic_of
from deploy.names import ROOT, functions, scheduled

ALL = round(amount("all_products"))
GATEWAY: Kind = "service"  # what terraform/gateway.tf makes; a test compares
_ALERTS = ROOT / "terraform" / "data" / "alert_policies.json"
_REFERENCE = re.compile(r"\w_googleapis_com:")


@dataclass(frozen=True)
class Estimate:
    """What a month costs."""

    products: int
    tariff: Tariff
    gateway: Kind = GATEWAY

    @cached_property
    def traffic(self) -> Traffic:
        """What goes through it."""
        return traffic_of(self.products)

    @cached_property
    def deployment(self) -> Deployment:
        """What it uses."""
        return Deployment(self.traffic, self.gateway, len(scheduled(functions())))

    @cached_property
    def invoice(self) -> Invoice:
        """What it costs."""
        return invoice_of(self.deployment.usages(), self.tariff)

    @property
    def further_month(self) -> float:
        """What each month of data costs for every month that it is kept."""
        return self.deployment.kept_gib * self.tariff["storage_gib"].dollars

    @property
    def alerts(self) -> Invoice:
        """What alerts will cost by the prices that are announced."""
        return invoice_of(alert_usages(references()), self.tariff)

    @property
    def naive(self) -> Invoice:
        """What the bus and one function alone would cost with one message an event."""
        return invoice_of(naive_usages(self.traffic.messages_a_second), self.tariff)

    @property
    def as_other_kind(self) -> float:
        """What the gateway would cost as the other kind of thing that is always on."""
        return Estimate(self.products, self.tariff, other(self.gateway)).invoice.of("gateway")

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "products": self.products,
            "gateway": self.gateway,
            "messages_a_second": self.traffic.messages_a_second,
            "dollars": self.invoice.dollars,
            "dollars_without_free_parts": self.invoice.list_dollars,
            "further_month": self.further_month,
            "alerts_announced": self.alerts.dollars,
            "one_message_an_event": self.naive.dollars,
            "lines": [
                {
                    "part": line.usage.part,
                    "price": line.usage.price,
                    "amount": line.usage.amount,
                    "dollars": line.dollars,
                }
                for line in self.invoice.lines
            ],
        }


def other(kind: Kind) -> Kind:
    """Return the other of the two."""
    return "pool" if kind == "service" else "service"


def references() -> int:
    """Count the metrics that alerts name: each time in each query."""
    policies = json.loads(_ALERTS.read_text())["policies"]
    return sum(len(_REFERENCE.findall(each["query"])) for each in policies.values())
