"""Time a piece of work: fresh processes on one core, CPU time, the best of many. And print it."""

import gc
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_SHOWN = ("msgspec", "pyarrow", "zstandard", "websockets")
_LONGEST_SECONDS = 600


class MeasureError(Exception):
    """A measuring process failed; its last words are the message."""


def pin(*, first: bool = False) -> None:
    """Stay on one core, the last or the first, where the system allows it."""
    if sys.platform == "linux":
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(cores) if first else max(cores)})


def best_cpu_seconds(prepare: Callable[[], Callable[[], object]], passes: int) -> float:
    """Return the least CPU time of the prepared work; what `prepare` does is not counted."""
    best = float("inf")
    for _ in range(passes):
        work = prepare()
        gc.collect()
        gc.freeze()  # as the gateway does after its start
        best = min(best, cpu_seconds(work))
        gc.unfreeze()
    return best


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU time of one call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def measure(module: str, *arguments: str, path: Path | None = None) -> Any:  # noqa: ANN401 - JSON
    """Run `python -m module arguments` in a fresh process; return the JSON of its last line.

    `path` holds packages that go before those of this environment.
    """
    environment = dict(os.environ)
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        timeout=_LONGEST_SECONDS,
    )  # fmt: skip
    if done.returncode:
        raise MeasureError((done.stderr.strip() or "it said nothing").splitlines()[-1])
    return json.loads(done.stdout.splitlines()[-1])


def machine_facts() -> str:
    """Say what the numbers were measured on."""
    versions = " ".join(f"{name} {metadata.version(name)}" for name in _SHOWN)
    return (
        f"{os.cpu_count()} cores, {platform.machine()} {platform.system()},"
        f" {platform.python_implementation()} {platform.python_version()}, {versions}"
    )


def print_table(title: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Print rows as aligned columns, the keys of the first as heading."""
    print(f"\n{title}")
    if not rows:
        return
    heads = list(rows[0])
    lines = [[_shown(row.get(head)) for head in heads] for row in rows]
    widths = [max(len(head), *(len(line[at]) for line in lines)) for at, head in enumerate(heads)]
    for line in (heads, *lines):
        cells = [f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)]
        print("  " + "  ".join([line[0].ljust(widths[0]), *cells[1:]]))


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
