"""The end of a run: what is still on the bus goes into tables, missing trades are fetched.

Called when the gateway and the stages have stopped: nothing is in flight any more.
"""

import time
from contextlib import closing
from dataclasses import dataclass

from quotewatch.bus.sqlite import SqliteBus
from quotewatch.bus.topology import write_subscription
from quotewatch.logs import configure_logs
from quotewatch.resources import Resources
from quotewatch.settings import Settings
from quotewatch.stages import reconcile, write
from quotewatch.stages.reconcile import ReconcileReport
from quotewatch.streams import STREAMS, TABLES

# A writer that was killed holds its frames until their lease is over.
_DRAIN_SECONDS = 90.0
_PAUSE_SECONDS = 0.25


@dataclass(frozen=True)
class Settled:
    """What the tables hold at the end."""

    stored: dict[str, int]  # rows by table
    missing: dict[str, int]  # ids by table, as far as the tables themselves can tell
    losses: tuple[str, ...]  # what did not get there, in words


def settle(settings: Settings, bus: SqliteBus, *, heal_seconds: float) -> Settled:
    """Store what waits, heal what can be healed within a time, and count."""
    # What is missing now is missing: no frame is on its way that could bring it.
    last = {"settle_s": 0.0, "reconcile_budget_s": heal_seconds}
    with closing(Resources(settings.model_copy(update=last))) as opened:
        return _settle(opened, bus)


def _settle(opened: Resources, bus: SqliteBus) -> Settled:
    with (opened.settings.data_dir / "settling.log").open("a") as log:
        configure_logs(log)
        try:
            losses = _drain(opened, bus)
            reconciled = _heal(opened)
        finally:
            configure_logs()
    stored = {}
    for name in TABLES:
        table = opened.tables.find(name)
        snapshot = table.current_snapshot() if table is not None else None
        if snapshot is not None and snapshot.summary is not None:
            stored[name] = int(snapshot.summary["total-records"] or 0)
    if reconciled.error is not None:
        losses += (f"the tables could not be compared: {reconciled.error}",)
    return Settled(stored, reconciled.missing, losses)


def _drain(opened: Resources, bus: SqliteBus) -> tuple[str, ...]:
    stage = write.build(opened)
    deadline = time.monotonic() + _DRAIN_SECONDS
    while True:
        report = stage.run_once()
        waiting = {name: bus.backlog(write_subscription(name)).messages for name in STREAMS}
        if not any(waiting.values()) or time.monotonic() >= deadline:
            break
        time.sleep(_PAUSE_SECONDS)
    errors = {name: each.error or "in nobody's hands" for name, each in report.streams.items()}
    return tuple(
        f"{name}: {count} frames are on the bus and not in the table: {errors.get(name, '')}"
        for name, count in waiting.items()
        if count
    )


def _heal(opened: Resources) -> ReconcileReport:
    """Reconcile, again while the exchange does not answer."""
    stage = reconcile.build(opened)
    deadline = time.monotonic() + opened.settings.reconcile_budget_s
    while True:
        report = stage.run_once()
        if not report.unhealed or time.monotonic() >= deadline:
            return report
        time.sleep(_PAUSE_SECONDS)
