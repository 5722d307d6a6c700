"""Stages on this machine: run one once or on a timer, each report one line of JSON on stdout."""

import json
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from threading import Event
from types import FrameType
from typing import TextIO

from quotewatch.errors import QuoteWatchError, SettingsError
from quotewatch.local.existing import settings_of_run
from quotewatch.logs import configure_logs
from quotewatch.resources import Resources
from quotewatch.settings import load_settings
from quotewatch.stages import maintain, reconcile, redrive, write
from quotewatch.stages.port import Stage
from quotewatch.tables.repair import Repair

BUILDERS: Mapping[str, Callable[[Resources], Stage]] = {
    "write": write.build,
    "reconcile": reconcile.build,
    "maintain": maintain.build,
}
# Where a run on this machine does not say otherwise: what Scheduler does in the cloud.
SECONDS = {"write": 60.0, "reconcile": 300.0, "maintain": 600.0}

_FAILED = 1


def run_stage(
    name: str, *, once: bool, every_seconds: float | None, overrides: Mapping[str, object]
) -> int:
    """Run a stage; once, or until SIGTERM or Ctrl-C. Exit 1 if the last run failed."""
    configure_logs()
    resources = Resources(load_settings(**overrides))
    stop = Event()
    if not once:
        _stop_on_signals(stop)
    try:
        stage = BUILDERS[name](resources)
        failed = _report(stage)
        while not once and not stop.wait(every_seconds or SECONDS[name]):
            failed = _report(stage)
    finally:
        resources.close()
    return _FAILED if failed else 0


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
    if name not in BUILDERS:
        raise SettingsError(f"no such stage: {name}; there are {', '.join(BUILDERS)}")
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
