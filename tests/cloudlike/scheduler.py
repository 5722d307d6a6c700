"""Cloud Scheduler: calls functions on their intervals, each job one call at a time.

At least once: a call that fails is made again, later and later, until it succeeds.
"""

import time
from collections.abc import Mapping
from http import HTTPStatus
from threading import Event, Thread

import urllib3

from tests.cloudlike.front import CALL_SECONDS, SCHEDULED

_FIRST_BACKOFF_SECONDS, _LONGEST_BACKOFF_SECONDS = 0.5, 5.0
_HEADERS = {"User-Agent": "Google-Cloud-Scheduler", SCHEDULED: "true"}


class Scheduler:
    """The jobs of one run."""

    def __init__(self, urls: Mapping[str, str], intervals: Mapping[str, float]) -> None:
        self._stop = Event()
        self._due = {name: Event() for name in intervals}
        self._jobs = [
            Thread(
                target=self._run, args=(name, urls[name], every), name=f"job {name}", daemon=True
            )
            for name, every in intervals.items()
        ]

    def start(self) -> None:
        """Begin; the first calls are made at once."""
        for job in self._jobs:
            job.start()

    def force(self, name: str) -> None:
        """Make the next call of a job now, as one can by hand."""
        self._due[name].set()

    def stop(self) -> None:
        """Make no further call; wait for those that are under way."""
        self._stop.set()
        for name in self._due:
            self.force(name)
        for job in self._jobs:
            if job.ident is not None:
                job.join()

    def _run(self, name: str, url: str, every_seconds: float) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            self._call(url)
            # What fell due meanwhile is left out: a job does not run beside itself.
            due = max(due + every_seconds, time.monotonic())
            self._due[name].wait(max(0.0, due - time.monotonic()))
            self._due[name].clear()

    def _call(self, url: str) -> None:
        backoff = _FIRST_BACKOFF_SECONDS
        while not _is_done(url) and not self._stop.wait(backoff):
            backoff = min(2 * backoff, _LONGEST_BACKOFF_SECONDS)


def _is_done(url: str) -> bool:
    try:
        answer = urllib3.request(
            "POST", url, headers=_HEADERS, timeout=2 * CALL_SECONDS, retries=False
        )
    except urllib3.exceptions.HTTPError:
        return False
    return answer.status == HTTPStatus.OK
