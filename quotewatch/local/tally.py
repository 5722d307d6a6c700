"""What the frames of a run add up to: messages in, counts and latest values out. Pure.

Bounded, however long the run: what grows with time is counted, not kept.
"""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from quotewatch.frames import Frame, decode
from quotewatch.message import Message
from quotewatch.streams import CAPTURED, STREAMS

LAST_EVENTS = 8
_ROUTINE = frozenset({"high_water", "final"})
_TENTHS_OF_A_DAY = 864_000_000  # no latency is longer: the clock was set
_TRADE_MARKS = 20  # frames of trades that the rate of trades looks back


class SeqCheck:
    """The numbers of the frames of one (epoch, stream): holes and doubles."""

    def __init__(self) -> None:
        self.next = 0
        self.holes: set[int] = set()
        self.doubled = 0

    def see(self, seq: int) -> bool:
        """Take a number; return whether it is new."""
        if seq >= self.next:
            self.holes.update(range(self.next, seq))
            self.next = seq + 1
            return True
        if seq in self.holes:
            self.holes.discard(seq)
            return True
        self.doubled += 1
        return False

    def expect(self, last: int) -> None:
        """Take the number that the last frame must have had."""
        self.holes.update(range(self.next, last + 1))
        self.next = max(self.next, last + 1)


class Latencies:
    """Durations, counted by tenths of a millisecond."""

    def __init__(self) -> None:
        self._tenths: Counter[int] = Counter()

    def add(self, tenths: "pa.Array[Any]") -> None:
        """Add whole tenths of milliseconds."""
        counted = pc.value_counts(tenths)
        values, counts = (_list(counted.field(place)) for place in (0, 1))
        for value, count in zip(values, counts, strict=True):
            self._tenths[min(value, _TENTHS_OF_A_DAY)] += count

    def percentile(self, share: float) -> float | None:
        """Return the milliseconds that this share of all lies at or below."""
        left = share * self._tenths.total()
        for tenths in sorted(self._tenths):
            left -= self._tenths[tenths]
            if left <= 0:
                return tenths / 10
        return None


@dataclass
class StreamTally:
    """One stream."""

    frames: int = 0
    rows: int = 0
    bytes: int = 0
    newest_ns: int = 0  # when its newest row was received


@dataclass
class ProductTally:
    """One product: what was last heard of it."""

    mid: float | None = None
    spread_bps: float | None = None
    imbalance: float | None = None
    last_price: str | None = None
    book: int | None = None
    valid: bool = False
    trades: int = 0
    conn: int = 0


@dataclass(frozen=True)
class Event:
    """One entry of the journal worth showing."""

    at_us: int
    kind: str
    symbol: str | None
    text: str


