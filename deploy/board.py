"""Show a deploy while it goes on: what it says and who is at work, on a terminal or in a log."""

import asyncio
import shlex
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from rich.console import Console
from rich.text import Text

REFRESH_SECONDS = 0.5
PLAIN_SECONDS = 15.0  # between two lines where nothing can be redrawn


class Board:
    """Where everything is said. Lines stand as they are: no wrapping, no colours in commands."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)

    def say(self, text: str = "") -> None:
        """Say something."""
        self._console.print(text, markup=False)

    def command(self, arguments: Sequence[str]) -> None:
        """Show a command as one pastes it into a shell."""
        self.say(shlex.join(arguments))

    @asynccontextmanager
    async def showing(self, state: Callable[[], str]) -> AsyncIterator[None]:
        """Show a state that changes, until the block ends."""
        shown = asyncio.create_task(self._show(state))
        try:
            yield
        finally:
            shown.cancel()
            with suppress(asyncio.CancelledError):
                await shown

    async def _show(self, state: Callable[[], str]) -> None:
        if self._console.is_terminal:
            with self._console.status("") as status:
                while True:
                    status.update(Text(state()))
                    await asyncio.sleep(REFRESH_SECONDS)
        while True:
            await asyncio.sleep(PLAIN_SECONDS)
            self.say(state())
