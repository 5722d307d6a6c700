"""The stage `maintain` as a process, sweeping what is only seconds old: a setting refuses that.

`python -m benchmarks.soak_maintain SECONDS_OLD EVERY`. Safe only because no commit tries so long.
"""

import signal
import sys
from contextlib import closing
from threading import Event

from quotewatch.clock import SystemClock
from quotewatch.logs import configure_logs
from quotewatch.resources import Resources
from quotewatch.settings import load_settings
from quotewatch.stages.maintain import MaintainStage


def main(seconds_old: str, every: str) -> None:
    """Run until SIGTERM."""
    configure_logs()
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with closing(Resources(load_settings())) as resources:
        stage = MaintainStage(
            resources.committer,
            resources.recorder,
            SystemClock(),
            orphan_hours=float(seconds_old) / 3_600,
        )
        while not stop.is_set():
            stage.run_once()
            stop.wait(float(every))


if __name__ == "__main__":
    main(*sys.argv[1:3])
