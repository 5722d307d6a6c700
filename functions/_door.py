"""What the doors share: a stage that is built on the first call and kept, and its report as JSON.

Nothing connects at import. A report is answered with 200, or 500 if it failed.
"""

import json
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

from flask import Response

from . import _root  # noqa: F401 - before anything of ours is imported

# isort: split
from quotewatch.errors import QuoteWatchError
from quotewatch.logs import configure_logs, get_logger
from quotewatch.settings import load_settings
from quotewatch.stages.port import Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from quotewatch.resources import Resources

BuiltT = TypeVar("BuiltT")
StageT = TypeVar("StageT", bound=Stage)


class Opening(Generic[BuiltT]):
    """One function's stage: `build` makes it from the resources of this instance."""

    def __init__(self, name: str, build: "Callable[[Resources], BuiltT]") -> None:
        self.name = name
        self._build = build
        self._stage: BuiltT | None = None
        self._opening = Lock()

    def stage(self) -> BuiltT:
        """Return the stage, built on the first call."""
        with self._opening:
            if self._stage is None:
                self._stage = self._open()
            return self._stage

    def _open(self) -> BuiltT:
        # Imported here because it brings the tables along: a door that needs none starts without.
        from quotewatch.resources import Resources  # noqa: PLC0415

        configure_logs()
        settings = load_settings()
        get_logger(self.name).info("settings", **settings.shown())
        return self._build(Resources(settings))


class Door(Opening[StageT], Generic[StageT]):
    """One function that is called over plain HTTP."""

    def answer(self) -> Response:
        """Run the stage once; Scheduler tries again what is answered with 500."""
        try:
            report = self.stage().run_once()
        except QuoteWatchError as error:
            get_logger(self.name).error("call_failed", error=str(error))
            return as_json({"error": str(error)}, 500)
        return as_json(report.plain(), 500 if report.failed else 200)


def as_json(body: object, status: int) -> Response:
    """Return a response."""
    return Response(json.dumps(body), status, mimetype="application/json")
