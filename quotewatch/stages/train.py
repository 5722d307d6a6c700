"""Learn from stored labels: whole batches in order in, the next version of each model out.

Everything follows from the labels: whoever learns the same batches gets the same model, bit for
bit, so it does not matter how often this is called, who else is at it, or where it dies.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from quotewatch.clock import Clock
from quotewatch.errors import QuoteWatchError
from quotewatch.learning.document import Version
from quotewatch.learning.trainer import load
from quotewatch.logs import get_logger
from quotewatch.metrics.recorder import Recorder
from quotewatch.objects.port import ObjectStore
from quotewatch.resources import Resources
from quotewatch.tables.catalog import Tables
from quotewatch.training import Training

_log = get_logger("train")


@dataclass
class ModelReport:
    """One horizon during one call. Scores are those of the newest version."""

    version: str | None = None
    ready: bool = False
    labels: int = 0  # it has learnt, in all
    batches: int = 0  # learnt in this call
    rows: int = 0
    unusable: int = 0  # of these: not finite, and so not learnt
    finished: bool = True  # no batch was left when the time was over
    scores: dict[str, Any] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)  # versions that do not load, and why
    error: str | None = None


@dataclass
class TrainReport:
    """One call."""

    seconds: float = 0.0
    horizons: dict[str, ModelReport] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether a model could not be brought up to date."""
        return any(each.error for each in self.horizons.values())

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


class TrainStage:
    """Brings the model of every horizon up to date, within a time."""

    def __init__(
        self,
        tables: Tables,
        objects: ObjectStore,
        recorder: Recorder,
        clock: Clock,
        horizons_ms: Sequence[int],
        *,
        budget_seconds: float = 45.0,
    ) -> None:
        self._tables = tables
        self._objects = objects
        self._recorder = recorder
        self._clock = clock
        self._horizons_ms = horizons_ms
        self._budget_seconds = budget_seconds

    def run_once(self) -> TrainReport:
        """Learn what is new."""
        began = self._clock.monotonic()
        report = TrainReport()
        for at, horizon_ms in enumerate(self._horizons_ms):
            left = began + self._budget_seconds - self._clock.monotonic()
            share = max(0.0, left) / (len(self._horizons_ms) - at)
            each = report.horizons.setdefault(str(horizon_ms), ModelReport())
            try:
                self._train(horizon_ms, each, self._clock.monotonic() + share)
            except QuoteWatchError as error:  # one horizon holds up no other
                each.error = str(error)
        report.seconds = round(self._clock.monotonic() - began, 3)
        (_log.error if report.failed else _log.info)("trained", **report.plain())
        return report

    def _train(self, horizon_ms: int, report: ModelReport, deadline: float) -> None:
        training = Training(self._tables, self._objects, horizon_ms)
        report.refused = training.refused
        _tell(report, training.stored)
        load()
        began = self._clock.monotonic()
        for step in training.steps():
            now = self._clock.monotonic()
            self._recorder.observe("ml_train_duration_seconds", now - began)
            report.batches += 1
            report.rows += step.rows
            report.unusable += step.unusable
            if now >= deadline:
                report.finished = False
                break
            began = now
        _tell(report, training.finish())


def _tell(report: ModelReport, version: Version | None) -> None:
    if version is not None:
        report.version, report.ready = version.model.version, version.model.ready
        report.labels = sum(version.model.classes)
        report.scores = version.report


def build(resources: Resources) -> TrainStage:
    """Make the stage the settings ask for."""
    settings = resources.settings
    return TrainStage(
        resources.tables,
        resources.objects,
        resources.recorder,
        resources.clock,
        settings.horizon_ms,
        budget_seconds=settings.train_budget_s,
    )
