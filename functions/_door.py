"""What the doors share: a stage that is built on the first call and kept, and its report as JSON.

Nothing connects at import. A report is answered with 200, or 500 if it failed. What was counted is
exported before the answer: between calls an instance may get no processor.
"""

import atexit
import json
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

from flask import Response

from . import _root  # noqa: F401 - before anything of ours is imported

# isort: split
from quotewatch.errors import QuoteWatchError
from quotewatch.logs import configure_logs, get_logger
from quotewatch.metrics.cloud_monitoring import SPACING_SECONDS
from quotewatch.settings import load_settings
from quotewatch.stages.accounting import account_of
from quotewatch.stages.port import Report, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from quotewatch.resources import Resources

_PUSHED_SECONDS = 3.0  # at most: a first export connects, and asks for the descriptors

BuiltT = TypeVar("BuiltT")
StageT = TypeVar("StageT", bound=Stage)
ReportT = TypeVar("ReportT", bound=Report)


class Opening(Generic[BuiltT]):
    """One function's stage: `build` makes it from the resources of this instance."""

    def __init__(self, name: str, build: "Callable[[Resources], BuiltT]") -> None:
        self.name = name
        self._build = build
        self._resources: Resources | None = None
        self._stage: BuiltT | None = None
        self._opening = Lock()

    def call(self, call: "Callable[[BuiltT], ReportT]", *, pushed: bool = False) -> ReportT:
        """Call the stage, built on the first call; count it, and export what was counted.

        What is called each minute is told of when it ends; of what is pushed now and then, since
        the next one waits meanwhile.
        """
        resources = self._open()
        account = account_of(self.name, resources)
        try:
            return account.of(lambda: call(self._built(resources)))
        finally:
            if pushed:
                resources.export(resources.settings.metrics_export_seconds, _PUSHED_SECONDS)
            else:
                resources.export(SPACING_SECONDS)

    def _built(self, resources: "Resources") -> BuiltT:
        with self._opening:
            if self._stage is None:
                self._stage = self._build(resources)
            return self._stage

    def _open(self) -> "Resources":
        # Imported here because it brings the tables along: a door that needs none starts without.
        from quotewatch.resources import Resources  # noqa: PLC0415

        with self._opening:
            if self._resources is None:
                configure_logs()
                settings = load_settings()
                get_logger(self.name).info("settings", **settings.shown())
                self._resources = Resources(settings, stages=(self.name,))
                # An instance that is taken away gets SIGTERM.
                atexit.register(self._resources.close)
            return self._resources


class Door(Opening[StageT], Generic[StageT]):
    """One function that is called over plain HTTP."""

    def answer(self) -> Response:
        """Run the stage once; Scheduler tries again what is answered with 500."""
        try:
            report = self.call(lambda stage: stage.run_once())
        except QuoteWatchError as error:
            get_logger(self.name).error("call_failed", error=str(error))
            return as_json({"error": str(error)}, 500)
        log = get_logger(self.name)
        said = report.plain()
        # Who deploys reads this in the log: nobody outside may call a function.
        (log.error if report.failed else log.info)("called", failed=report.failed, report=said)
        return as_json(said, 500 if report.failed else 200)


def as_json(body: object, status: int) -> Response:
    """Return a response."""
    return Response(json.dumps(body), status, mimetype="application/json")
