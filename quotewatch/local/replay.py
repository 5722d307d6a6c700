"""A recorded capture over a WebSocket: a client subscribes and gets the recording as it was.

With the recorded spacing divided by the speed, or as fast as the reader reads; then a clean close.
"""

import asyncio
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from quotewatch.clock import Clock, SystemClock
from quotewatch.errors import SettingsError
from quotewatch.local.capture import CaptureError, read_capture

__all__ = ["CaptureError", "ReplayReport", "serve_replay"]

_sleep = asyncio.sleep  # named, so that a test can own the time
_CLOSE_SECONDS = 10  # a slow reader still has megabytes to read before it sees the close
_GREEDY_MESSAGES = 100  # messages between two looks at the other tasks, when the reader keeps up


@dataclass
class ReplayReport:
    """How often the capture was asked for and played to its end, and what was sent."""

    connections: int = 0
    finished: int = 0
    messages: int = 0


@dataclass(frozen=True)
class Recording:
    """What to play and how. Speed 0 is as fast as the reader reads."""

    path: Path
    speed: float
    keep_open: bool
    clock: Clock


class _Type(msgspec.Struct):
    type: str = ""


async def serve_replay(
    path: Path,
    port: int,
    speed: float,
    ready: Callable[[int], None] | None,
    stop: asyncio.Event,
    *,
    host: str = "127.0.0.1",
    keep_open: bool = False,
    clock: Clock | None = None,
) -> ReplayReport:
    """Serve a capture until stopped. A bad line is an error now, not when half of it is sent."""
    if speed < 0:
        raise SettingsError(f"speed {speed} is below zero; 0 is as fast as the reader reads")
    count = sum(1 for _ in read_capture(path))
    if not count:
        raise CaptureError(f"{path}: no messages in it")
    report = ReplayReport()
    recording = Recording(path, speed, keep_open, clock or SystemClock())
    converse = partial(_converse, recording=recording, report=report)
    async with serve(
        converse, host, port, ping_interval=None, close_timeout=_CLOSE_SECONDS
    ) as server:
        if ready is not None:
            ready(next(iter(server.sockets)).getsockname()[1])
        await stop.wait()
    return report


async def _converse(socket: ServerConnection, recording: Recording, report: ReplayReport) -> None:
    report.connections += 1
    playing: asyncio.Task[None] | None = None
    try:
        # Requests go on being read, or a full buffer of them would hide the client's close.
        async for text in socket:
            if playing is None and _subscribes(text):
                playing = asyncio.create_task(_play(socket, recording, report))
    except ConnectionClosed:
        pass
    finally:
        if playing is not None:
            playing.cancel()
            await asyncio.wait([playing])


def _subscribes(text: str | bytes) -> bool:
    try:
        return msgspec.json.decode(text, type=_Type).type == "subscribe"
    except msgspec.DecodeError:
        return False


async def _play(socket: ServerConnection, recording: Recording, report: ReplayReport) -> None:
    try:
        await _send_all(socket, recording, report)
        report.finished += 1
        if not recording.keep_open:
            await socket.close(1000, "end of the capture")
    except ConnectionClosed:
        return  # the client had enough


async def _send_all(socket: ServerConnection, recording: Recording, report: ReplayReport) -> None:
    clock = recording.clock
    begun, first_at = clock.monotonic(), None
    with closing(read_capture(recording.path)) as lines:
        for number, line in enumerate(lines):
            if first_at is None:
                first_at = line.at
            if recording.speed:
                due = begun + (line.at - first_at) / recording.speed
                await _sleep(max(0.0, due - clock.monotonic()))
            elif number % _GREEDY_MESSAGES == 0:
                await _sleep(0)
            await socket.send(line.message)  # waits while the reader is behind
            report.messages += 1
