"""A run made by hand: what was sent goes into a truth file, what came onto a bus, as told."""

from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from quotewatch.coinbase import exchange
from quotewatch.frames import Frame, FrameEncoder, FrameId
from quotewatch.local.exchange.truth import TruthLine
from quotewatch.local.proof.audit import Audit, audit
from quotewatch.local.proof.sources import BusFrames
from quotewatch.local.stack import open_local_bus
from quotewatch.streams import CAPTURED

EPOCH = "18e9e87bbb453c1c-c7e0d4a0"
START_US = 1_790_000_000_000_000
SYMBOL = "BTC-USD"
_OPTIONAL = dict.fromkeys(
    ("at", "symbol", "book", "stream", "from_id", "to_id", "count", "reason"), None
)

Row = dict[str, Any]


def text_of(us: int) -> str:
    seconds, fraction = divmod(us, 1_000_000)
    assert seconds == START_US // 1_000_000
    return f"2026-09-21T14:13:20.{fraction:06d}Z"


class MadeUpRun:
    """Lines of a truth file and frames on a bus."""

    def __init__(self, folder: Path) -> None:
        self.truth = folder / "truth.jsonl"
        self.bus = open_local_bus(folder / "bus.db")
        self._lines: list[bytes] = []
        self._seqs: Counter[tuple[str, str]] = Counter()
        self._encoder = FrameEncoder()
        self._arrival = -1

    # What was sent

    def say(
        self, message: exchange.Incoming, *, conn: int = 1, sent: bool = True,
        fault: str | None = None,
    ) -> None:  # fmt: skip
        self.say_raw(exchange.encode(message).decode(), conn=conn, sent=sent, fault=fault)

    def say_raw(self, text: str, *, conn: int = 1, sent: bool = True, fault: str | None) -> None:
        line = TruthLine(START_US / 1e6, conn, text, sent, fault)
        self._lines.append(msgspec.json.encode(line) + b"\n")

    # What came

    def publish(
        self, stream: str, rows: list[Row], *, epoch: str = EPOCH, times: int = 1
    ) -> FrameId:  # fmt: skip
        """Put a frame onto the bus so many times; 0 loses it."""
        identity = FrameId(stream, epoch, self._seqs[stream, epoch])
        self._seqs[stream, epoch] += 1
        batch = pa.RecordBatch.from_pylist(rows, schema=CAPTURED[stream].schema)
        frame = Frame(identity, "test", batch, START_US * 1_000, START_US * 1_000)
        for _ in range(times):
            self.bus.publish(stream, [self._encoder.encode(frame)])
        return identity

    def row(self, **columns: object) -> Row:
        self._arrival += 1
        return {"received_at": START_US, "conn": 1, "arrival": self._arrival, **columns}

    def event(self, kind: str, **columns: object) -> Row:
        return self.row(kind=kind, **{**_OPTIONAL, **columns})

    def end(self, *events: Row, reason: str = "1001", known: int = 1_000_000) -> None:
        """Publish the journal: what is told, the end of the connection, and how far all came."""
        final = [
            self.event("final", stream=stream, to_id=seq - 1)
            for (stream, _), seq in self._seqs.items()
        ]
        closing = self.event("close", reason=reason)
        newest = self.event("final", symbol=SYMBOL, stream="raw_trades", to_id=known)
        self.publish("events", [*events, closing, newest, *final])

    def audit(self) -> Audit:
        self.truth.write_bytes(b"".join(self._lines))
        return audit(BusFrames(self.bus), self.truth)

    # Both

    def update(self, number: int, *, conn: int = 1) -> Row:
        """Send a book update; return the row that should come of it, spelled differently."""
        us = START_US + number
        price = Decimal(65_000 + number)
        changes: list[tuple[exchange.MakerSide, str, str]]
        changes = [("buy", f"{price}.00000000", "1"), ("sell", f"{price}.5", "0.00000010")]
        self.say(exchange.L2Update(SYMBOL, changes, text_of(us)), conn=conn)
        stored = [
            {"side": "bid", "price": price, "size": Decimal(1)},
            {"side": "ask", "price": price + Decimal("0.5"), "size": Decimal("1E-7")},
        ]
        return self.row(
            symbol=SYMBOL, book=0, kind="update", changes=stored, exchange_time=us, feed_seq=None
        )  # fmt: skip

    def trade(
        self, number: int, *, conn: int = 1, sent: bool = True, fault: str | None = None
    ) -> Row:
        """Send a trade, or withhold it; return the row that should come of it."""
        time = text_of(START_US + number)
        match = exchange.Match(number, "buy", "0.25000000", "65000.50", SYMBOL, number, time)
        self.say(match, conn=conn, sent=sent, fault=fault)
        return self.row(
            symbol=SYMBOL, trade_id=number, price=Decimal("65000.5"), size=Decimal("0.25"),
            taker_side="sell", exchange_time=START_US + number, source="ws", live=True,
            sequence=number,
        )  # fmt: skip
