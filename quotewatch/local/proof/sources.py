"""Where the audit looks: frames that wait on a bus, or what the tables hold, as frames again."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from quotewatch.bus.sqlite import SqliteBus
from quotewatch.bus.topology import write_subscription
from quotewatch.frames import Frame, FrameId, decode
from quotewatch.intervals import Intervals
from quotewatch.streams import LINEAGE, STREAMS
from quotewatch.tables.catalog import Tables
from quotewatch.tables.commit import read_ledger
from quotewatch.tables.gaps import read_gaps


class Source(Protocol):
    """Everything a run left behind, each time from the beginning."""

    # Frames of two lives of a gateway may both carry a trade; a table must have it once.
    one_row_per_trade: bool

    def frames(self, stream: str) -> Iterator[Frame]:
        """Yield the frames of a stream."""
        ...

    def gaps(self) -> Iterator[tuple[str, int, int]]:
        """Yield the losses of trades that are written down: product, first and last id."""
        ...


class BusFrames:
    """Frames that wait for the tables."""

    one_row_per_trade = False

    def __init__(self, bus: SqliteBus) -> None:
        self._bus = bus

    def frames(self, stream: str) -> Iterator[Frame]:
        """Decode what waits, taking nothing."""
        for waiting in self._bus.browse(write_subscription(stream)):
            yield decode(waiting.message)

    def gaps(self) -> Iterator[tuple[str, int, int]]:
        """Nothing is written down on a bus but the journal."""
        yield from ()


class TableFrames:
    """Rows of the tables, put back into the frames they came from."""

    one_row_per_trade = True

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def frames(self, stream: str) -> Iterator[Frame]:
        """Yield rows by their lineage. A row that is there twice comes in a frame of its own.

        A frame the ledger knows and that left no row, its trades being there already, is empty.
        """
        table = self._tables.find(stream)
        if table is None:
            return
        rows = table.scan().to_arrow().combine_chunks()
        there: dict[str, list[int]] = {}
        for frame in _frames_in(stream, rows):
            there.setdefault(frame.id.epoch, []).append(frame.id.seq)
            yield frame
        for epoch, entry in read_ledger(table).stream(stream).epochs.items():
            silent = entry.done - Intervals.of_numbers(there.get(epoch, []))
            for first, last in silent:
                for seq in range(first, last + 1):
                    yield _frame(FrameId(stream, epoch, seq), rows.slice(0, 0))

    def gaps(self) -> Iterator[tuple[str, int, int]]:
        """Read the table of losses."""
        table = self._tables.find("gaps")
        if table is None:
            return
        for gap in read_gaps(table):
            if gap.scope.symbol is not None and gap.from_id is not None and gap.to_id is not None:
                yield gap.scope.symbol, gap.from_id, gap.to_id


def _frames_in(stream: str, rows: pa.Table) -> Iterator[Frame]:
    if not rows.num_rows:
        return
    ordered = rows.sort_by([(name, "ascending") for name in LINEAGE.names])
    epochs: Any = ordered.column("epoch").combine_chunks().dictionary_encode()
    codes = epochs.indices.to_numpy()
    seqs = ordered.column("seq").to_numpy()
    numbers = ordered.column("row").to_numpy()
    names = epochs.dictionary.to_pylist()
    begins = np.flatnonzero((np.diff(codes) != 0) | (np.diff(seqs) != 0)) + 1
    for first, end in pairwise([0, *begins.tolist(), ordered.num_rows]):
        identity = FrameId(stream, names[codes[first]], int(seqs[first]))
        again = np.concatenate(([False], np.diff(numbers[first:end]) == 0))
        part = ordered.slice(first, end - first)
        if again.any():
            doubled: Any = pa.array(again)
            once: Any = pa.array(~again)
            yield _frame(identity, part.filter(doubled))
            part = part.filter(once)
        yield _frame(identity, part)


def _frame(identity: FrameId, rows: pa.Table) -> Frame:
    columns = STREAMS[identity.stream].schema
    plain = rows.select(columns.names).combine_chunks()
    batches = plain.cast(columns).to_batches()
    empty = pa.RecordBatch.from_arrays(
        [pa.array([], each) for each in columns.types], schema=columns
    )
    return Frame(identity, "", batches[0] if batches else empty, 0, 0)
