"""A process that labels or trains and is killed at a named point.

python -m tests.stages.learn_worker FOLDER STAGE POINT; without a point it is left alone.
"""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from quotewatch import labelling
from quotewatch.learning.store import ModelStore
from quotewatch.resources import Resources
from quotewatch.settings import Settings
from quotewatch.stages import label, train
from quotewatch.stages.port import Stage
from quotewatch.tables import commit as commits

# point -> whose name is trapped; "after" lets the real one do its work first
POINTS: dict[str, dict[str, tuple[Any, str]]] = {
    "label": {"files": (labelling, "write_files"), "commit": (commits, "_send")},
    "train": {"create": (ModelStore, "create"), "advance": (ModelStore, "advance")},
}
BUILDERS: dict[str, Callable[[Resources], Stage]] = {"label": label.build, "train": train.build}


def main(folder: str, stage: str, point: str = "") -> None:
    if point:
        name, _, when = point.partition(" ")
        owner, attribute = POINTS[stage][name]
        real = getattr(owner, attribute)
        setattr(owner, attribute, _trap(real, after=when == "after"))
    settings = Settings.model_construct(data_dir=Path(folder))
    with closing(Resources(settings)) as resources:
        report = BUILDERS[stage](resources).run_once()
        if report.failed:
            raise AssertionError(report)


def _trap(real: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
    def sprung(*given: Any, **named: Any) -> Any:
        if after:
            real(*given, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    return sprung


if __name__ == "__main__":
    main(*sys.argv[1:])
