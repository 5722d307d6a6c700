"""What push subscriptions do in the cloud: messages of a subscription in, calls of a stage out."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from quotewatch.bus.port import Bus, Delivery
from quotewatch.errors import QuoteWatchError
from quotewatch.stages.port import PushedStage

_AT_ONCE = 20  # messages a pull
_WAIT_SECONDS = 0.25  # how long nobody asks whether to stop
_AGAIN_SECONDS = 1  # until a message that failed comes again


@dataclass
class PushReport:
    """What some seconds of pushing came to: the numbers of all reports, added up."""

    messages: int = 0
    again: int = 0  # messages that failed and come again
    totals: Counter[str] = field(default_factory=Counter)
    error: str | None = None

    @property
    def failed(self) -> bool:
        """Whether the newest message failed."""
        return self.error is not None

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "messages": self.messages, "again": self.again, **self.totals, "error": self.error,
        }  # fmt: skip


class Pump:
    """One subscription and the stage it is pushed to. A run lasts some seconds."""

    def __init__(
        self,
        bus: Bus,
        subscription: str,
        handler: PushedStage,
        *,
        seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self._subscription = subscription
        self._handler = handler
        self._seconds = seconds
        self._monotonic = monotonic

    def run_once(self) -> PushReport:
        """Push for some seconds; without a time what waits, to its end."""
        report = PushReport()
        ends = self._monotonic() + self._seconds
        while True:
            left = ends - self._monotonic()
            wait = max(0.0, min(left, _WAIT_SECONDS))
            deliveries = self._bus.pull(
                self._subscription, max_messages=_AT_ONCE, wait_seconds=wait
            )
            self._push(deliveries, report)
            # More may always be there: whoever was given a time keeps to it, and can be stopped.
            if left <= 0 and (self._seconds > 0 or not deliveries):
                return report

    def _push(self, deliveries: Sequence[Delivery], report: PushReport) -> None:
        for delivery in deliveries:
            try:
                said = self._handler.handle(delivery.message).plain()
            except QuoteWatchError as error:
                report.again += 1
                report.error = str(error)
                self._bus.release(
                    self._subscription, [delivery.ack_id], delay_seconds=_AGAIN_SECONDS
                )
                continue
            self._bus.ack(self._subscription, [delivery.ack_id])
            report.messages += 1
            report.error = None
            report.totals.update({k: v for k, v in said.items() if isinstance(v, int)})
