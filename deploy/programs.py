"""Run a program to its end and keep what it said; whoever stops waiting ends it."""

import asyncio
import json
import os
import shlex
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.errors import CommandError

_GRACE_SECONDS = 10.0  # between being asked to end and being made to


@dataclass(frozen=True, slots=True)
class Ran:
    """A program that has ended."""

    arguments: tuple[str, ...]
    code: int
    output: str  # standard output
    messages: str  # standard error

    @property
    def line(self) -> str:
        """The command as one pastes it into a shell."""
        return shlex.join(self.arguments)

    @property
    def complaint(self) -> str:
        """What it says is wrong, in one line."""
        said = [text.strip() for text in self.messages.splitlines() if text.strip()]
        errors = [text for text in said if text.startswith("ERROR:")]
        return (errors or said or [f"it ended with {self.code} and said nothing"])[-1]

    def must(self) -> "Ran":
        """Return itself, or raise if it failed."""
        if self.code:
            raise CommandError(f"{self.line}: {self.complaint}")
        return self

    def json(self) -> Any:  # noqa: ANN401 - whatever the program printed
        """Return what it printed."""
        try:
            return json.loads(self.output)
        except ValueError as error:
            raise CommandError(f"{self.line}: printed no JSON: {self.output[:200]!r}") from error


async def run(arguments: Sequence[str], folder: Path | None = None) -> Ran:
    """Run a program with nobody to answer its questions."""
    # Begun apart: who stops waiting at this very moment must still end what has been started.
    starting = asyncio.ensure_future(_start(arguments, folder))
    try:
        process = await asyncio.shield(starting)
        output, messages = await process.communicate()
    except asyncio.CancelledError:
        await _end(await starting)
        raise
    code = process.returncode if process.returncode is not None else -1
    return Ran(tuple(arguments), code, _text(output), _text(messages))


async def _start(arguments: Sequence[str], folder: Path | None) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=folder,
            env={**os.environ, "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"},
            # A group of its own: Ctrl-C comes to us alone, and we end all that it started.
            start_new_session=True,
        )
    except OSError as error:
        raise CommandError(f"{arguments[0]}: cannot be run: {error.strerror}") from error


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a program and what it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        _signal(process, number)
        with suppress(TimeoutError):
            # Until nobody holds its pipes any more: what it has started may outlive it.
            await asyncio.wait_for(process.communicate(), _GRACE_SECONDS)
            return


def _signal(process: asyncio.subprocess.Process, number: int) -> None:
    """Signal the whole group: gcloud may have started others."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
