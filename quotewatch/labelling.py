"""One horizon's labels: portions of features in, commits to `labels` out, each frame in one.

The ledger of `labels` notes a frame under `features@<horizon>` in the commit of its rows. Every
commit with rows is one batch; batches are counted from 1 and never change: models learn by them.
"""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyiceberg.expressions import And, EqualTo
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from quotewatch.clock import NS_PER_SECOND, Clock
from quotewatch.intervals import Intervals
from quotewatch.streams import TABLES, TIME
from quotewatch.tables.commit import Change, Committer, read_ledger
from quotewatch.tables.data_files import write_files
from quotewatch.tables.dataset import current, read
from quotewatch.tables.failures import named
from quotewatch.tables.histories import Histories, History
from quotewatch.tables.label_ledger import batch_mark, memory_mark, source
from quotewatch.tables.ledger import Knowledge, Ledger, Seen, StreamLedger
from quotewatch.tables.unlabelled import Portion, Unlabelled

_LABELS = TABLES["labels"]
_NS_PER_US = 1_000
_US_PER_MS = 1_000


@dataclass(frozen=True)
class StoredLabels:
    """What one commit stored."""

    rows: int = 0
    positive: int = 0
    frames: int = 0
    batch: int | None = None
    undecidable: Mapping[str, int] = field(default_factory=dict)


@dataclass
class _Draft:
    """The files written for a batch; written again only if another came first."""

    batch: int = 0
    files: list[DataFile] = field(default_factory=list)


class Labelling:
    """One horizon during one call."""

    def __init__(
        self, committer: Committer, clock: Clock, histories: Histories, horizon_ms: int
    ) -> None:
        self._committer = committer
        self._clock = clock
        self._histories = histories
        self._horizon_ms = horizon_ms
        self._source = source(horizon_ms)

    def portions(self) -> Iterator[Portion]:
        """Yield what can be labelled, epoch by epoch, the oldest first."""
        table = self._committer.tables.load(_LABELS.name)
        with named(_LABELS.name):
            ledger = read_ledger(table)
        if ledger.marks.get(memory_mark(self._horizon_ms)) != self._memory:
            yield from self._past(table, ledger)
        for epoch in self._histories.listed():
            yield from self._of(table, ledger, self._histories.of(epoch))

    def store(self, portion: Portion) -> StoredLabels:
        """Store the labels of a portion's frames, unless another has stored one of them."""
        if not portion.frames:
            return StoredLabels()
        stored = StoredLabels()
        draft = _Draft()

        def plan(table: Table, ledger: Ledger) -> Change | None:
            nonlocal stored
            stored = StoredLabels()
            known = ledger.stream(self._source).epochs.get(portion.epoch)
            if known is not None and known.done & portion.frames:
                return None  # the next look sees what is left of it
            batch = ledger.marks.get(batch_mark(self._horizon_ms), 0) + 1
            rows = portion.rows
            stored = StoredLabels(
                rows.num_rows,
                int(np.count_nonzero(rows.column("label").to_numpy())),
                portion.frames.count,
                batch if rows.num_rows else None,
                portion.undecidable,
            )
            after = ledger.note(self._source, self._seen(portion))
            if not rows.num_rows:
                return Change(after)
            if draft.batch != batch:
                draft.files = write_files(table, _LABELS, self._finished(rows, batch))
                draft.batch = batch
            return Change(after.mark(batch_mark(self._horizon_ms), batch), draft.files)

        self._committer.commit(_LABELS.name, plan)
        return stored

    def _past(self, table: Table, ledger: Ledger) -> Iterator[Portion]:
        """Yield what is stored of epochs that the ledger of features has let go of."""
        for epoch in self._histories.forgotten():
            yield from self._of(table, ledger, self._histories.of(epoch))
        mark, value = memory_mark(self._horizon_ms), self._memory

        def plan(_: Table, now: Ledger) -> Change | None:
            return None if now.marks.get(mark) == value else Change(now.mark(mark, value))

        self._committer.commit(_LABELS.name, plan)

    @property
    def _memory(self) -> int:
        """Tell which epochs the ledger of features has let go of: what changes as they do."""
        return zlib.crc32(self._histories.ledger.floor.encode())

    def _of(self, table: Table, ledger: Ledger, history: History) -> Iterator[Portion]:
        pending = history.stored - self._done(table, ledger.stream(self._source), history)
        if pending:
            yield from Unlabelled(history).portions(pending, self._horizon_ms * _US_PER_MS)

    def _done(self, table: Table, known: StreamLedger, history: History) -> Intervals:
        """Return the frames of an epoch that have been labelled."""
        entry = known.epochs.get(history.epoch)
        done = Intervals.none() if entry is None else entry.done
        if known.know(history.epoch, -1) is Knowledge.UNSURE:
            done |= self._in_table(table, history.epoch)
        return done

    def _in_table(self, table: Table, epoch: str) -> Intervals:
        """Ask the rows themselves: of an epoch that came back after it had left the ledger."""
        mine = And(
            EqualTo(term="epoch", value=epoch), EqualTo(term="horizon_ms", value=self._horizon_ms)
        )
        rows = current(table, "seq", mine).rows
        chosen = (ds.field("epoch") == epoch) & (ds.field("horizon_ms") == self._horizon_ms)
        return Intervals.of_numbers(read(rows, ("seq",), chosen).column("seq").to_numpy())

    def _seen(self, portion: Portion) -> list[Seen]:
        entry = self._histories.ledger.epochs.get(portion.epoch)
        newest_ns = (entry.newest if entry else 0) * NS_PER_SECOND
        if not newest_ns and portion.rows.num_rows:
            latest: Any = pc.max(portion.rows.column("received_at").cast(pa.int64())).as_py()
            newest_ns = latest * _NS_PER_US
        return [
            Seen(portion.epoch, seq, newest_ns)
            for first, last in portion.frames
            for seq in range(first, last + 1)
        ]

    def _finished(self, rows: pa.Table, batch: int) -> pa.Table:
        """Add what is the same for all rows of a batch."""
        ordered = rows.sort_by([(name, "ascending") for name in ("seq", "row")])
        now: Any = pa.scalar(self._clock.now_ns() // _NS_PER_US, TIME)
        same = {
            "horizon_ms": pa.scalar(self._horizon_ms, pa.int32()),
            "labeled_at": now,
            "batch": pa.scalar(batch, pa.int64()),
        }
        for name, value in same.items():
            ordered = ordered.append_column(name, pa.repeat(value, rows.num_rows))
        return ordered.select(_LABELS.schema.names)
