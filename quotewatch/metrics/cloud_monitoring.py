"""The exporter: what a recorder counted, to Cloud Monitoring, at most every ten seconds.

Never fatal and never in the way: what fails is counted, logged once per change of state, and
counters carry on with the next export. Nothing of Google's is imported before the first one.
"""

import os
import random
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from quotewatch.logs import get_logger
from quotewatch.metrics.place import Place, find_place
from quotewatch.metrics.recorder import Recorder, Sample

if TYPE_CHECKING:
    from google.cloud.monitoring_v3 import TimeSeries

    from quotewatch.metrics.sending import Outcome, Sender

SPACING_SECONDS = 10.0  # between two exports
LEAST_SPACING_SECONDS = 5.0  # Cloud Monitoring refuses points closer than that
TIMEOUT_SECONDS = 5.0
LONGEST_SPACING_SECONDS = 600.0  # while it does not answer: whoever is called must not wait often
_MOST_DOUBLED = 10
_LAST_SECONDS = 2.5  # kept of the time to end for the last export itself
_MARGIN_SECONDS = 0.2  # two clocks measure the same five seconds
_JITTER = 0.1

_log = get_logger("metrics")


class Exporter:
    """Exports one recorder. In the order of their lives: flush … flush, hold, close."""

    def __init__(
        self,
        recorder: Recorder,
        job: str,
        *,
        project: str,
        emulator: str = "",
        every_seconds: float = 60.0,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._recorder = recorder
        self._job = job
        self._project = project
        self._emulator = emulator
        self._every_seconds = every_seconds
        self._now = now
        self._monotonic = monotonic
        self._sleep = sleep
        self._suffix = ""
        self._reset()
        _EXPORTERS.add(self)

    def _reset(self) -> None:
        self._exporting = threading.Lock()
        self._stop = threading.Event()
        self._sender: Sender | None = None
        self._place: Place | None = None
        self._ended = 0.0  # wall time of the newest points
        self._sent_at: float | None = None  # monotonic
        self._state = "ok"
        self._silent = 0  # exports in a row that were not answered

    def start(self) -> None:
        """Export from now on in the background. Only for who has a processor at all times."""
        threading.Thread(target=self._run, name="metrics", daemon=True).start()

    def flush(
        self, least_seconds: float = SPACING_SECONDS, timeout_seconds: float | None = None
    ) -> bool:
        """Export unless the last one is newer than that; return whether it was done.

        While Cloud Monitoring does not answer it is asked less and less often.
        """
        rarer = least_seconds * 2 ** min(self._silent, _MOST_DOUBLED)
        least = max(least_seconds, min(rarer, LONGEST_SPACING_SECONDS))
        if not self._exporting.acquire(blocking=False):
            return False  # another thread is at it
        try:
            since = None if self._sent_at is None else self._monotonic() - self._sent_at
            if since is not None and since < least:
                return False
            self._export(timeout_seconds or TIMEOUT_SECONDS)
        finally:
            self._exporting.release()
        return True

    def hold(self) -> None:
        """Export no more in the background: soon the last values are known."""
        self._stop.set()

    def close(self, within_seconds: float = 8.0) -> None:
        """Export what was counted last, and let go. Waits where the last export was just now."""
        self.hold()
        deadline = self._monotonic() + within_seconds
        # One that is on its way is waited for.
        if self._exporting.acquire(timeout=max(0.1, within_seconds - _LAST_SECONDS)):
            self._export_last(deadline)
        else:
            _log.error("metrics_not_exported_last", reason="the export before has not ended")
        if self._sender is not None:
            self._sender.close()
            self._sender = None

    def _export_last(self, deadline: float) -> None:
        if self._sent_at is not None:
            may = self._sent_at + LEAST_SPACING_SECONDS + _MARGIN_SECONDS
            most = deadline - _LAST_SECONDS - self._monotonic()
            self._sleep(max(0.0, min(may - self._monotonic(), most)))
        left = max(0.5, deadline - self._monotonic())
        self._export(min(left, TIMEOUT_SECONDS))

    def _run(self) -> None:
        pause = self._every_seconds * random.uniform(0, 1)  # noqa: S311 - not all at once
        while not self._stop.wait(pause):
            self.flush(min(self._every_seconds, SPACING_SECONDS))
            pause = self._every_seconds * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311

    def _export(self, timeout_seconds: float) -> None:
        began = self._monotonic()
        try:
            outcome = self._try(began + timeout_seconds)
            self._note(outcome, self._monotonic() - began)
        except Exception:  # noqa: BLE001 - the outer edge: metrics never fail the work
            _log.exception("metrics_export_broke")

    def _try(self, deadline: float) -> "Outcome":
        from quotewatch.metrics.sending import Outcome, reason_of  # noqa: PLC0415 - takes 0.4 s

        samples = list(self._recorder.samples())
        outcome = Outcome()
        ended, self._sent_at = self._now(), self._monotonic()
        if not self._is_later(ended):
            what = (
                "the clock went back, or points would stand too close; the next export carries on"
            )
            outcome.lose("clock", len(samples), what)
            return outcome
        try:
            sender, place = self._opened()
            sender.prepare(self._recorder.metrics, deadline)
            outcome = sender.send(self._series(samples, place, ended), deadline)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
            outcome.lose(reason_of(error), len(samples), f"{type(error).__name__}: {error}")
        if outcome.taken or outcome.lost.keys() - {"refused", "descriptor", "denied"}:
            self._ended = ended  # they are there, or may be
        return outcome

    def _is_later(self, ended: float) -> bool:
        """Say whether points of this moment may follow those before; mend a start to come."""
        if not self._ended and ended <= self._recorder.started:
            # The clock was ahead when we began, and nothing of that time was taken.
            self._recorder.started = ended - 1
        return ended > self._recorder.started and ended >= self._ended + LEAST_SPACING_SECONDS

    def _opened(self) -> "tuple[Sender, Place]":
        from quotewatch.metrics.sending import Sender, connect  # noqa: PLC0415

        if self._place is None:
            self._place = find_place(
                self._project, self._job, in_cloud=not self._emulator, suffix=self._suffix
            )
        if self._sender is None:
            self._sender = Sender(
                connect(self._emulator), self._project,
                monotonic=self._monotonic, pause=self._sleep,
            )  # fmt: skip
        return self._sender, self._place

    def _series(self, samples: list[Sample], place: Place, ended: float) -> "list[TimeSeries]":
        from quotewatch.metrics.series import Period, series_of  # noqa: PLC0415

        period = Period(self._recorder.started, ended)
        made = (series_of(each, place.resource, period) for each in samples)
        return [each for each in made if each is not None]

    def _note(self, outcome: "Outcome", seconds: float) -> None:
        """Count what came of it; say so where it is another thing than before."""
        lost = +outcome.lost
        self._silent = self._silent + 1 if lost.keys() & {"unavailable", "timeout"} else 0
        result = "ok" if not lost else "partial" if outcome.taken else "failed"
        self._recorder.inc("metrics_exports_total", result=result)
        for reason, points in lost.items():
            self._recorder.inc("metrics_points_lost_total", points, reason=reason)
        self._recorder.set("metrics_export_seconds", seconds)
        state = " ".join([result, *sorted(lost)])
        if state == self._state:
            return
        self._state = state
        if not lost:
            _log.info("metrics_export_recovered", points=outcome.taken)
        else:
            _log.error("metrics_export_failed", result=result, lost=dict(lost), error=outcome.error)


_EXPORTERS: "weakref.WeakSet[Exporter]" = weakref.WeakSet()


def _after_fork() -> None:
    for exporter in _EXPORTERS:
        exporter._suffix = f"-{os.getpid()}"  # noqa: SLF001 - the parent goes on under the old name
        exporter._reset()  # noqa: SLF001


os.register_at_fork(after_in_child=_after_fork)
