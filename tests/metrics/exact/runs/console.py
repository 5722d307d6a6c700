"""A console on a terminal of its own: drawn three times, and then left alone."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from quotewatch.local.console import RunConsole
from quotewatch.local.tally import Tally
from tests.bus.clocks import HandClock
from tests.metrics.exact.known import Known, recorder_of, taking
from tests.metrics.exported import histogram, one

OWNERS = ("console",)
DRAWING_SECONDS = (0.004, 0.004, 0.03)
ALONE_SECONDS = 7.0


def known_run(_: Path) -> Known:
    known, recorder, clock = Known(), recorder_of("console"), HandClock()
    terminal = Console(file=io.StringIO(), width=120, height=40, force_terminal=True)
    with (
        RunConsole("a run", Tally(), console=terminal, clock=clock, recorder=recorder) as shown,
        pytest.MonkeyPatch.context() as patch,
    ):
        screen = RunConsole.screen
        for seconds in DRAWING_SECONDS:
            clock.sleep(0.25)
            patch.setattr(RunConsole, "screen", taking(clock, seconds, screen))
            shown.update()
    clock.sleep(ALONE_SECONDS)
    name = "dashboard_callback_duration_seconds"
    known.note(
        "console",
        recorder,
        {
            "dashboard_callbacks_total": one(3),
            name: histogram(name, DRAWING_SECONDS),
            "dashboard_update_age_seconds": one(ALONE_SECONDS),
        },
    )
    return known
