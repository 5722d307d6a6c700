"""A demo as people run it, in a process of its own."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 120.0  # a busy machine is slow, not wrong
DIALECTS = ("exchange", "advanced")
STAGES = ("write", "predict", "label", "train", "reconcile", "maintain")
CHILDREN = ("ingest_gateway", "simulate", *(f"stage {name}" for name in STAGES))


class Demo:
    """One demo in a process of its own."""

    def __init__(
        self, folder: Path, *flags: str, environment: Mapping[str, str] | None = None
    ) -> None:
        folder.mkdir()
        self.data = folder / "data"
        self.truth = folder / "truth.jsonl"
        self.summary_file = folder / "summary.json"
        places = {"--data": self.data, "--truth": self.truth, "--summary": self.summary_file}
        named = [str(part) for place in places.items() for part in place]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "quotewatch", "demo", *named, *flags],
            cwd=ROOT, env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def end(self) -> str:
        """Wait for the end and return the screen."""
        screen, _ = self.process.communicate(timeout=PATIENCE_SECONDS)
        return screen

    @property
    def summary(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self.summary_file.read_text())
        return read

    def log(self) -> str:
        file = self.data / "gateway.log"
        return file.read_text() if file.exists() else ""

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, self.log()
            assert self.process.poll() is None, self.end()
            time.sleep(0.02)

    def wait_until_it_captures(self) -> None:
        self.wait_until(lambda: '"snapshot"' in self.log())

    def wait_until_all_run(self) -> dict[str, int]:
        self.wait_until_it_captures()
        self.wait_until(lambda: self.children().keys() == set(CHILDREN))
        return self.children()

    def children(self) -> dict[str, int]:
        """Return the processes it started, by what they run."""
        own = [(pid, command) for pid, parent, command in processes() if parent == self.process.pid]
        return {name: pid for pid, command in own for name in CHILDREN if f" {name}" in command}


@contextlib.contextmanager
def demos(folder: Path, *flags: str) -> Iterator[dict[str, Demo]]:
    """Run both dialects beside each other: a demo mostly waits for its market."""
    folder.mkdir(exist_ok=True)
    started = {name: Demo(folder / name, "--dialect", name, *flags) for name in DIALECTS}
    try:
        yield started
    finally:
        for each in started.values():
            each.process.kill()
            each.process.communicate()


@contextlib.contextmanager
def demo(folder: Path, *flags: str, environment: Mapping[str, str] | None = None) -> Iterator[Demo]:
    started = Demo(folder / "demo", *flags, environment=environment)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.communicate()


def processes() -> Iterator[tuple[int, int, str]]:
    """List every process, its parent and its command."""
    if not Path("/proc/self/stat").exists():
        listed = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
        ).stdout
        for line in listed.splitlines():
            pid, parent, command = line.split(maxsplit=2)
            yield int(pid), int(parent), command
        return
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended since
            after_name = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_text().replace("\0", " ")
            yield int(folder.name), int(after_name[1]), command
