"""Frames into a table: what the ledger does not know becomes rows, each trade once.

The one place where a frame meets a ledger; `write`, `redrive` and `reconcile` store through it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import And, EqualTo, In
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from quotewatch.clock import NS_PER_SECOND
from quotewatch.errors import FrameError
from quotewatch.frames import Frame, FrameId, decode_carried
from quotewatch.intervals import Intervals, Numbers
from quotewatch.message import Message
from quotewatch.streams import RAW_TRADES, TABLES
from quotewatch.tables.commit import Change, Committer
from quotewatch.tables.data_files import write_files
from quotewatch.tables.gathering import Arrived, rows_of
from quotewatch.tables.ledger import Knowledge, Ledger, Seen
from quotewatch.tables.ordering import codes_of, take


def frame_of(message: Message) -> Frame:
    """Decode a frame that its table can take; FrameError for whatever else it is."""
    frame = decode_carried(message)
    if frame.id.stream == RAW_TRADES.name and frame.rows.num_rows:
        lowest: Any = pc.min(frame.rows.column("trade_id")).as_py()
        if lowest < 0:  # the ledger has no place for it
            raise FrameError(f"column trade_id: {lowest} is below zero")
    return frame


@dataclass(frozen=True, slots=True)
class Stored:
    """What came of it."""

    inserted: int = 0  # rows
    duplicate: int = 0  # rows that were there already
    fresh: Sequence[Arrived] = ()  # frames that were new
    snapshot_id: int | None = None
    attempts: int = 0


@dataclass
class _Draft:
    """The files written for one set of rows, used again when only the ledger has moved."""

    key: object = None
    files: list[DataFile] = field(default_factory=list)


class Intake:
    """Stores frames of one stream in the table of its name."""

    def __init__(self, committer: Committer, stream: str) -> None:
        self._committer = committer
        self._stream = stream
        self._layout = TABLES[stream]

    def store(
        self,
        frames: Sequence[Arrived],
        aside: Sequence[Seen] = (),
    ) -> Stored:
        """Store the rows of new frames, and note those that are put aside, in one commit."""
        draft, stored = _Draft(), Stored()

        def plan(table: Table, ledger: Ledger) -> Change | None:
            nonlocal stored
            fresh = self._fresh(table, ledger, frames)
            known = ledger.stream(self._stream)
            put = [each for each in aside if known.know(each.epoch, each.seq) is Knowledge.NEW]
            rows = rows_of(self._stream, fresh)
            total = sum(each.frame.rows.num_rows for each in frames)
            after = ledger.note(self._stream, (each.seen for each in fresh))
            if put:
                after = after.note(self._stream, put, quarantined=True)
            if self._stream == RAW_TRADES.name:
                rows, held = without_known_trades(rows, ledger.trades)
                after = after.hold(held)
            stored = Stored(rows.num_rows, total - rows.num_rows, fresh)
            if not fresh and not put:
                return None
            return Change(after, self._files(table, draft, fresh, rows))

        done = self._committer.commit(self._stream, plan)
        if done is None:
            return stored
        return Stored(
            stored.inserted, stored.duplicate, stored.fresh, done.snapshot_id, done.attempts
        )

    def store_trades(self, rows: pa.Table, *, seq: int) -> Stored:
        """Store trades that no frame brought; those that are there are left out."""
        draft, stored = _Draft(), Stored()

        def plan(table: Table, ledger: Ledger) -> Change | None:
            nonlocal stored
            new, held = without_known_trades(rows, ledger.trades)
            stored = Stored(new.num_rows, rows.num_rows - new.num_rows)
            if not new.num_rows:
                return None
            return Change(ledger.hold(held), self._files(table, draft, seq, new))

        done = self._committer.commit(self._stream, plan)
        if done is None:
            return stored
        return Stored(stored.inserted, stored.duplicate, (), done.snapshot_id, done.attempts)

    def _files(
        self, table: Table, draft: _Draft, source: object, rows: pa.Table
    ) -> Sequence[DataFile]:
        key = (_key(source), rows.num_rows, table.metadata.current_schema_id)
        if draft.key != key:
            draft.files = write_files(table, self._layout, rows)
            draft.key = key
        return draft.files

    def _fresh(self, table: Table, ledger: Ledger, frames: Iterable[Arrived]) -> list[Arrived]:
        """Return the frames that are not in the table, each once.

        One that was put aside is taken when it can be read: it is redriven, or the bytes that
        could not be read were not its own.
        """
        known = ledger.stream(self._stream)
        fresh: dict[FrameId, Arrived] = {}
        unsure: list[Arrived] = []
        for each in frames:
            knowledge = known.know(each.frame.id.epoch, each.frame.id.seq)
            if knowledge in {Knowledge.NEW, Knowledge.QUARANTINED}:
                fresh.setdefault(each.frame.id, each)
            elif knowledge is Knowledge.UNSURE:
                unsure.append(each)
        if unsure:
            there = _in_table(table, [each.frame.id for each in unsure])
            for each in unsure:
                if (each.frame.id.epoch, each.frame.id.seq) not in there:
                    fresh.setdefault(each.frame.id, each)
        return list(fresh.values())


def _key(source: object) -> object:
    if isinstance(source, list):
        return tuple(each.frame.id for each in source)
    return source


def without_known_trades(
    rows: pa.Table, held: Mapping[str, Intervals]
) -> tuple[pa.Table, dict[str, Intervals]]:
    """Leave out trades that are stored, and repeats within; return the ids that are new as well.

    Of a trade that came several times the row that came live is kept: windows were fed with it.
    """
    if not rows.num_rows:
        return rows, {}
    codes, symbols = codes_of(rows.column("symbol"))
    ids = rows.column("trade_id").to_numpy()
    order = _by_id(codes, ids, rows)
    codes, ids = codes[order], ids[order]
    first = np.ones(order.size, np.bool_)
    first[1:] = (codes[1:] != codes[:-1]) | (ids[1:] != ids[:-1])
    if not first.all():
        order, codes, ids = order[first], codes[first], ids[first]
    kept, new = [], {}
    bounds = np.searchsorted(codes, np.arange(len(symbols) + 1))
    for symbol, low, high in zip(symbols, bounds[:-1], bounds[1:], strict=True):
        unknown = ~held.get(symbol, Intervals.none()).holds(ids[low:high])
        kept.append(order[low:high][unknown])
        if unknown.any():
            new[symbol] = Intervals.of_sorted(ids[low:high][unknown])
    places = np.sort(np.concatenate(kept))
    return (rows if places.size == rows.num_rows else take(rows, places)), new


def _by_id(codes: Numbers, ids: Numbers, rows: pa.Table) -> Numbers:
    """Return the order by product and trade id; of the same trade the live row comes first.

    Trades of a product come in the order of their ids: then no ids need to be sorted.
    """
    order: Numbers = np.argsort(codes, kind="stable")
    inside = codes[order][1:] == codes[order][:-1]
    if np.all(ids[order][1:][inside] > ids[order][:-1][inside]):
        return order
    late = ~rows.column("live").to_numpy()
    return np.lexsort((late, ids, codes))


def _in_table(table: Table, frames: Sequence[FrameId]) -> set[tuple[str, int]]:
    """Ask the rows themselves. Slow, and only for epochs that have left the ledger."""
    there: set[tuple[str, int]] = set()
    for epoch in {each.epoch for each in frames}:
        seqs = {each.seq for each in frames if each.epoch == epoch}
        found = table.scan(
            row_filter=And(EqualTo(term="epoch", value=epoch), In(term="seq", literals=seqs)),
            selected_fields=("seq",),
        ).to_arrow()
        stored: list[Any] = pc.unique(found.column("seq")).to_pylist()
        there |= {(epoch, seq) for seq in stored}
    return there


def now_seq(now_ns: int) -> int:
    """Return a number for what no frame brought: the microsecond it was stored in."""
    return now_ns // (NS_PER_SECOND // 1_000_000)
