"""The end of a run: what is on the bus goes into tables, is answered, labelled and learnt.

Called when the gateway and the stages have stopped: nothing is in flight any more.
"""

import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from quotewatch.bus.sqlite import SqliteBus
from quotewatch.bus.topology import PREDICT, write_subscription
from quotewatch.intervals import Intervals
from quotewatch.local.pushing import Pump
from quotewatch.local.stack_metrics import metrics_file
from quotewatch.local.table_listing import examine
from quotewatch.logs import configure_logs
from quotewatch.resources import Resources
from quotewatch.settings import Settings
from quotewatch.stages import label, predict, reconcile, train, write
from quotewatch.stages.accounting import CountedPushed, account_of
from quotewatch.stages.reconcile import ReconcileReport
from quotewatch.streams import FEATURES, PREDICTIONS, STREAMS, TABLES
from quotewatch.tables.commit import read_ledger

# A writer that was killed holds its frames until their lease is over.
_DRAIN_SECONDS = 90.0
_JOB = "settling"
_PAUSE_SECONDS = 0.25
_DERIVED = (PREDICTIONS.name, "labels")


@dataclass(frozen=True)
class Settled:
    """What the tables hold at the end."""

    stored: dict[str, int]  # rows by table
    missing: dict[str, int]  # ids by table, as far as the tables themselves can tell
    losses: tuple[str, ...]  # what did not get there, in words
    models: dict[str, Any] = field(default_factory=dict)  # horizon -> what was learnt
    doubled: dict[str, int] = field(default_factory=dict)  # rows by table, of what was derived


def settle(settings: Settings, bus: SqliteBus, *, heal_seconds: float) -> Settled:
    """Store what waits, heal what can be healed within a time, and count."""
    # What is missing now is missing: no frame is on its way that could bring it.
    last = {"settle_s": 0.0, "reconcile_budget_s": heal_seconds}
    with closing(Resources(settings.model_copy(update=last), job=_JOB)) as opened:
        return _settle(opened, bus)


def _settle(opened: Resources, bus: SqliteBus) -> Settled:
    with (opened.settings.data_dir / "settling.log").open("a") as log:
        configure_logs(log)
        try:
            losses = _drain(opened, bus)
            losses += _answer(opened, bus)
            reconciled = _heal(opened)
            learnt, unlearnt = _learn(opened)
        finally:
            configure_logs()
            opened.recorder.leave(str(metrics_file(opened.settings.data_dir, _JOB)))
    stored = {}
    for name in TABLES:
        table = opened.tables.find(name)
        snapshot = table.current_snapshot() if table is not None else None
        if snapshot is not None and snapshot.summary is not None:
            stored[name] = int(snapshot.summary["total-records"] or 0)
    if reconciled.error is not None:
        losses += (f"the tables could not be compared: {reconciled.error}",)
    missing = {**reconciled.missing, PREDICTIONS.name: _unanswered(opened)}
    return Settled(stored, missing, losses + unlearnt, learnt, _doubled(opened))


def _drain(opened: Resources, bus: SqliteBus) -> tuple[str, ...]:
    stage, account = write.build(opened), account_of("write", opened)
    deadline = time.monotonic() + _DRAIN_SECONDS
    while True:
        report = account.of(stage.run_once)
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


def _answer(opened: Resources, bus: SqliteBus) -> tuple[str, ...]:
    """Let what nobody has answered be answered, and store the answers."""
    if not bus.backlog(PREDICT).messages:
        return ()
    deadline = time.monotonic() + _DRAIN_SECONDS
    handler = CountedPushed(predict.build(opened), account_of("predict", opened))
    pump = Pump(bus, PREDICT, handler, seconds=0.0)
    report = pump.run_once()
    # One that `predict` has failed to answer, or held when it died, comes again after a while.
    while (left := bus.backlog(PREDICT).messages) and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)
        report = pump.run_once()
    losses = _drain(opened, bus)
    if left:
        losses += (f"predictions: {left} frames of features have no answer: {report.error}",)
    return losses


def _learn(opened: Resources) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Label what can be labelled and learn it."""
    labelled = account_of("label", opened).of(label.build(opened).run_once)
    trained = account_of("train", opened).of(train.build(opened).run_once)
    errors = {"labels": labelled.error}
    errors |= {f"model of {each} ms": said.error for each, said in trained.horizons.items()}
    losses = tuple(f"{name}: {error}" for name, error in errors.items() if error)
    return trained.plain()["horizons"], losses


def _unanswered(opened: Resources) -> int:
    """Count the features frames that have no predictions frame of their name."""
    asked, answered = (_frames(opened, name) for name in (FEATURES.name, PREDICTIONS.name))
    nothing = Intervals.none()
    return sum((seqs - answered.get(epoch, nothing)).count for epoch, seqs in asked.items())


def _frames(opened: Resources, name: str) -> dict[str, Intervals]:
    table = opened.tables.find(name)
    epochs = {} if table is None else read_ledger(table).stream(name).epochs
    return {epoch: entry.done for epoch, entry in epochs.items()}


def _doubled(opened: Resources) -> dict[str, int]:
    found = {name: opened.tables.find(name) for name in _DERIVED}
    there = {name: table for name, table in found.items() if table is not None}
    return {name: each.duplicates or 0 for name, each in examine(there, sys.stderr).items()}


def _heal(opened: Resources) -> ReconcileReport:
    """Reconcile, again while the exchange does not answer."""
    stage, account = reconcile.build(opened), account_of("reconcile", opened)
    deadline = time.monotonic() + opened.settings.reconcile_budget_s
    while True:
        report = account.of(stage.run_once)
        if not report.unhealed or time.monotonic() >= deadline:
            return report
        time.sleep(_PAUSE_SECONDS)
