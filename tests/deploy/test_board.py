"""Who waits sees what goes on: redrawn on a terminal, a line now and then in a log."""

import asyncio
import io

import pytest
from rich.console import Console

from deploy.board import Board

PATIENCE_SECONDS = 30.0


def shown(console: Console, said: io.StringIO, times: int) -> str:
    """Show a state until it has been asked for so often; return what was seen of it."""

    async def show() -> None:
        enough = asyncio.Event()
        left = iter(range(times, 0, -1))

        def state() -> str:
            if next(left, 0) == 0:
                enough.set()
            return "2 of 8 done"

        async with Board(console).showing(state), asyncio.timeout(PATIENCE_SECONDS):
            await enough.wait()

    asyncio.run(show())
    return said.getvalue()


def test_in_a_log_a_line_comes_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.board.PLAIN_SECONDS", 0.0)
    said = io.StringIO()

    assert shown(Console(file=said), said, 3).startswith("2 of 8 done\n2 of 8 done\n")


def test_on_a_terminal_it_is_redrawn_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.board.REFRESH_SECONDS", 0.0)
    said = io.StringIO()

    text = shown(Console(file=said, force_terminal=True, width=80), said, 3)

    assert "2 of 8 done" in text
    assert "2 of 8 done\n2 of 8 done\n" not in text


def test_a_command_is_shown_as_one_pastes_it() -> None:
    said = io.StringIO()

    Board(Console(file=said, soft_wrap=True, width=20)).command(["gcloud", "read", "a b", "[red]"])

    assert said.getvalue() == "gcloud read 'a b' '[red]'\n"
