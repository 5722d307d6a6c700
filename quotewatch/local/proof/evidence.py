"""What a run left behind, in the shape the audit compares by: frames in, evidence out."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from quotewatch.frames import Frame
from quotewatch.local.proof.row_keys import TradeId, book_key, trade_content
from quotewatch.local.proof.sources import Source
from quotewatch.local.proof.stored_rows import book_rows, trade_rows
from quotewatch.local.tally import SeqCheck
from quotewatch.streams import CAPTURED, REST_EPOCH

# Close codes after which something that was sent may not have come. After all others the close
# came in its turn, behind everything that was sent.
_BROKEN = frozenset({0, 1002, 1006, 1007, 1009})

# Said about requests, or once for many messages: not one for each message that was refused.
_NOT_OF_MESSAGES = frozenset({"bad_product", "refused", "unknown_product", "unknown_type"})

_AFTER_CRASH = "after_crash "  # and the epoch that died


class Conn(NamedTuple):
    """One connection of the gateway."""

    epoch: str
    number: int | None  # None: it came over REST


class StoredTrade(NamedTuple):
    """One row of raw_trades."""

    content: bytes
    conn: Conn


@dataclass
class Evidence:
    """Everything the bus says about completeness."""

    books: dict[bytes, list[Conn]] = field(default_factory=lambda: defaultdict(list))
    trades: dict[TradeId, list[StoredTrade]] = field(default_factory=lambda: defaultdict(list))
    rejected: Counter[str] = field(default_factory=Counter)  # by reason
    gaps: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    first: dict[str, int] = field(default_factory=dict)  # symbol -> oldest trade id known of
    known: dict[str, int] = field(default_factory=dict)  # symbol -> newest trade id known of
    broken: set[Conn] = field(default_factory=set)  # ended before they were read to their end
    crashed: set[str] = field(default_factory=set)  # epochs that ended without a word
    seqs: dict[tuple[str, str], SeqCheck] = field(default_factory=dict)  # (epoch, stream)
    doubled_rows: Counter[str] = field(default_factory=Counter)  # by stream
    dropped: Counter[str] = field(default_factory=Counter)  # rows let go of, by reason

    @property
    def rejected_messages(self) -> int:
        """How many messages of the feed were refused."""
        return sum(
            count for reason, count in self.rejected.items() if reason not in _NOT_OF_MESSAGES
        )

    def epochs(self) -> list[str]:
        """Name the producers' lives, oldest first."""
        return sorted({epoch for epoch, _ in self.seqs})

    def holes(self, stream: str) -> int:
        """Count the frames of a stream that should be there."""
        return sum(len(check.holes) for (_, each), check in self.seqs.items() if each == stream)

    def covers(self, trade: TradeId) -> bool:
        """Say whether a gap event names the trade."""
        return any(first <= trade.number <= last for first, last in self.gaps[trade.symbol])

    def precedes(self, trade: TradeId) -> bool:
        """Say whether the trade lies before the first one the gateway heard of, if it ever did."""
        return trade.number < self.first.get(trade.symbol, -1)

    def beyond(self, trade: TradeId) -> bool:
        """Say whether the trade lies after the last one the gateway could know of."""
        return trade.number > self.known.get(trade.symbol, -1)


def gather(source: Source) -> Evidence:
    """Read every frame of every stream."""
    evidence = Evidence()
    for stream in CAPTURED:
        for frame in source.frames(stream):
            if frame.id.epoch != REST_EPOCH:  # what reconcile fetched came in no frame
                seqs = evidence.seqs.setdefault((frame.id.epoch, stream), SeqCheck())
                if not seqs.see(frame.id.seq):
                    evidence.doubled_rows[stream] += frame.rows.num_rows
            _TAKERS[stream](evidence, frame)
    for symbol, first, last in source.gaps():
        evidence.gaps[symbol].append((first, last))
    for trade in evidence.trades:
        oldest = evidence.first.get(trade.symbol, trade.number)
        evidence.first[trade.symbol] = min(oldest, trade.number)
    return evidence


def frames_of(source: Source, stream: str, epoch: str) -> Iterator[Frame]:
    """Yield the frames of one producer's life in their order, each once."""
    frames = {frame.id.seq: frame for frame in source.frames(stream) if frame.id.epoch == epoch}
    for seq in sorted(frames):
        yield frames[seq]


def _take_books(evidence: Evidence, frame: Frame) -> None:
    for row in book_rows(frame):
        key = book_key(row.symbol, row.kind, row.exchange_us, row.changes)
        evidence.books[key].append(Conn(frame.id.epoch, row.conn))


def _take_trades(evidence: Evidence, frame: Frame) -> None:
    for row in trade_rows(frame):
        content = trade_content(row.price, row.size, row.taker_side, row.exchange_us)
        stored = StoredTrade(content, Conn(frame.id.epoch, row.conn))
        evidence.trades[TradeId(row.symbol, row.trade_id)].append(stored)


def _take_events(evidence: Evidence, frame: Frame) -> None:
    for row in frame.rows.to_pylist():
        _take_event(evidence, row, frame.id.epoch)


def _take_event(evidence: Evidence, row: dict[str, Any], epoch: str) -> None:
    reason = row["reason"] or ""
    match row["kind"]:
        case "start" if reason.startswith(_AFTER_CRASH):
            evidence.crashed.add(reason.removeprefix(_AFTER_CRASH))
        case "reject":
            evidence.rejected[reason] += 1
        case "gap" if row["stream"] == "raw_trades":
            evidence.gaps[row["symbol"]].append((row["from_id"], row["to_id"]))
        case "close":
            if _breaks(reason):
                evidence.broken.add(Conn(epoch, row["conn"]))
        case "drop" if reason != "duplicate":
            evidence.dropped[reason] += row["count"] or 0
        case "high_water" | "final" if row["to_id"] is not None:
            if row["symbol"] is not None:
                known = evidence.known
                known[row["symbol"]] = max(known.get(row["symbol"], -1), row["to_id"])
            else:
                seqs = evidence.seqs.setdefault((epoch, row["stream"]), SeqCheck())
                seqs.expect(row["to_id"])


def _breaks(reason: str) -> bool:
    """Judge a `close` event: a code and a text, or why the gateway hung up by itself."""
    code = reason.partition(" ")[0]
    return not code.isdecimal() or int(code) in _BROKEN


def _take_nothing(_: Evidence, __: Frame) -> None:
    """Features are judged by recomputing them; here only their numbers count."""


_TAKERS: dict[str, Callable[[Evidence, Frame], None]] = {
    "raw_orderbook": _take_books,
    "raw_trades": _take_trades,
    "features": _take_nothing,
    "events": _take_events,
}
