"""What the doors share: a request in, the stage's report as JSON out; 200, or 500 if it failed.

The stage is built on the first call and kept: nothing connects at import.
"""

import json
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

from flask import Response

from . import _root  # noqa: F401 - before anything of ours is imported

# isort: split
from quotewatch.errors import QuoteWatchError
from quotewatch.logs import configure_logs, get_logger
from quotewatch.resources import Resources
from quotewatch.settings import load_settings
from quotewatch.stages.port import Stage

StageT = TypeVar("StageT", bound=Stage)


class Door(Generic[StageT]):
    """One function: `build` makes its stage from the resources of this instance."""

    def __init__(self, name: str, build: Callable[[Resources], StageT]) -> None:
        self._name = name
        self._build = build
        self._stage: StageT | None = None
        self._opening = Lock()

    def answer(self) -> Response:
        """Run the stage once; Scheduler tries again what is answered with 500."""
        try:
            report = self._opened().run_once()
        except QuoteWatchError as error:
            get_logger(self._name).error("call_failed", error=str(error))
            return _json({"error": str(error)}, 500)
        return _json(report.plain(), 500 if report.failed else 200)

    def _opened(self) -> StageT:
        with self._opening:
            if self._stage is None:
                configure_logs()
                settings = load_settings()
                get_logger(self._name).info("settings", **settings.shown())
                self._stage = self._build(Resources(settings))
            return self._stage


def _json(body: object, status: int) -> Response:
    return Response(json.dumps(body), status, mimetype="application/json")
