"""Every call that a function was sent, by whom, and how it was answered: kept, and written down."""

import json
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from threading import Condition
from typing import Any, Literal

Caller = Literal["scheduler", "push"]
_USUAL_SECONDS = 0.3  # of a call, before one has been seen
_REMEMBERED = 20


@dataclass(frozen=True, slots=True)
class Call:
    """One call and its answer. Instance 0: there was none to answer."""

    function: str
    caller: Caller
    instance: int
    began: float  # seconds since 1970
    seconds: float
    status: int
    broken: bool = False  # the instance died over it
    message: dict[str, str] | None = None  # the attributes of what was pushed
    report: dict[str, Any] | None = None  # of those that answer with one

    @property
    def ok(self) -> bool:
        """Whether the caller takes it for done."""
        return self.status == HTTPStatus.OK

    @property
    def looked(self) -> bool:
        """Whether the stage was called at all: `label` is pushed news that do not concern it."""
        return self.report is None or self.report.get("looked", True) is not False


class Calls:
    """The calls of one run, for any number of threads."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("w")
        self._calls: list[Call] = []
        self._changed = Condition()

    def add(self, call: Call) -> None:
        """Note one that has ended."""
        with self._changed:
            self._calls.append(call)
            self._file.write(json.dumps(asdict(call)) + "\n")
            self._changed.notify_all()

    def of(self, function: str, *, since: float = 0.0) -> list[Call]:
        """Return the calls of a function that began at that time or later."""
        with self._changed:
            return [c for c in self._calls if c.function == function and c.began >= since]

    def all(self) -> list[Call]:
        """Return all of them."""
        with self._changed:
            return list(self._calls)

    def counts(self) -> dict[str, Counter[int]]:
        """Count the answers of each function by status."""
        found: dict[str, Counter[int]] = {}
        for call in self.all():
            found.setdefault(call.function, Counter())[call.status] += 1
        return found

    def usual_seconds(self, function: str) -> float:
        """Say how long a call takes, by those that were answered last."""
        took = [each.seconds for each in self.of(function) if each.ok and each.looked]
        return statistics.median(took[-_REMEMBERED:]) if took else _USUAL_SECONDS

    def wait_for(self, condition: Callable[[], bool], seconds: float, pause: float = 1.0) -> bool:
        """Wait until something holds, looked at after each call and now and then."""
        deadline = time.monotonic() + seconds
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            with self._changed:
                self._changed.wait(min(left, pause))
        return True

    def close(self) -> None:
        """Finish the file."""
        with self._changed:
            self._file.close()
