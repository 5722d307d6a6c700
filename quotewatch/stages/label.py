"""Label stored features: rows whose future is certain in, rows of `labels` out, each exactly once.

Works from tables and ledgers alone, so it does not matter who called, how often, or who died.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from quotewatch.clock import Clock
from quotewatch.errors import QuoteWatchError
from quotewatch.labelling import Labelling
from quotewatch.logs import get_logger
from quotewatch.metrics.recorder import Recorder
from quotewatch.resources import Resources
from quotewatch.tables.commit import Committer
from quotewatch.tables.histories import Histories
from quotewatch.tables.unlabelled import PORTION_ROWS

_log = get_logger("label")


@dataclass
class HorizonReport:
    """One horizon during one call, in rows of features but for `frames` and `batches`."""

    labelled: int = 0
    positive: int = 0
    undecidable: dict[str, int] = field(default_factory=dict)  # reason -> rows without a label
    waiting: int = 0  # of those looked at: their future is not certain yet
    frames: int = 0
    batches: int = 0
    finished: bool = True  # nothing was left to look at when the time was over


@dataclass
class LabelReport:
    """One call."""

    seconds: float = 0.0
    horizons: dict[str, HorizonReport] = field(default_factory=dict)
    error: str | None = None

    @property
    def failed(self) -> bool:
        """Whether the tables could not be read or written."""
        return self.error is not None

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


class LabelStage:
    """Labels every horizon, the oldest features first, within a time."""

    def __init__(
        self,
        committer: Committer,
        recorder: Recorder,
        clock: Clock,
        horizons_ms: Sequence[int],
        *,
        budget_seconds: float = 45.0,
    ) -> None:
        self._committer = committer
        self._recorder = recorder
        self._clock = clock
        self._horizons_ms = horizons_ms
        self._budget_seconds = budget_seconds

    def run_once(self) -> LabelReport:
        """Label what can be labelled now."""
        began = self._clock.monotonic()
        report = LabelReport()
        try:
            for at, horizon_ms in enumerate(self._horizons_ms):
                # A backlog of one leaves the others their share of the time.
                left = began + self._budget_seconds - self._clock.monotonic()
                share = max(0.0, left) / (len(self._horizons_ms) - at)
                each = report.horizons.setdefault(str(horizon_ms), HorizonReport())
                self._label(horizon_ms, each, self._clock.monotonic() + share)
        except QuoteWatchError as error:
            report.error = str(error)
        report.seconds = round(self._clock.monotonic() - began, 3)
        if not report.failed:  # then it has not seen what waits
            self._gauge(report)
        (_log.error if report.failed else _log.info)("labelled", **report.plain())
        return report

    def _label(self, horizon_ms: int, report: HorizonReport, deadline: float) -> None:
        histories = Histories(self._committer.tables)
        labelling = Labelling(self._committer, self._clock, histories, horizon_ms)
        undecidable: Counter[str] = Counter()
        began = self._clock.monotonic()
        for portion in labelling.portions():
            stored = labelling.store(portion)
            began = self._time(began)
            report.labelled += stored.rows
            report.positive += stored.positive
            report.frames += stored.frames
            report.batches += stored.batch is not None
            report.waiting += portion.waiting
            undecidable.update(stored.undecidable)
            self._recorder.inc("ml_samples_total", stored.positive, label="1")
            self._recorder.inc("ml_samples_total", stored.rows - stored.positive, label="0")
            if self._clock.monotonic() >= deadline:
                report.finished = False
                break
        report.undecidable = dict(undecidable)

    def _time(self, began: float) -> float:
        """Record how long a portion took; return the time now."""
        now = self._clock.monotonic()
        self._recorder.observe("pipeline_callback_duration_seconds", now - began, stage="labeler")
        return now

    def _gauge(self, report: LabelReport) -> None:
        waiting = sum(each.waiting for each in report.horizons.values())
        self._recorder.set("labeler_buffer_size", waiting)
        self._recorder.set("labeler_buffer_capacity", PORTION_ROWS * len(self._horizons_ms))


def build(resources: Resources) -> LabelStage:
    """Make the stage the settings ask for."""
    settings = resources.settings
    return LabelStage(
        resources.committer,
        resources.recorder,
        resources.clock,
        settings.horizon_ms,
        budget_seconds=settings.label_budget_s,
    )
