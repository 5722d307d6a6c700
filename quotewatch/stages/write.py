"""Drain the streams into their tables, each within its share of the time.

One stream that fails holds up no other.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from quotewatch.bus.port import Bus
from quotewatch.clock import Clock
from quotewatch.draining import LONGEST_AGE_SECONDS, Drain, StreamReport, Tools
from quotewatch.errors import QuoteWatchError
from quotewatch.logs import get_logger
from quotewatch.metrics.recorder import Recorder
from quotewatch.quarantine import Quarantine
from quotewatch.resources import Resources
from quotewatch.streams import STREAMS
from quotewatch.tables.commit import Committer

_log = get_logger("write")

LEAST_SECONDS = 0.1


@dataclass
class WriteReport:
    """One call, by stream."""

    seconds: float = 0.0
    streams: dict[str, StreamReport] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether a stream could not be written."""
        return any(each.error for each in self.streams.values())

    @property
    def drained(self) -> bool:
        """Whether every stream was read to its end."""
        return all(not each.error and not each.lag_seconds for each in self.streams.values())

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


class WriteStage:
    """Drains every stream, one after the other, each within its share of the time."""

    def __init__(
        self,
        bus: Bus,
        committer: Committer,
        quarantine: Quarantine,
        recorder: Recorder,
        clock: Clock,
        *,
        budget_seconds: float = 45.0,
        longest_age_seconds: float = LONGEST_AGE_SECONDS,
        wait_seconds: float = 0.0,
        streams: Sequence[str] = tuple(STREAMS),
        repair: Callable[[], bool] = lambda: False,
        first: Callable[[int], int] = random.randrange,
    ) -> None:
        self.tools = Tools(
            bus, committer, quarantine, recorder, clock,
            longest_age_seconds, wait_seconds, repair,
        )  # fmt: skip
        self._clock = clock
        self._budget_seconds = budget_seconds
        self._streams = streams
        self._first = first

    def run_once(self) -> WriteReport:
        """Drain all streams until they are empty or the time is over."""
        began, began_ns = self._clock.monotonic(), self._clock.now_ns()
        report = WriteReport()
        # Each call begins with another stream: one whose frame kills us each time must not keep
        # the same others waiting.
        first = self._first(len(self._streams))
        waiting = [*self._streams[first:], *self._streams[:first]]
        # A backlog in one stream leaves the others their share; what they do not need goes back.
        while waiting:
            left = began + self._budget_seconds - self._clock.monotonic()
            stream = waiting.pop(0)
            if left <= 0 and stream in report.streams:
                break
            # At least a look: a table that takes all the time must not take it every time.
            share = max(left / (len(waiting) + 1), LEAST_SECONDS)
            each = report.streams.setdefault(stream, StreamReport())
            if not self._drain(stream, each, began_ns, share):
                waiting.append(stream)
        report.seconds = round(self._clock.monotonic() - began, 3)
        for stream, each in report.streams.items():
            _log.info("drained", stream=stream, **asdict(each))
        return report

    def _drain(self, stream: str, report: StreamReport, began_ns: int, seconds: float) -> bool:
        """Drain one stream; return whether it is done with, for better or worse."""
        drain = Drain(self.tools, stream, report, began_ns, self._clock.monotonic() + seconds)
        try:
            return drain.run()
        except QuoteWatchError as error:
            report.error = str(error)
            _log.error("stream_failed", stream=stream, error=str(error))
        except Exception as error:  # noqa: BLE001 - the outer edge of one stream
            # A frame nobody thought of: its leases run out, and the other streams go on.
            report.error = f"{type(error).__name__}: {error}"
            _log.exception("stream_broke", stream=stream)
        return True


def build(resources: Resources) -> WriteStage:
    """Make the stage the settings ask for."""
    settings = resources.settings
    return WriteStage(
        resources.bus,
        resources.committer,
        Quarantine(resources.objects),
        resources.recorder,
        resources.clock,
        budget_seconds=settings.write_budget_s,
        # A lease that runs out costs no more than a second delivery, and yet: well within it.
        longest_age_seconds=min(LONGEST_AGE_SECONDS, settings.ack_deadline_s / 3),
        # In the cloud an empty answer is not quite certain.
        wait_seconds=1.0 if settings.bus == "pubsub" else 0.0,
        repair=resources.create_names,
    )
