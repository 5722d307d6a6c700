"""Count the calls of a stage, whoever makes them: a function, the stack here, a command."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from quotewatch.clock import NS_PER_SECOND, Clock
from quotewatch.message import Message
from quotewatch.metrics.recorder import Recorder
from quotewatch.stages.port import PushedStage, Report, Stage

if TYPE_CHECKING:  # it is handed one; some doors start without what it would bring along
    from quotewatch.resources import Resources

ReportT = TypeVar("ReportT", bound=Report)


class Account:
    """The calls of one stage: how many, how they ended, how long the newest took."""

    def __init__(self, name: str, recorder: Recorder, clock: Clock) -> None:
        self._name = name
        self._recorder = recorder
        self._clock = clock

    def of(self, call: Callable[[], ReportT]) -> ReportT:
        """Make a call and count it; what it raises has failed, and is raised."""
        began = self._clock.monotonic()
        failed = True
        try:
            report = call()
            failed = report.failed
        finally:
            self._note(self._clock.monotonic() - began, failed=failed)
        return report

    def _note(self, seconds: float, *, failed: bool) -> None:
        stage, recorder = self._name, self._recorder
        recorder.inc("stage_runs_total", stage=stage, outcome="failed" if failed else "ok")
        recorder.set("stage_run_seconds", seconds, stage=stage)
        if not failed:
            at = self._clock.now_ns() / NS_PER_SECOND
            recorder.set("stage_last_success_timestamp_seconds", at, stage=stage)


def account_of(name: str, resources: "Resources") -> Account:
    """Return the account of a stage of this process."""
    return Account(name, resources.recorder, resources.clock)


class Counted:
    """A stage on a timer whose calls are counted."""

    def __init__(self, stage: Stage, account: Account) -> None:
        self._stage = stage
        self._account = account

    def run_once(self) -> Report:
        """Call it."""
        return self._account.of(self._stage.run_once)


class CountedPushed:
    """A stage that is pushed to, whose calls are counted."""

    def __init__(self, stage: PushedStage, account: Account) -> None:
        self._stage = stage
        self._account = account

    def handle(self, message: Message) -> Report:
        """Hand a message to it."""
        return self._account.of(lambda: self._stage.handle(message))
