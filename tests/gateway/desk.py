"""A reader without sockets: messages in, the rows that would reach the bus out."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from ingest_gateway.dialect import DIALECTS
from ingest_gateway.journal import Journal
from ingest_gateway.lane import Lane
from ingest_gateway.tape import Tape
from quotewatch.clock import new_epoch
from quotewatch.coinbase.values import number_text, time_us
from quotewatch.frames import Frame, FrameEncoder, FrameId, decode
from quotewatch.market.replay import BookRow, TradeRow
from quotewatch.streams import CAPTURED

RECEIVED_US = 1_786_253_022_500_000
TIME = "2026-08-09T05:23:42.196708Z"
Row = dict[str, Any]


class Desk:
    """One connection's reader over a tape of its own."""

    def __init__(self, dialect: str, products: Sequence[str] = ("BTC-USD", "ETH-USD")) -> None:
        self.tape = Tape()
        self.tape.symbols.extend(products)
        self.journal = Journal(self.tape)
        self.lanes = {symbol: Lane(symbol, code) for code, symbol in enumerate(products)}
        self.kind = DIALECTS[dialect].reader
        self.reader = self.kind(1, self.tape, self.lanes, self.journal)
        self._rows: dict[str, list[Row]] = {stream: [] for stream in CAPTURED}
        self._seqs = dict.fromkeys(CAPTURED, 0)
        self._epoch = new_epoch(RECEIVED_US)

    def reconnect(self) -> None:
        """Begin a second connection, as Connection does."""
        for lane in self.lanes.values():
            if lane.book is not None:
                lane.end()
            lane.ids.interrupt()
        self.reader = self.kind(self.reader.conn + 1, self.tape, self.lanes, self.journal)

    def read(self, *messages: object, received_us: int = RECEIVED_US) -> None:
        """Take messages: bytes as they are, text and structs encoded."""
        for message in messages:
            raw = message.encode() if isinstance(message, str) else message
            if not isinstance(raw, bytes):
                raw = msgspec.json.encode(raw)
            self.reader.read(raw, received_us)

    def rows(self, stream: str) -> list[Row]:
        """Return all rows so far, through frames and back."""
        self.close_page(stream)
        return self._rows[stream]

    def close_page(self, stream: str) -> None:
        """End a window."""
        if not self.tape.rows_of(stream):
            return
        identity = FrameId(stream, self._epoch, self._seqs[stream])
        self._seqs[stream] += 1
        page = self.tape.take(stream)
        frame = Frame(identity, "desk", page.build(), RECEIVED_US * 1_000, RECEIVED_US * 1_000)
        self._rows[stream] += decode(FrameEncoder().encode(frame)).rows.to_pylist()

    def events(self, kind: str) -> list[Row]:
        """Return the events of one kind."""
        return [row for row in self.rows("events") if row["kind"] == kind]

    def reasons(self, kind: str) -> list[str | None]:
        """Return the reasons of the events of one kind."""
        return [row["reason"] for row in self.events(kind)]


def us_of(moment: datetime | None) -> int | None:
    """Return microseconds since 1970, null as it is."""
    if moment is None:
        return None
    return time_us(moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))


def plain(value: Decimal) -> str:
    """Spell a stored decimal."""
    return number_text(value)


def replay_rows(orderbook: Sequence[Row], trades: Sequence[Row]) -> list[BookRow | TradeRow]:
    """Turn stored rows into what `recompute` takes, in arrival order."""
    rows: list[BookRow | TradeRow] = []
    for row in orderbook:
        changes = [(c["side"], plain(c["price"]), plain(c["size"])) for c in row["changes"]]
        snapshot = row["kind"] == "snapshot"
        exchange_us = us_of(row["exchange_time"])
        rows.append(
            BookRow(row["symbol"], row["book"], snapshot, changes, exchange_us, row["arrival"])
        )
    for row in trades:
        exchange_us = us_of(row["exchange_time"])
        assert exchange_us is not None
        rows.append(
            TradeRow(
                row["symbol"],
                row["taker_side"] == "buy",
                plain(row["size"]),
                exchange_us,
                row["live"],
                row["arrival"],
            )
        )
    return sorted(rows, key=lambda row: row.arrival)
