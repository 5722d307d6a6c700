"""Child processes of one run: each is stopped when the run ends, and its log tells why it died.

On Linux a child also ends when its parent is killed; elsewhere only what the parent still can do.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from quotewatch.errors import QuoteWatchError

ROOT = Path(__file__).parents[2]
STOP_SECONDS = 15.0  # the gateway takes up to 8 s by itself

_PR_SET_PDEATHSIG = 1
_TAIL_LINES = 15
_PATIENCE = 15  # of many that start at once while a gateway works


class ChildError(QuoteWatchError):
    """A child process ended that should have gone on; the message shows the end of its log."""


class Child:
    """One `python -m …`, its standard error in a log file."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        *,
        speaks: bool = False,
        patient: bool = False,
    ) -> None:
        self.name = name
        self.log = log
        self.stopping = False
        with log.open("ab") as errors:
            self._process = subprocess.Popen(  # noqa: S603 - our own modules
                [sys.executable, "-m", *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if speaks else errors,
                stderr=errors,
                env=_with_path(environment),
                # A session of its own: Ctrl-C in the terminal is for the parent, which stops its
                # children in the right order.
                start_new_session=True,
                # Safe here: no thread is running when children start.
                preexec_fn=_before(patient=patient),  # noqa: PLW1509
            )

    @property
    def returncode(self) -> int | None:
        """The exit code once it has ended; minus the signal's number if that ended it."""
        return self._process.poll()

    @property
    def output(self) -> IO[bytes]:
        """What it says on standard output, if it speaks."""
        if self._process.stdout is None:
            raise ChildError(f"{self.name} was started without a pipe to speak into")
        return self._process.stdout

    def has_spoken(self) -> bool:
        """Say whether a line, or the end of all lines, can be read without waiting."""
        return bool(select.select([self.output], [], [], 0)[0])

    def next_line(self) -> bytes:
        """Wait for its next line; one that dies instead is an error."""
        line = self.output.readline()
        if not line:
            self._process.wait(STOP_SECONDS)
            raise self.death()
        return line

    def check(self) -> None:
        """Raise if it has ended without being asked to."""
        if self.returncode is not None and not self.stopping:
            raise self.death()

    def death(self) -> ChildError:
        """Say how it ended, with the end of its log."""
        return ChildError(
            f"the {self.name} ended early ({_ended(self.returncode)}); its log, {self.log}, ends:\n"
            f"{self.tail()}"
        )

    def tail(self) -> str:
        """Return the last lines of its log."""
        lines = self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        return "\n".join(f"  {line}" for line in lines) or "  (nothing)"

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        self.stopping = True
        if self.returncode is None:
            self._process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """Stop it, the hard way if it does not obey, and return its exit code."""
        self.ask_to_stop()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        return self._process.wait()

    def kill(self) -> None:
        """End it at once."""
        self.stopping = True
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def _with_path(environment: Mapping[str, str]) -> dict[str, str]:
    # The children find the same code wherever the parent was started.
    others = environment.get("PYTHONPATH")
    path = f"{ROOT}{os.pathsep}{others}" if others else str(ROOT)
    return {**environment, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def _before(*, patient: bool) -> Callable[[], None]:
    """Return what a child does first: get SIGTERM when its parent dies, kill -9 included.

    A patient one lets all others go first on a busy machine.
    """
    # Looked up here: after the fork as little as possible happens.
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def prepare() -> None:
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if patient:
            os.nice(_PATIENCE)

    return prepare


def _ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
