"""Try again what was put aside: quarantined bytes and dead letters in, rows out.

What still cannot be read stays where it is. What is stored leaves quarantine after the commit.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from quotewatch.bus.port import Bus, Delivery
from quotewatch.bus.topology import dead_subscription
from quotewatch.errors import QuoteWatchError
from quotewatch.logs import get_logger
from quotewatch.message import Message
from quotewatch.quarantine import Quarantine
from quotewatch.resources import Resources
from quotewatch.streams import STREAMS
from quotewatch.tables.commit import Committer
from quotewatch.tables.gathering import Arrived
from quotewatch.tables.intake import Intake, frame_of

_log = get_logger("redrive")


@dataclass
class RedriveReport:
    """One call."""

    found: int = 0
    redriven: int = 0
    inserted: int = 0  # rows
    duplicate: int = 0  # rows
    left: dict[str, str] = field(default_factory=dict)  # where it is -> why it stays

    @property
    def failed(self) -> bool:
        """Whether something stays."""
        return bool(self.left)

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


class RedriveStage:
    """Takes one message at a time: what kills its reader kills nothing else's chance."""

    def __init__(self, bus: Bus, committer: Committer, quarantine: Quarantine) -> None:
        self._bus = bus
        self._committer = committer
        self._quarantine = quarantine

    def run_once(self) -> RedriveReport:
        """Go through quarantine and all dead letters once."""
        report = RedriveReport()
        for aside in self._quarantine.messages():
            if self._take(aside.name, aside.message, aside.published_ns, report):
                self._quarantine.remove(aside)
        for stream in STREAMS:
            try:
                self._dead_letters(stream, report)
            except QuoteWatchError as error:  # the letters of the others have their turn
                report.left[dead_subscription(stream)] = str(error)
        _log.info("redriven", **report.plain())
        return report

    def _dead_letters(self, stream: str, report: RedriveReport) -> None:
        subscription = dead_subscription(stream)
        kept: dict[str, str] = {}
        for delivery in self._pulled(subscription):
            if delivery.message_id in kept:  # its lease is over: we have been through
                kept[delivery.message_id] = delivery.ack_id
                break
            place = f"{subscription} {delivery.message_id}"
            if self._take(place, delivery.message, delivery.published_ns, report):
                self._bus.ack(subscription, [delivery.ack_id])
            else:
                kept[delivery.message_id] = delivery.ack_id
        # Given back at the end: sooner, this loop would get them again.
        if kept:
            self._bus.release(subscription, list(kept.values()))

    def _pulled(self, subscription: str) -> Iterator[Delivery]:
        while deliveries := self._bus.pull(subscription, max_messages=1):
            yield from deliveries

    def _take(self, place: str, message: Message, published_ns: int, report: RedriveReport) -> bool:
        """Store one message; return whether it need not be kept any longer."""
        report.found += 1
        try:
            frame = frame_of(message)
            intake = Intake(self._committer, frame.id.stream)
            stored = intake.store([Arrived(frame, published_ns)])
        except QuoteWatchError as error:
            report.left[place] = str(error)
            return False
        except Exception as error:  # noqa: BLE001 - the outer edge of one message
            _log.exception("message_broke", place=place)
            report.left[place] = f"{type(error).__name__}: {error}"
            return False
        report.redriven += 1
        report.inserted += stored.inserted
        report.duplicate += stored.duplicate
        return True


def build(resources: Resources) -> RedriveStage:
    """Make the stage the settings ask for."""
    return RedriveStage(resources.bus, resources.committer, Quarantine(resources.objects))
