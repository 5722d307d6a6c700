"""What a run with known input has exported, beside what it had to export."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar

from quotewatch.clock import NS_PER_SECOND
from quotewatch.metrics.catalogue import metrics_of
from quotewatch.metrics.recorder import Recorder
from tests.bus.clocks import HandClock
from tests.metrics.desk import NOON
from tests.metrics.exact.exports import counted, export_all
from tests.metrics.exported import Exported, by_all, one, series_of

Given = ParamSpec("Given")
Answer = TypeVar("Answer")


class KnownRun(Protocol):
    """What a module of a run has."""

    OWNERS: tuple[str, ...]

    def known_run(self, folder: Path) -> "Known":
        """Do what is known beforehand, in a folder of its own."""
        ...


@dataclass
class Known:
    """One run, by owner and metric."""

    products: int = 0
    found: dict[str, Exported] = field(default_factory=dict, repr=False)
    wanted: dict[str, Exported] = field(default_factory=dict, repr=False)

    def note(self, owner: str, recorder: Recorder, wanted: Exported) -> None:
        """Say what an owner had to record; it exports all of it, as every process does."""
        self.found[owner] = export_all(recorder, owner)
        begun = from_the_start(owner)
        wanted = begun | {name: begun.get(name, {}) | told for name, told in wanted.items()}
        series = sum(len(series_of(samples)) for samples in wanted.values())
        last = counted(series)
        self.wanted[owner] = wanted | {name: begun.get(name, {}) | last[name] for name in last}


def from_the_start(owner: str) -> Exported:
    """Return the counts that are there at 0: all that listed labels can say, if it is little."""
    return {
        metric.name: by_all(
            metric.labels, dict.fromkeys(itertools.product(*metric.owners[owner].values()), 0.0)
        )
        for metric in metrics_of(owner)
        if metric.kind == "counter" and metric.most is None and not metric.per_product
    }


def recorder_of(owner: str) -> Recorder:
    """Return a recorder that refuses the metrics of all others."""
    return Recorder("test", (owner,), now=lambda: NOON)


def taking(
    clock: HandClock, seconds: float, call: Callable[Given, Answer]
) -> Callable[Given, Answer]:
    """Return a call that takes so long."""

    @wraps(call)
    def slow(*given: Given.args, **named: Given.kwargs) -> Answer:
        clock.sleep(seconds)
        return call(*given, **named)

    return slow


def calls(stage: str, *, ok: int, failed: int, seconds: float, succeeded_ns: int) -> Exported:
    """Return what calls of a stage count: the newest one's seconds, when the last was well."""
    return {
        "stage_runs_total": one(ok, stage=stage, outcome="ok")
        | one(failed, stage=stage, outcome="failed"),
        "stage_run_seconds": one(seconds, stage=stage),
        "stage_last_success_timestamp_seconds": one(succeeded_ns / NS_PER_SECOND, stage=stage),
    }
