"""What a month of a deployment comes to: traffic and prices in, lines in dollars out. Pure.

A month has 30 days. The free part of a price is shared by all that use it, as they use it.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from deploy.cost.facts import CALLS, Call, amount
from deploy.cost.tariff import Tariff
from deploy.cost.traffic import Stream, Traffic
from quotewatch.observability.billing import bill as metrics_bill

Kind = Literal["service", "pool"]

DAYS = 30
SECONDS = DAYS * 86_400
MINUTES = DAYS * 1_440
_MIB_A_GIB = 1_024
_GIB = 2**30
_TIB = 2**40
_THOUSAND, _MILLION = 1_000, 1_000_000


@dataclass(frozen=True)
class Usage:
    """What one part uses of one price in a month."""

    part: str
    price: str
    amount: float


@dataclass(frozen=True)
class Line:
    """A usage and what it costs: after the free part, and as if there were none."""

    usage: Usage
    dollars: float
    list_dollars: float


@dataclass(frozen=True)
class Invoice:
    """All lines of a month."""

    lines: tuple[Line, ...]

    @property
    def dollars(self) -> float:
        """The sum."""
        return sum(line.dollars for line in self.lines)

    @property
    def list_dollars(self) -> float:
        """The sum for an account that has used its free parts elsewhere."""
        return sum(line.list_dollars for line in self.lines)

    def of(self, part: str) -> float:
        """Return what one part costs."""
        return sum(line.dollars for line in self.lines if line.usage.part == part)


def invoice_of(usages: Iterable[Usage], tariff: Tariff) -> Invoice:
    """Price usages."""
    listed = list(usages)
    totals: defaultdict[str, float] = defaultdict(float)
    for each in listed:
        totals[each.price] += each.amount
    return Invoice(tuple(_line(each, totals[each.price], tariff) for each in listed))


def _line(usage: Usage, total: float, tariff: Tariff) -> Line:
    price = tariff[usage.price]
    share = usage.amount / total if total else 0.0
    return Line(usage, price.of(total) * share, usage.amount * price.dollars)


@dataclass(frozen=True)
class Deployment:
    """One deployment; `usages` is all that it uses."""

    traffic: Traffic
    gateway: Kind
    schedules: int

    def usages(self) -> Iterator[Usage]:
        """Yield what a month uses."""
        yield from self._gateway()
        yield from self._bus()
        yield from self._predict()
        for call in CALLS:
            yield from self._called(call)
        yield from self._tables()
        yield from self._around()

    # The gateway

    def _gateway(self) -> Iterator[Usage]:
        name = "always" if self.gateway == "service" else "pool"
        yield Usage("gateway", f"{name}_cpu", SECONDS * self.gateway_cpu)
        yield Usage("gateway", f"{name}_memory", SECONDS * self.gateway_gib)

    @property
    def gateway_cpu(self) -> int:
        """Processors the gateway is given."""
        return math.ceil(self.traffic.messages_a_second / amount("gateway_messages"))

    @property
    def gateway_gib(self) -> int:
        """Memory the gateway is given."""
        needed = amount("gateway_mib") + self.traffic.products * amount("book_mib")
        return math.ceil(needed * amount("gateway_room") / _MIB_A_GIB)

    # Pub/Sub

    def _bus(self) -> Iterator[Usage]:
        for stream in self.traffic.streams:
            published = stream.frames_a_second * stream.message_bytes
            pulled = max(stream.frames_a_second * stream.frame_bytes, _least_a_minute())
            yield Usage("Pub/Sub", "pubsub_tib", (published + pulled) * SECONDS / _TIB)
        pushed = self._features.frames_a_second * self._features.message_bytes
        yield Usage("Pub/Sub", "pubsub_tib", pushed * SECONDS / _TIB)
        announced = (
            2 * self._tables_written * max(amount("announced_bytes"), amount("least_request_bytes"))
        )
        yield Usage("Pub/Sub", "pubsub_tib", announced * MINUTES / _TIB)

    @property
    def _features(self) -> Stream:
        return self.traffic["features"]

    @property
    def _tables_written(self) -> int:
        return len(self.traffic.streams)

    # Functions

    def _predict(self) -> Iterator[Usage]:
        pushed = self._features.frames_a_second * SECONDS
        yield from _computed("predict", pushed, amount("predict_seconds"), 1)
        looks = SECONDS / amount("model_look_seconds")
        yield Usage("files", "storage_class_b", looks / _THOUSAND)
        yield Usage("logs", "logs_gib", pushed * amount("request_log_bytes") / _GIB)

    def _called(self, call: Call) -> Iterator[Usage]:
        times = MINUTES / call.minutes
        yield from _computed(call.function, times, self.call_seconds(call), call.memory_gib)
        written = call.commits * amount("commit_objects") + call.creates + call.lists
        read = call.reads * amount("requests_a_read")
        logged = amount("request_log_bytes") + call.lines * amount("line_bytes")
        yield Usage("files", "storage_class_a", times * written / _THOUSAND)
        yield Usage("files", "storage_class_b", times * read / _THOUSAND)
        yield Usage("catalog", "catalog_class_a", times * call.commits / _MILLION)
        yield Usage("catalog", "catalog_class_b", times * call.loads / _MILLION)
        yield Usage("logs", "logs_gib", times * logged / _GIB)

    def call_seconds(self, call: Call) -> float:
        """Return how long one call takes in the cloud."""
        rows = self._rows_a_second(call.function) * call.minutes * 60
        return (
            call.seconds
            + call.row_seconds * rows
            + call.loads * amount("load_seconds")
            + call.reads * amount("read_seconds")
            # The catalog writes the metadata itself.
            + (call.commits * (amount("commit_objects") - 1) + call.creates)
            * amount("create_seconds")
            + call.commits * amount("commit_seconds")
            + call.requests * amount("bus_seconds")
            + call.waits
        )

    def _rows_a_second(self, function: str) -> float:
        if function in {"write", "maintain"}:
            return sum(each.rows_a_second for each in self.traffic.streams)
        return self._features.rows_a_second

    # What is kept

    def _tables(self) -> Iterator[Usage]:
        yield Usage("storage", "storage_gib", self.kept_gib)
        replaced = self.kept_gib * amount("gone_days") / DAYS
        yield Usage("storage", "storage_gib", replaced + self._metadata_gib)

    @cached_property
    def kept_gib(self) -> float:
        """What the tables grow by in a month."""
        rows = sum(each.rows_a_second * each.stored_row_bytes for each in self.traffic.streams)
        labels = self._features.rows_a_second * amount("stored_label")
        return (rows + labels) * SECONDS / _GIB

    @property
    def _metadata_gib(self) -> float:
        commits = sum(call.commits * MINUTES / DAYS / call.minutes for call in CALLS)
        return commits * amount("gone_days") * amount("commit_bytes") / _GIB

    # Around it

    def _around(self) -> Iterator[Usage]:
        lines = amount("gateway_lines") * MINUTES * amount("line_bytes")
        yield Usage("logs", "logs_gib", lines / _GIB)
        yield Usage("metrics", "metrics_mib", metrics_bill(self.traffic.products).mib)
        yield Usage("schedules", "schedule", self.schedules)
        yield Usage("images", "images_gib", amount("images_gib"))
        yield Usage("secrets", "secret", amount("secrets"))


def _least_a_minute() -> float:
    """Return the bytes a second that pulling each minute, twice, counts at least."""
    return 2 * amount("least_request_bytes") / 60


def _computed(part: str, times: float, seconds: float, memory_gib: float) -> Iterator[Usage]:
    """Yield what calls use; each counts its time rounded up."""
    least = amount("least_call_seconds")
    counted = times * max(1, math.ceil(round(seconds / least, 6))) * least
    yield Usage(part, "call_cpu", counted)
    yield Usage(part, "call_memory", counted * memory_gib)
    yield Usage(part, "call_million", times / _MILLION)


def naive_usages(messages_a_second: float) -> Iterator[Usage]:
    """Yield what it takes to publish every message by itself and push it to a function."""
    part = "each message an event"
    messages = messages_a_second * SECONDS
    bytes_ = 2 * messages * amount("least_request_bytes")
    yield Usage(part, "pubsub_tib", bytes_ / _TIB)
    # Calls share instances. One that is called again within the time a call counts never rests.
    overlapping = min(1.0, messages_a_second * amount("least_call_seconds"))
    busy = max(overlapping, messages_a_second / amount("naive_calls_a_second"))
    yield Usage(part, "call_cpu", busy * SECONDS)
    yield Usage(part, "call_memory", busy * SECONDS)
    yield Usage(part, "call_million", messages / _MILLION)


def alert_usages(references: int) -> Iterator[Usage]:
    """Yield what alerts use that name so many metrics."""
    points = references * amount("alert_series") * amount("looks_a_month")
    yield Usage("alerts", "alert_reference", references)
    yield Usage("alerts", "alert_points", points / _MILLION)
