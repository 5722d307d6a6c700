"""Processes that run `write` and are killed at a named point, or find the disk full.

python -m tests.stages.worker, then one Job a line, as JSON, on standard input. Each is run by as
many processes as it says, forked from this one, so that the imports are paid for once. They print
their reports, one a line; when all have ended a line says how.
"""

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from quotewatch import draining as drains
from quotewatch.bus.sqlite import SqliteBus
from quotewatch.clock import NS_PER_SECOND
from quotewatch.frames import Frame
from quotewatch.message import Message
from quotewatch.metrics.recorder import Recorder
from quotewatch.objects.local import LocalObjects
from quotewatch.quarantine import Quarantine
from quotewatch.stages.write import WriteStage
from quotewatch.tables import commit as commits
from quotewatch.tables import intake as intakes
from quotewatch.tables.catalog import Tables, catalog_properties
from quotewatch.tables.commit import Committer


class Job(msgspec.Struct):
    """What one or several processes do."""

    folder: str
    processes: int = 1
    kill_at: str = ""
    kill_after: int = 0  # how often the point is passed before
    full_at: str = ""
    limit_bytes: int = 0  # of any file, while the disk is full
    pull_messages: int = 1_000
    commit_rows: int = 1_000
    until_empty: bool = False
    late_seconds: int = 0
    deadly_seq: int = -1  # of the frame that kills whoever decodes it


@dataclass(frozen=True)
class LateClock:
    """The time of this machine, moved: leases of who was killed are over."""

    seconds: int = 0

    def now_ns(self) -> int:
        return time.time_ns() + self.seconds * NS_PER_SECOND

    def monotonic(self) -> float:
        return time.monotonic()


@contextmanager
def opened(folder: Path, clock: LateClock) -> Iterator[WriteStage]:
    """Yield the stage as its function makes it, on the bus and tables of a folder."""
    with (
        closing(SqliteBus(folder / "bus.db", clock=clock)) as bus,
        closing(Tables(catalog_properties("", "", folder))) as tables,
    ):
        quarantine = Quarantine(LocalObjects(folder / "objects"))
        committer = Committer(tables, clock=clock)
        # Always the same stream first: a kill "between two streams" has to know which.
        recorder = Recorder("test")
        yield WriteStage(bus, committer, quarantine, recorder, clock, first=lambda _: 0)


def main() -> None:
    for line in sys.stdin:
        job = msgspec.json.decode(line, type=Job)
        children = [_forked(job) for _ in range(job.processes)]
        codes = [os.waitpid(child, 0)[1] for child in children]
        _say({"ended": [os.waitstatus_to_exitcode(code) for code in codes]})


def _forked(job: Job) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        _run(job)
        code = 0
    finally:
        os._exit(code)


def _run(job: Job) -> None:
    drains.PULL_MESSAGES, drains.COMMIT_ROWS = job.pull_messages, job.commit_rows
    with opened(Path(job.folder), LateClock(job.late_seconds)) as stage:
        _arm(stage, job)
        _poison(job.deadly_seq)
        while True:
            _say(stage.run_once().plain())
            if not job.until_empty or not any(
                stage.tools.bus.peek(f"{s}.write") for s in stage._streams
            ):
                return


def _say(what: dict[str, Any]) -> None:
    # One write call, so that lines of several processes do not mix.
    os.write(1, json.dumps(what).encode() + b"\n")


def _arm(stage: WriteStage, job: Job) -> None:
    """Put a trap at the point that was named."""
    point, _, when = (job.kill_at or job.full_at).partition(" ")
    if not point:
        return
    passed = iter(range(1_000_000))

    def sprung(real: Callable[..., Any]) -> Callable[..., Any]:
        def trap(*given: Any, **options: Any) -> Any:
            if job.full_at:
                with _full(job.limit_bytes):
                    return real(*given, **options)
            if next(passed) < job.kill_after:
                return real(*given, **options)
            if when == "after":
                real(*given, **options)
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError("killed processes do nothing")

        return trap

    places: dict[str, tuple[Any, str]] = {
        "pull": (stage.tools.bus, "pull"),
        "files": (intakes, "write_files"),
        "change": (commits, "_carry_out"),
        "commit": (stage.tools.committer.tables.catalog, "commit_table"),
        "quarantine": (stage.tools.quarantine, "put"),
        "announce": (stage.tools.bus, "publish"),
        "ack": (stage.tools.bus, "ack"),
    }
    owner, name = places[point]
    setattr(owner, name, sprung(getattr(owner, name)))


def _poison(deadly_seq: int) -> None:
    real = drains._decoded

    def decoded(message: Message, stream: str) -> Frame:
        frame = real(message, stream)
        if frame.id.seq == deadly_seq:
            os.kill(os.getpid(), signal.SIGKILL)
        return frame

    drains._decoded = decoded


@contextmanager
def _full(limit_bytes: int) -> Iterator[None]:
    """Let no file grow beyond a limit, as on a disk without room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


if __name__ == "__main__":
    main()
