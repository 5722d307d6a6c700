"""The gateway as a process of its own, as the container runs it."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from tests.gateway.running import PATIENCE_SECONDS, Line, update

ROOT = Path(__file__).parents[2]


class Process:
    """One gateway process over a data folder."""

    def __init__(self, data: Path, url: str, **variables: str) -> None:
        self.log = data / f"gateway-{len(list(data.glob('gateway-*')))}.log"
        environment = {
            name: value for name, value in os.environ.items() if "QUOTEWATCH" not in name
        }
        environment |= {
            "PYTHONPATH": str(ROOT),
            "QUOTEWATCH_DATA_DIR": str(data),
            "QUOTEWATCH_FEED_URL": url,
            "QUOTEWATCH_HTTP_PORT": "0",
            "QUOTEWATCH_PRODUCTS": "BTC-USD",
            "QUOTEWATCH_FRAME_MS_FEATURES": "50",
            "QUOTEWATCH_FRAME_MS_RAW": "50",
        }
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "ingest_gateway"],
                env=environment | variables,
                stderr=log,
                cwd=data,
            )

    def lines(self, event: str) -> list[dict[str, object]]:
        """Return the log lines of one event so far."""
        texts = self.log.read_text().splitlines(keepends=True)
        whole = [text for text in texts if text.startswith("{") and text.endswith("\n")]
        records = [json.loads(text) for text in whole]
        return [record for record in records if record["event"] == event]

    def get(self, path: str) -> tuple[int, str]:
        """Ask its health server."""
        port = self.lines("listening")[0]["port"]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    async def end(self, number: int) -> int:
        """Signal it and wait for its exit code."""
        self.child.send_signal(number)
        return await asyncio.to_thread(self.child.wait, PATIENCE_SECONDS)


@contextlib.asynccontextmanager
async def process(data: Path, url: str, **variables: str) -> AsyncIterator[Process]:
    started = Process(data, url, **variables)
    try:
        yield started
    finally:
        if started.child.poll() is None:
            started.child.kill()
        await asyncio.to_thread(started.child.wait)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with contextlib.suppress(IndexError):  # the log line is not there yet
                if condition():
                    return
            await asyncio.sleep(0.02)


def endless(sent: list[int]) -> Callable[[Line], Awaitable[None]]:
    """Send numbered updates as fast as they are read; the first connection only."""

    async def talk(line: Line) -> None:
        await line.welcome()
        while not line.number:
            sent.append(len(sent) + 1)
            await line.send(update(size=str(sent[-1])))
            if not len(sent) % 50:
                await asyncio.sleep(0.01)
        await line.stay()

    return talk
