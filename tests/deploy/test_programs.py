"""What a program says is kept; one that nobody waits for any more does not live on."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from deploy import programs
from deploy.errors import CommandError
from deploy.programs import Ran, run

PATIENCE_SECONDS = 30.0

Start = Callable[[Sequence[str], Path | None], Awaitable[asyncio.subprocess.Process]]


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(CommandError, match="no-such-program: cannot be run: No such file"):
        asyncio.run(run(["no-such-program"]))


def test_it_has_nobody_to_ask() -> None:
    ran = asyncio.run(run([sys.executable, "-c", "input('Continue (Y/n)? ')"]))

    assert ran.code == 1
    assert ran.complaint.startswith("EOFError")


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        (
            "Deploying...\nERROR: (gcloud) no such project\nSee the page.\n",
            "ERROR: (gcloud) no such",
        ),
        ("something\nlast words\n", "last words"),
        ("", "it ended with 1 and said nothing"),
    ],
)
def test_the_complaint_is_the_line_that_says_what_is_wrong(messages: str, complaint: str) -> None:
    assert Ran(("gcloud",), 1, "", messages).complaint.startswith(complaint)


def test_an_answer_that_is_no_json_is_shown() -> None:
    with pytest.raises(CommandError, match="gcloud list: printed no JSON: 'Listed 0"):
        Ran(("gcloud", "list"), 0, "Listed 0 items.", "").json()


@pytest.mark.parametrize("when", ["it runs", "it is being started"])
def test_it_ends_with_all_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setattr("deploy.programs._GRACE_SECONDS", 0.2)
    alive = tmp_path / "alive"
    os.mkfifo(alive)
    # Neither ends when asked to, and both hold the pipe open as long as they live.
    script = f"trap '' TERM; exec 3>{alive}; echo up >&3; sleep 600; sleep 600"

    async def start_and_leave() -> bytes:
        left = asyncio.Event()
        if when == "it is being started":
            monkeypatch.setattr("deploy.programs._start", _returning_after(left))
        task = asyncio.create_task(run(["sh", "-c", script]))
        with await asyncio.to_thread(alive.open, "rb") as pipe:
            assert await asyncio.to_thread(pipe.readline) == b"up\n"
            task.cancel()
            asyncio.get_running_loop().call_soon(left.set)
            with pytest.raises(asyncio.CancelledError):
                await task
            return await asyncio.wait_for(asyncio.to_thread(pipe.read), PATIENCE_SECONDS)

    assert asyncio.run(start_and_leave()) == b""


def _returning_after(event: asyncio.Event) -> Start:
    """Return what starts a program, and comes back only after an event."""
    at_once = programs._start

    async def start(arguments: Sequence[str], folder: Path | None) -> asyncio.subprocess.Process:
        process = await at_once(arguments, folder)
        await event.wait()
        return process

    return start
