"""A recorded capture: the path of a file in, its messages in their order out, nothing skipped.

Lines are `{received_at, message}`, or those of a truth file, of which what was sent counts.
"""

import gzip
import zlib
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from quotewatch.errors import QuoteWatchError

_EXPECTED = 'expected {"received_at": seconds, "message": "text"}'
_GZIP_MAGIC = b"\x1f\x8b"


class CaptureError(QuoteWatchError):
    """A capture that cannot be read; the message names file and line."""


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


def read_capture(path: Path) -> Generator[Line, None, None]:
    """Yield the messages of a capture; what is no such line stops with its number."""
    decoder = msgspec.json.Decoder(Line)
    for number, raw in enumerate(_raw_lines(path), 1):
        if not raw.strip():
            continue
        try:
            line = decoder.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CaptureError(f"{path}, line {number}: {error}; {_EXPECTED}") from error
        if line.received_at is None and line.t is None:
            raise CaptureError(f"{path}, line {number}: no time; {_EXPECTED}")
        if line.sent:
            yield line


def _raw_lines(path: Path) -> Generator[bytes, None, None]:
    number = 0
    try:
        with _opened(path) as file:
            for number, raw in enumerate(file, 1):  # noqa: B007 - named in the errors below
                yield raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CaptureError(f"{path}, after line {number}: damaged gzip: {error}") from error
    except OSError as error:
        raise CaptureError(f"{path}: cannot be read: {error}") from error


def _opened(path: Path) -> BinaryIO:
    # By its first bytes, not its name: captures get renamed.
    with path.open("rb") as file:
        packed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    return cast("BinaryIO", gzip.open(path)) if packed else path.open("rb")
