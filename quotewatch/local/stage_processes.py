"""The stages of one run, each a process of its own on its timer; their reports are added up."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

from quotewatch.local.children import Child
from quotewatch.local.stack_metrics import told_where
from quotewatch.local.stage_runner import NAMES, PUSHED

# Seconds between two runs where everything lasts half a minute.
INTERVALS = {
    "write": 2.0, "predict": 1.0, "label": 10.0, "train": 3.0, "reconcile": 5.0, "maintain": 15.0,
}  # fmt: skip
SETTLE_SECONDS = "6"  # trades of frames that are on their way are not fetched


@dataclass
class StageTally:
    """What the stages have said so far."""

    inserted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    commits: int = 0
    healed: int = 0
    fetched: int = 0
    still_open: int = 0
    compacted: int = 0
    labelled: int = 0
    answers: int = 0
    models: dict[str, Any] = field(default_factory=dict)  # horizon -> what `train` said last
    errors: dict[str, str] = field(default_factory=dict)  # stage -> its newest

    def add(self, name: str, report: Mapping[str, Any]) -> None:
        """Take one report."""
        self.errors.pop(name, None)
        if report.get("error"):
            self.errors[name] = str(report["error"])
        for stream, each in report.get("streams", {}).items():
            self.inserted += each["inserted"]
            self.duplicate += each["duplicate"]
            self.quarantined += each["quarantined"]
            self.commits += each["commits"]
            if each["error"]:
                self.errors[name] = f"{stream}: {each['error']}"
        self.healed += report.get("healed", 0)
        self.fetched += report.get("fetched", 0)
        self.still_open = report.get("still_open", self.still_open)
        self.answers += report.get("answers", 0)
        for horizon, each in report.get("horizons", {}).items():
            self.labelled += each.get("labelled", 0)
            if "scores" in each:
                self.models[horizon] = each
            if each.get("error"):
                self.errors[name] = f"{horizon} ms: {each['error']}"
        for table, each in report.get("tables", {}).items():
            self.compacted += each["compacted_files"]
            if each["error"]:
                self.errors[name] = f"{table}: {each['error']}"


class StageProcesses:
    """All stages of a run. Each follows its own timer; one that dies ends the run."""

    def __init__(
        self,
        data: Path,
        environment: Mapping[str, str],
        intervals: Mapping[str, float] = INTERVALS,
    ) -> None:
        self.tally = StageTally()
        self._children = [
            Child(
                name,
                ["quotewatch", "stage", name, f"--every={intervals[name]}"],
                data / f"{name}.log",
                {**environment, **told_where(data, name)},
                speaks=True,
                # A gateway that waits loses its connections; answers are not to wait either.
                patient=name != PUSHED,
            )
            for name in NAMES
        ]
        self._listeners: list[Thread] = []

    def listen(self) -> None:
        """Begin to add up. Called when all children have been started: forks and threads differ."""
        for child in self._children:
            listener = Thread(target=self._listen, args=(child,), daemon=True)
            listener.start()
            self._listeners.append(listener)

    def check(self) -> None:
        """Raise if one of them has ended."""
        for child in self._children:
            child.check()

    def stop(self) -> None:
        """Let each finish the run it is in, and end."""
        for child in self._children:
            child.ask_to_stop()
        for child in self._children:
            child.stop()
        for listener in self._listeners:
            listener.join()

    def kill(self) -> None:
        """End them at once."""
        for child in self._children:
            child.kill()

    @property
    def logs(self) -> list[Path]:
        """Where they write."""
        return [child.log for child in self._children]

    def _listen(self, child: Child) -> None:
        with suppress(ValueError, OSError):  # its pipe was closed under us: the run is over
            for line in child.output:
                self.tally.add(child.name, json.loads(line))
