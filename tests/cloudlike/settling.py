"""The end of a run: schedules go on until nothing is left to store, answer, label or learn."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from quotewatch.intervals import Intervals
from quotewatch.streams import FEATURES, PREDICTIONS
from quotewatch.tables.catalog import Tables
from quotewatch.tables.commit import read_ledger
from quotewatch.tables.gaps import read_gaps
from tests.cloudlike.calls import Call
from tests.cloudlike.deployment import Deployment
from tests.cloudlike.plan import ACK_SECONDS, HORIZON_MS

_PATIENCE_SECONDS = 180.0  # for each part; what is lost for good is waited for in vain
_LEASE_SECONDS = ACK_SECONDS + 3.0  # after it, what the dead had leased comes again

Tell = Callable[[str], None]


def settle(deployment: Deployment, last_kill: float, tell: Tell) -> list[str]:
    """Wait for the end of all work once the gateway has ended; return what is left, in words."""
    waiting = _Waiting(deployment, tell)
    all_there = max(time.time(), last_kill + _LEASE_SECONDS)
    waiting.until("write has frames left", lambda: waiting.has_seen("write", all_there, _empty))
    waiting.until("frames of features have no answer", lambda: not unanswered(deployment.tables))
    waiting.until_done("reconcile", _nothing_new, also=lambda: not _open_gaps(deployment.tables))
    waiting.until_done("label", _nothing_labelled)
    waiting.until_done("train", _nothing_learnt)
    return waiting.left


def unanswered(tables: Tables) -> dict[str, Intervals]:
    """Return the frames of features that no frame of predictions answers, by epoch."""
    asked = done_frames(tables, FEATURES.name, FEATURES.name)
    answered = done_frames(tables, PREDICTIONS.name, PREDICTIONS.name)
    nothing = Intervals.none()
    left = {epoch: seqs - answered.get(epoch, nothing) for epoch, seqs in asked.items()}
    return {epoch: seqs for epoch, seqs in left.items() if seqs}


def done_frames(tables: Tables, table: str, source: str) -> dict[str, Intervals]:
    """Return the frames of a source that a table's rows came from, by epoch."""
    found = tables.find(table)
    epochs = {} if found is None else read_ledger(found).stream(source).epochs
    return {epoch: entry.done for epoch, entry in epochs.items()}


@dataclass
class _Waiting:
    deployment: Deployment
    tell: Tell

    def __post_init__(self) -> None:
        self.left: list[str] = []

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for one thing; what did not come is left."""

        def holds() -> bool:
            self.deployment.check()
            self.tell(what)
            return condition()

        if not self.deployment.calls.wait_for(holds, _PATIENCE_SECONDS):
            self.left.append(what)

    def until_done(
        self, function: str, idle: Callable[[Call], bool], also: Callable[[], bool] = lambda: True
    ) -> None:
        """Wait for a call from now on that finds nothing to do."""
        now = time.time()

        def is_done() -> bool:
            if self.has_seen(function, now, idle) and also():
                return True
            self.deployment.scheduler.force(function)
            return False

        self.until(f"{function} has work left", is_done)

    def has_seen(self, function: str, since: float, idle: Callable[[Call], bool]) -> bool:
        """Whether a call that began since then found nothing to do."""
        calls = self.deployment.calls.of(function, since=since)
        return any(call.ok and call.report is not None and idle(call) for call in calls)


def _empty(call: Call) -> bool:
    streams = (call.report or {})["streams"].values()
    return all(each["reads"] and not each["records"] for each in streams)


def _nothing_new(call: Call) -> bool:
    report = call.report or {}
    changes = ("opened", "healed", "permanent", "fetched")
    return not any(report[name] for name in changes) and not report["unhealed"]


def _nothing_labelled(call: Call) -> bool:
    if not call.looked:
        return False
    report = (call.report or {})["horizons"][str(HORIZON_MS)]
    return report["finished"] and not report["frames"]


def _nothing_learnt(call: Call) -> bool:
    report = (call.report or {})["horizons"][str(HORIZON_MS)]
    return report["finished"] and not report["batches"]


def _open_gaps(tables: Tables) -> int:
    """Count the gaps that may still close; that of the books is open since the gateway's end."""
    table = tables.find("gaps")
    gaps = [] if table is None else read_gaps(table)
    return sum(each.state == "open" and each.scope.kind != "book" for each in gaps)
