"""The simulated exchange and the replay as commands: where to connect, then progress, a report.

Standard output carries JSON lines for whoever started us; progress goes to standard error.
"""

import asyncio
import errno
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from quotewatch.errors import SettingsError
from quotewatch.local.exchange.server import ExchangeConfig, ExchangeReport, serve_exchange
from quotewatch.local.replay import serve_replay

_REFRESH_SECONDS = 0.25


def simulate(config: ExchangeConfig) -> int:
    """Serve a simulated market until its seconds are over or somebody stops it.

    The report is printed when the market has ended, also where REST lingers on.
    """
    shown = _Shown(f"{config.dialect} feed", config.seconds)

    def ready(port: int) -> None:
        address = f"{config.host}:{port}"
        where = {"url": f"ws://{address}", "rest_url": f"http://{address}"}
        _say({**where, "dialect": config.dialect, "products": list(config.products)})

    def ended(report: ExchangeReport) -> None:
        shown.hide()
        _say(vars(report))

    async def serve(stop: asyncio.Event) -> None:
        async with shown:
            await serve_exchange(config, ready, stop, ended)

    asyncio.run(_until_stopped(serve))
    return 0


def replay(capture: Path, port: int, speed: float) -> int:
    """Serve a recording until somebody stops it."""

    def ready(port: int) -> None:
        _say({"url": f"ws://127.0.0.1:{port}", "capture": str(capture), "speed": speed})

    async def serve(stop: asyncio.Event) -> None:
        async with _Shown(capture.name, None):
            report = await serve_replay(capture, port, speed, ready, stop)
        _say(vars(report))

    asyncio.run(_until_stopped(serve))
    return 0


async def _until_stopped(serve: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        await serve(stop)
    except OSError as error:
        if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
            raise
        raise SettingsError(f"{error.strerror}; name another place, or --port 0") from error


def _say(record: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


class _Shown:
    """How long it has run, where somebody looks."""

    def __init__(self, title: str, seconds: float | None) -> None:
        self._seconds = seconds
        self._console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self._progress = Progress(
            *columns, console=self._console, auto_refresh=False, transient=True
        )
        self._task = self._progress.add_task(f"{title} · Ctrl-C stops", total=seconds)
        self._turning: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        if self._console.is_terminal:
            self._progress.start()
            self._turning = asyncio.create_task(self._turn())

    async def __aexit__(self, *_: object) -> None:
        self.hide()
        if self._turning is not None:
            await asyncio.wait([self._turning])

    def hide(self) -> None:
        """Leave the terminal to what is printed next."""
        if self._turning is not None:
            self._turning.cancel()
            self._progress.stop()

    async def _turn(self) -> None:
        task = self._progress.tasks[0]
        while True:
            self._progress.update(self._task, completed=task.elapsed or 0.0, refresh=True)
            await asyncio.sleep(_REFRESH_SECONDS)
