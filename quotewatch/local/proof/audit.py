"""Prove a run: what it left behind against the truth file, row by row. A loss gets a number.

Every level-2 message that was sent must be there as often as it was sent, every trade once; what
the faults withheld must be named by the journal, and every spoilt message must have been refused.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from quotewatch.local.proof.evidence import Conn, Evidence, StoredTrade, gather
from quotewatch.local.proof.feature_check import check_features
from quotewatch.local.proof.sources import Source
from quotewatch.local.proof.truth_lines import Line, TruthReader
from quotewatch.streams import CAPTURED

if TYPE_CHECKING:
    from quotewatch.local.proof.row_keys import TradeId


@dataclass(frozen=True)
class Gaps:
    """Trades that did not come when they happened, by number of trades."""

    injected: int = 0  # withheld, sent while nobody listened, or cut off with their connection
    detected: int = 0  # of these: named by a gap event, or come since
    healed: int = 0  # of these: come since, within the snapshot of a later connection
    open: int = 0  # of these: not come since
    too_early: int = 0  # of these: older than anything the gateway heard of, so it cannot know
    too_late: int = 0  # of these: newer than anything the gateway heard of, so it cannot know


@dataclass(frozen=True)
class Audit:
    """What came of it. `missing` of features and events counts frames where rows are unknown."""

    sent: Counter[str]
    faults: Counter[str]
    missing: dict[str, int]
    duplicates: dict[str, int]
    unexpected: dict[str, int]
    gaps: Gaps
    rejected: Counter[str]
    cut_off: int
    losses: tuple[str, ...]  # what the faults do not explain, in words

    @property
    def is_lossless(self) -> bool:
        """Whether everything is there, once, or explained."""
        return not self.losses


def audit(source: Source, truth: Path) -> Audit:
    """Compare what is there with what was sent."""
    evidence = gather(source)
    comparison = _Comparison(evidence, one_row_per_trade=source.one_row_per_trade)
    for line in TruthReader().read(truth):
        comparison.take(line)
    return comparison.conclude(source)


@dataclass
class _Sent:
    """What was sent over one connection of the exchange, as far as the end of it matters."""

    votes: Counter[Conn] = field(default_factory=Counter)  # which connection of the gateway it is
    last_came: int = 0  # number of the last line that is known to have come
    absent: list[int] = field(default_factory=list)  # lines of books that are not there
    spoilt: list[int] = field(default_factory=list)

    @property
    def conn(self) -> Conn | None:
        return self.votes.most_common(1)[0][0] if self.votes else None


class _Comparison:
    """One truth file, line by line, against the evidence."""

    def __init__(self, evidence: Evidence, *, one_row_per_trade: bool) -> None:
        self._one_row_per_trade = one_row_per_trade
        self._evidence = evidence
        self._left = {key: list(conns) for key, conns in evidence.books.items()}
        self._sent: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._conns: dict[int, _Sent] = defaultdict(_Sent)
        self._sendings: dict[TradeId, list[tuple[int, int]]] = {}  # (connection, line)
        self._contents: dict[TradeId, bytes] = {}  # of every trade, sent or not
        self._withheld: set[TradeId] = set()
        self._spoilt: set[TradeId] = set()
        self._keys: set[bytes] = set()  # of all books that were sent
        self._cut_lines: set[int] = set()

    def take(self, line: Line) -> None:
        """Take the next line."""
        # The good text of a spoilt message stands beside it, withheld: one fault, not two.
        if line.fault is not None and (line.sent or line.fault != "malformed"):
            self._faults[line.fault] += 1
        for trade in line.trades:
            self._contents.setdefault(trade.id, trade.content)
        if not line.sent:
            kept = self._spoilt if line.fault == "malformed" else self._withheld
            kept.update(trade.id for trade in line.trades)
            return
        self._sent[line.kind] += 1
        sent = self._conns[line.conn]
        if line.spoilt:
            sent.spoilt.append(line.number)
        for key in line.books:
            self._take_book(sent, line.number, key)
        for trade in line.trades:
            self._sendings.setdefault(trade.id, []).append((line.conn, line.number))

    def _take_book(self, sent: _Sent, number: int, key: bytes) -> None:
        self._keys.add(key)
        left = self._left.get(key)
        if left:
            sent.votes[left.pop()] += 1
            sent.last_came = number
        else:
            sent.absent.append(number)

    def conclude(self, source: Source) -> Audit:
        """Say what is missing, doubled, cut off, and not explained."""
        self._follow_trades()
        self._cut_off()
        missing, duplicates, unexpected = self._judge_rows()
        if not any(missing[raw] + unexpected[raw] for raw in ("raw_orderbook", "raw_trades")):
            features = check_features(source, self._evidence.epochs(), self._evidence.crashed)
            missing["features"] = max(missing["features"], features.missing)
            duplicates["features"] += features.duplicates
            unexpected["features"] = features.unexpected
        gaps = self._judge_gaps()
        return Audit(
            self._sent,
            self._faults,
            missing,
            duplicates,
            unexpected,
            gaps,
            self._evidence.rejected,
            len(self._cut_lines),
            tuple(self._losses(missing, duplicates, unexpected, gaps)),
        )

    # The end of each connection

    def _follow_trades(self) -> None:
        """Let trades, too, say how far a connection came."""
        for trade, sendings in self._sendings.items():
            came_by = {stored.conn for stored in self._evidence.trades.get(trade, ())}
            for conn, number in sendings:
                sent = self._conns[conn]
                if sent.conn in came_by:
                    sent.last_came = max(sent.last_came, number)

    def _cut_off(self) -> None:
        """Find the lines at the end of a broken connection after which nothing came."""
        lines: dict[int, list[int]] = {
            conn: list(sent.absent) for conn, sent in self._conns.items()
        }
        for trade, sendings in self._sendings.items():
            if trade not in self._evidence.trades:
                for conn, number in sendings:
                    lines[conn].append(number)
        for conn, sent in self._conns.items():
            if self._broke(sent):
                candidates = [*lines[conn], *sent.spoilt]
                self._cut_lines.update(n for n in candidates if n > sent.last_came)

    def _broke(self, sent: _Sent) -> bool:
        """Say whether a connection ended in a way that can lose what was on its way."""
        broken, crashed = self._evidence.broken, self._evidence.crashed
        if sent.conn is not None:
            return sent.conn in broken or sent.conn.epoch in crashed
        # Nothing of it came at all: it is one of those that left no rows.
        return bool(crashed or broken - {each.conn for each in self._conns.values()})

    # Verdicts

    def _judge_rows(self) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
        evidence = self._evidence
        cut = self._cut_lines
        books = sum(n not in cut for sent in self._conns.values() for n in sent.absent)
        surplus = [(key, len(left)) for key, left in self._left.items() if left]
        missing = {stream: evidence.holes(stream) for stream in CAPTURED}
        missing["raw_orderbook"] = books
        missing["raw_trades"] = sum(
            trade not in evidence.trades and any(number not in cut for _, number in sendings)
            for trade, sendings in self._sendings.items()
        )
        duplicates = {stream: evidence.doubled_rows[stream] for stream in CAPTURED}
        duplicates["raw_orderbook"] = sum(count for key, count in surplus if key in self._keys)
        duplicates["raw_trades"] = sum(map(self._doubles, evidence.trades.values()))
        unexpected = dict.fromkeys(CAPTURED, 0)
        unexpected["raw_orderbook"] = sum(count for key, count in surplus if key not in self._keys)
        unexpected["raw_trades"] = sum(
            self._contents.get(trade) != stored.content
            for trade, rows in evidence.trades.items()
            for stored in rows
        )
        return missing, duplicates, unexpected

    def _doubles(self, rows: list[StoredTrade]) -> int:
        """Count the rows of a trade beyond the one that may be there, on a bus one an epoch."""
        allowed = 1 if self._one_row_per_trade else len({row.conn.epoch for row in rows})
        return len(rows) - allowed

    def _judge_gaps(self) -> Gaps:
        evidence = self._evidence
        cut = {trade for trade, sendings in self._sendings.items()
               if all(number in self._cut_lines for _, number in sendings)}  # fmt: skip
        there = evidence.trades.keys()
        # Of a spoilt message with many trades only one is bad.
        injected = self._withheld | cut | (self._spoilt - there)
        healed = injected & there
        absent = injected - there - (self._sendings.keys() - cut)  # what was sent is `missing`
        unnamed = {trade for trade in absent if not evidence.covers(trade)}
        early = set(filter(evidence.precedes, unnamed))
        return Gaps(
            injected=len(absent) + len(healed),
            detected=len(absent - unnamed) + len(healed),
            healed=len(healed),
            open=len(absent),
            too_early=len(early),
            too_late=sum(map(evidence.beyond, unnamed - early)),
        )

    def _losses(
        self,
        missing: dict[str, int],
        duplicates: dict[str, int],
        unexpected: dict[str, int],
        gaps: Gaps,
    ) -> Iterator[str]:
        for what, counts in (("missing", missing), ("doubled", duplicates),
                             ("never sent, yet there", unexpected)):  # fmt: skip
            for stream, count in counts.items():
                if count:
                    yield f"{stream}: {count} {what}"
        unnoticed = gaps.injected - gaps.detected - gaps.too_early - gaps.too_late
        if unnoticed:
            yield f"raw_trades: {unnoticed} lost on the way and named by no gap event"
        spoilt = sum(n not in self._cut_lines for each in self._conns.values() for n in each.spoilt)
        if self._evidence.rejected_messages < spoilt:
            yield f"events: {spoilt} spoilt messages, {self._evidence.rejected_messages} rejects"
        for reason, count in self._evidence.dropped.items():
            yield f"the gateway dropped {count} rows: {reason}"
