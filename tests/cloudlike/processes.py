"""Processes of one run: each leads a group of its own, writes a log, and never outlives the run."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Condition, Thread
from typing import IO, Literal, Self

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 120.0  # a busy machine is slow, not wrong
STOP_SECONDS = 30.0  # the gateway takes up to 8 s by itself, a function ends its call first
_TAIL_CHARACTERS = 2_000

Voice = Literal["stdout", "stderr"]


_QUIET_PORTS = range(20_000, 32_000)  # below those that outgoing connections take
_PORT_TRIES = 100


class CloudlikeError(Exception):
    """The run cannot go on; the message names the process and shows the end of its log."""


def quiet_port() -> int:
    """Name a free loopback port that is told to others before anybody listens there."""
    for port in random.sample(_QUIET_PORTS, _PORT_TRIES):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise CloudlikeError(f"none of {_PORT_TRIES} ports is free; end what listens on this machine")


class Guard:
    """Kills every group it was told of when this process ends, kill -9 included."""

    def __init__(self) -> None:
        self._reaper = subprocess.Popen(
            [sys.executable, "-m", "tests.cloudlike.reaper"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is not for it
        )

    def watch(self, group: int) -> None:
        """End this group, too."""
        self._say(f"+{group}\n")

    def forget(self, group: int) -> None:
        """It has ended: its number may soon be somebody else's."""
        self._say(f"-{group}\n")

    def close(self) -> None:
        """End what is left now."""
        self._reaper.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _say(self, line: str) -> None:
        assert self._reaper.stdin is not None
        self._reaper.stdin.write(line)  # one write, one line: threads need no lock of ours
        self._reaper.stdin.flush()


class Program:
    """One process. Its voice is listened to line by line; both its outputs go to the log."""

    def __init__(
        self,
        command: Sequence[str | Path],
        guard: Guard,
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        folder: Path = ROOT,
        voice: Voice = "stdout",
    ) -> None:
        self.log = log
        self.began = time.monotonic()
        self._guard = guard
        self._lines: list[str] = []
        self._silent = self._ended = False
        self._changed = Condition()
        with log.open("ab") as rest:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,  # some end with it
                stdout=subprocess.PIPE if voice == "stdout" else rest,
                stderr=subprocess.PIPE if voice == "stderr" else rest,
                start_new_session=True,
            )
        guard.watch(self.pid)
        pipe = self._process.stdout if voice == "stdout" else self._process.stderr
        assert pipe is not None
        self._listener = Thread(target=self._listen, args=(pipe,), daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """Its number, and that of its group."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code once it has ended."""
        return self._process.poll()

    @property
    def lines(self) -> list[str]:
        """What was heard so far."""
        with self._changed:
            return list(self._lines)

    def hear(self, pattern: str, seconds: float = PATIENCE_SECONDS) -> re.Match[str]:
        """Wait for a line; an end without it is an error."""
        deadline = time.monotonic() + seconds
        lines = 0
        while True:
            heard, silent = self._more_than(lines, deadline - time.monotonic())
            for line in heard:
                if found := re.search(pattern, line):
                    return found
            if silent or time.monotonic() >= deadline:
                raise CloudlikeError(f"{self} never said {pattern!r}; its log ends:\n{self.tail()}")
            lines += len(heard)

    def wait(self, seconds: float | None = None) -> int | None:
        """Wait until it and all it started have fallen silent; return the exit code."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._silent, seconds):
                return None
        code = self._process.wait()
        self._ended = True
        self._guard.forget(self.pid)
        assert self._process.stdin is not None
        self._process.stdin.close()
        return code

    def kill(self) -> None:
        """End the whole group with -9; once it has ended, its number may be somebody else's."""
        if not self._ended:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def end(self, seconds: float = STOP_SECONDS) -> int:
        """Ask it to end as the platform does, the hard way after a while; return its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        code = self.wait(seconds)
        if code is None:
            self.kill()
            code = self.wait()
        assert code is not None
        return code

    def tail(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(errors="replace")[-_TAIL_CHARACTERS:]

    def __str__(self) -> str:
        return f"{self.log.stem} (process {self.pid}, exit code {self.returncode})"

    def _more_than(self, lines: int, seconds: float) -> tuple[list[str], bool]:
        """Wait for more lines than so many; return them, and whether these were the last."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._lines) > lines or self._silent, seconds)
            return self._lines[lines:], self._silent

    def _listen(self, pipe: IO[bytes]) -> None:
        with pipe, self.log.open("ab") as log:
            for line in pipe:
                log.write(line)
                log.flush()
                with self._changed:
                    self._lines.append(line.decode(errors="replace"))
                    self._changed.notify_all()
        with self._changed:
            self._silent = True
            self._changed.notify_all()
