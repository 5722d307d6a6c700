"""What a server sent, and what it would have sent but for a fault: one JSON object a line.

Lines stand in the order of sending. They are buffered: a killed server loses the last second.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import msgspec

from quotewatch.local.exchange.sessions import Shipment

_FLUSH_LINES = 2_000


class TruthLine(msgspec.Struct):
    """One line: at `t` seconds since 1970, over connection `conn` (0: nobody was connected)."""

    t: float
    conn: int
    message: str
    sent: bool
    fault: str | None


class TruthFile:
    """The file being written. Without a path nothing is."""

    def __init__(self, path: Path | None) -> None:
        self._lines: list[bytes] = []
        self._file: BinaryIO | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb")

    def write(self, now_ns: int, conn: int, shipments: Iterable[Shipment]) -> None:
        """Add what just left for one connection."""
        if self._file is None:
            return
        t = now_ns / 1e9
        encode = msgspec.json.encode
        self._lines += [
            encode(TruthLine(t, conn, str(s.text, "utf-8"), s.sent, s.fault)) for s in shipments
        ]
        if len(self._lines) >= _FLUSH_LINES:
            self.flush()

    def flush(self) -> None:
        """Hand what is buffered to the operating system."""
        if self._file is not None and self._lines:
            self._lines.append(b"")
            self._file.write(b"\n".join(self._lines))
            self._file.flush()
            self._lines.clear()

    def close(self) -> None:
        """Write the rest."""
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None