@dataclass
class Tally:
    """Everything the console and the summary need."""

    streams: dict[str, StreamTally] = field(
        default_factory=lambda: {stream: StreamTally() for stream in STREAMS}
    )
    products: dict[str, ProductTally] = field(default_factory=dict)
    events: Counter[tuple[str, str]] = field(default_factory=Counter)  # (kind, reason)
    journal: deque[Event] = field(default_factory=lambda: deque(maxlen=LAST_EVENTS))
    numbers: dict[tuple[str, str], SeqCheck] = field(default_factory=dict)  # (epoch, stream)
    arrivals: dict[str, int] = field(default_factory=dict)  # epoch -> newest message number
    trade_marks: deque[tuple[int, Counter[str]]] = field(
        default_factory=lambda: deque(maxlen=_TRADE_MARKS)
    )
    missed_trades: int = 0
    latency: Latencies = field(default_factory=Latencies)
    answered: Latencies = field(default_factory=Latencies)  # from received to predicted

    @property
    def messages(self) -> int:
        """How many messages of the feed the gateway has read, as far as rows tell."""
        return sum(newest + 1 for newest in self.arrivals.values())

    @property
    def holes(self) -> int:
        """Frames that should have come."""
        return sum(len(check.holes) for check in self.numbers.values())

    @property
    def doubled(self) -> int:
        """Frames that came again."""
        return sum(check.doubled for check in self.numbers.values())

    def count_events(self, kind: str) -> Counter[str]:
        """Count the events of a kind by reason."""
        return Counter(
            {reason: count for (each, reason), count in self.events.items() if each == kind}
        )

    def add(self, message: Message, published_ns: int) -> None:
        """Take one frame of the bus; one that was seen before counts as doubled and no more."""
        frame = decode(message)
        identity = frame.id
        check = self.numbers.setdefault((identity.epoch, identity.stream), SeqCheck())
        if not check.see(identity.seq):
            return
        stream = self.streams[identity.stream]
        stream.frames += 1
        stream.rows += frame.rows.num_rows
        stream.bytes += len(message.data)
        stream.newest_ns = max(stream.newest_ns, frame.last_received_ns)
        if frame.rows.num_rows:
            self._look_into(frame, published_ns)

    def _look_into(self, frame: Frame, published_ns: int) -> None:
        epoch = frame.id.epoch
        if frame.id.stream in CAPTURED:
            newest = cast("int", pc.max(frame.rows.column("arrival")).as_py())
            self.arrivals[epoch] = max(self.arrivals.get(epoch, -1), newest)
        match frame.id.stream:
            case "features":
                self._add_features(frame.rows, published_ns)
            case "raw_trades":
                self._add_trades(frame)
            case "predictions":
                self.answered.add(_tenths(frame.rows, published_ns))
            case "events":
                for row in frame.rows.to_pylist():
                    self._add_event(row, epoch)

    def _product(self, symbol: str) -> ProductTally:
        return self.products.setdefault(symbol, ProductTally())

    def _add_features(self, rows: pa.RecordBatch, published_ns: int) -> None:
        self.latency.add(_tenths(rows, published_ns))
        for symbol, at in _last_places(rows).items():
            row = rows.slice(at, 1).to_pylist()[0]
            product = self._product(symbol)
            product.mid, product.spread_bps = row["mid"], row["spread_bps"]
            product.imbalance, product.book = row["imbalance"], row["book"]

    def _add_trades(self, frame: Frame) -> None:
        rows = frame.rows
        live: Counter[str] = Counter(_list(rows.filter(rows.column("live")).column("symbol")))
        self.trade_marks.append((frame.last_received_ns, live))
        for symbol, at in _last_places(rows).items():
            product = self._product(symbol)
            product.trades += live[symbol]
            product.last_price = format(rows.column("price")[at].as_py(), "f")

    def _add_event(self, row: Mapping[str, Any], epoch: str) -> None:
        kind, reason = row["kind"], (row["reason"] or "").partition(" ")[0]
        self.events[kind, reason] += 1
        if kind == "gap" and row["stream"] == "raw_trades":
            self.missed_trades += row["count"] or 0
        if kind == "final" and row["symbol"] is None and row["to_id"] is not None:
            self.numbers.setdefault((epoch, row["stream"]), SeqCheck()).expect(row["to_id"])
        self._follow_books(row)
        if kind not in _ROUTINE:
            received_us = int(row["received_at"].timestamp() * 1e6)
            self.journal.append(Event(received_us, kind, row["symbol"], _describe(row)))

    def _follow_books(self, row: Mapping[str, Any]) -> None:
        match row["kind"]:
            case "snapshot":
                product = self._product(row["symbol"])
                product.valid, product.book, product.conn = True, row["book"], row["conn"]
            case "invalid":
                self._product(row["symbol"]).valid = False
            case "close":
                for product in self.products.values():
                    if product.conn == row["conn"]:
                        product.valid = False


def _last_places(rows: pa.RecordBatch) -> dict[str, int]:
    """Return where each product's last row is."""
    return {symbol: at for at, symbol in enumerate(_list(rows.column("symbol")))}


def _tenths(rows: pa.RecordBatch, published_ns: int) -> "pa.Array[Any]":
    """Return how long each row took from the socket to the bus."""
    received_us = rows.column("received_at").cast(pa.int64())
    return pc.divide(pc.subtract(published_ns // 1_000, received_us), 100)


def _list(column: "pa.Array[Any]") -> list[Any]:
    values: list[Any] = column.to_pylist()
    return values


def _describe(row: Mapping[str, Any]) -> str:
    parts = []
    if row["from_id"] is not None:
        parts.append(f"{row['from_id']}–{row['to_id']}")  # noqa: RUF001 - a range of ids
    if row["count"] is not None:
        parts.append(f"{row['count']}")
    if row["reason"]:
        parts.append(row["reason"])
    return " · ".join(parts)
