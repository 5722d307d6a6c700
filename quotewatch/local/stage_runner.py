"""Stages on this machine: run one once or on a timer, each report one line of JSON on stdout."""

import json
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from threading import Event
from types import FrameType
from typing import TextIO

from quotewatch.bus.topology import LABEL, PREDICT
from quotewatch.errors import QuoteWatchError, SettingsError
from quotewatch.local.existing import settings_of_run
from quotewatch.local.pushing import Pump
from quotewatch.logs import configure_logs
from quotewatch.resources import Resources
from quotewatch.settings import load_settings
from quotewatch.stages import label, maintain, predict, reconcile, redrive, train, write
from quotewatch.stages.accounting import Counted, CountedPushed, account_of
from quotewatch.stages.port import Stage
from quotewatch.tables.repair import Repair

# On a timer; features are pushed to `predict` instead.
BUILDERS: Mapping[str, Callable[[Resources], Stage]] = {
    "write": write.build,
    "label": label.build,
    "train": train.build,
    "reconcile": reconcile.build,
    "maintain": maintain.build,
}
PUSHED = "predict"
NAMES = (*BUILDERS, PUSHED)
# Where a run on this machine does not say otherwise: what Scheduler does in the cloud. `predict`
# says so often what it has done.
SECONDS = {
    "write": 60.0, "label": 300.0, "train": 300.0, "reconcile": 300.0, "maintain": 600.0,
    PUSHED: 10.0,
}  # fmt: skip

_FAILED = 1
_NUDGED = frozenset({"features", "events"})  # tables whose news `label` does not wait to hear
_LISTEN_SECONDS = 0.25  # at a time
_FAILED_SECONDS = 1.0  # until a push that failed is tried again


def run_stage(
    name: str, *, once: bool, every_seconds: float | None, overrides: Mapping[str, object]
) -> int:
    """Run a stage; once, or until SIGTERM or Ctrl-C. Exit 1 if the last run failed."""
    configure_logs()
    resources = Resources(load_settings(**overrides), stages=(name,))
    stop = Event()
    if not once:
        _stop_on_signals(stop)
    every = every_seconds or SECONDS[name]
    try:
        resources.recorder.leave(resources.settings.metrics_file)
        stage = _stage(name, resources, 0.0 if once else every)
        failed = _run(stage, resources)
        while not once and not _rest(name, resources, stop, every, failed=failed):
            failed = _run(stage, resources)
    finally:
        resources.close()
    return _FAILED if failed else 0


def _run(stage: Stage, resources: Resources) -> bool:
    failed = _report(stage)
    resources.export(resources.settings.metrics_export_seconds)
    resources.recorder.leave(resources.settings.metrics_file)
    return failed


def _stage(name: str, resources: Resources, seconds: float) -> Stage:
    account = account_of(name, resources)
    if name != PUSHED:
        return Counted(BUILDERS[name](resources), account)
    resources.create_names()
    handler = CountedPushed(predict.build(resources), account)
    return Pump(resources.bus, PREDICT, handler, seconds=seconds)


def _rest(name: str, resources: Resources, stop: Event, seconds: float, *, failed: bool) -> bool:
    """Wait for the next run; return whether there shall be none."""
    if name == PUSHED:  # its runs follow each other
        return stop.wait(_FAILED_SECONDS if failed else 0)
    if name != "label":
        return stop.wait(seconds)
    ends = time.monotonic() + seconds
    while not stop.is_set() and time.monotonic() < ends:
        try:
            if _has_news(resources):
                break
        except QuoteWatchError:  # then the timer alone says when
            stop.wait(_LISTEN_SECONDS)
    return stop.is_set()


def _has_news(resources: Resources) -> bool:
    """Listen a while for what `write` has committed, as a push would tell it."""
    resources.create_names()
    deliveries = resources.bus.pull(LABEL, max_messages=1_000, wait_seconds=_LISTEN_SECONDS)
    if deliveries:
        resources.bus.ack(LABEL, [each.ack_id for each in deliveries])
    return any(each.message.attributes.get("table") in _NUDGED for each in deliveries)


def _report(stage: Stage, out: TextIO | None = None) -> bool:
    try:
        report = stage.run_once()
    except QuoteWatchError as error:
        _say({"error": str(error)}, out)
        return True
    _say(report.plain(), out)
    return report.failed


def redrive_all(data: Path | None) -> int:
    """Try again what was put aside; exit 1 if something stays."""
    configure_logs()
    resources = Resources(settings_of_run(data))
    try:
        resources.create_names()
        return _FAILED if _report(redrive.build(resources)) else 0
    finally:
        resources.close()


def repair_ledger(table: str, data: Path | None) -> int:
    """Rebuild one table's ledger from its rows."""
    configure_logs()
    resources = Resources(settings_of_run(data))
    try:
        repaired = Repair(resources.committer, resources.clock).run(table)
    finally:
        resources.close()
    _say({"table": table, **asdict(repaired)})
    return 0


def check_stage(name: str) -> str:
    """Return the name, or refuse one that no stage has."""
    if name not in NAMES:
        raise SettingsError(f"no such stage: {name}; there are {', '.join(NAMES)}")
    return name


def _stop_on_signals(stop: Event) -> None:
    def ask(_: int, __: FrameType | None) -> None:
        stop.set()  # the run that goes on is finished first

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)


def _say(record: Mapping[str, object], out: TextIO | None = None) -> None:
    stream = out or sys.stdout
    stream.write(json.dumps(record) + "\n")
    stream.flush()
