"""A recorded capture over a WebSocket, the same way again: a client subscribes and gets the recording.

Recorded spacing divided by the speed, or as fast as the reader reads; then a clean close.
Lines are `{received_at, message}`, or those of a truth file, of which what was sent is sent.
"""

import asyncio
import gzip
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from quotewatch.clock import Clock, SystemClock
from quotewatch.errors import CaptureError

_GZIP_MAGIC = b"\\x1f\\x8b"


class Line(msgspec.Struct, frozen=True):
    """One recorded message; of a truth file, one that was or was not sent."""

    message: str
    received_at: float | None = None
    t: float | None = None
    sent: bool = True

    @property
    def at(self) -> float:
        """Seconds since 1970 at which it came or went."""
        return self.received_at if self.received_at is not None else self.t or 0.0


@dataclass
class ReplayReport:
    """How often the capture was played, and how many messages were sent."""

    connections: int = 0
    messages: int = 0
    finished: int = 0


def read_capture(path: Path) -> Iterator[Line]:
    """Yield the messages of a capture in their order; a bad line stops with its number."""
    decoder = msgspec.json.Decoder(Line)
    with _opened(path) as file:
        for number, raw in enumerate(_lines(path, file), 1):
            try:
                line = decoder.decode(raw)
            except msgspec.DecodeError as error:
                raise CaptureError(f"{path}, line {number}: {error}; {_EXPECTED}") from error
            if line.received_at is None and line.t is None:
                raise CaptureError(f"{path}, line {number}: no time; {_EXPECTED}")
            if line.sent:
                yield line


_EXPECTED = 'expected {"received_at": seconds, "message": "text"}'
