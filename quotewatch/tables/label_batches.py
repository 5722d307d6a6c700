"""Stored labels read back: whole batches of one horizon in order, and what was predicted of them.

The order within a batch is that of (epoch, seq, row): models that learn the same batches learn the
same rows in the same order.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyiceberg.expressions import And, EqualTo, GreaterThanOrEqual, In, LessThanOrEqual
from pyiceberg.table import Table

from quotewatch.streams import FEATURE_COLUMNS, LINEAGE, TIME
from quotewatch.tables.dataset import current, read
from quotewatch.tables.ordering import Numbers, integers

_AT_FIRST = 8  # batches
_ENOUGH_ROWS = 100_000
_MOST_ROWS_BITS = 21  # of a frame: one row of features takes more than five bytes of nine million

_COLUMNS = (
    *LINEAGE.names, "symbol", "book", "exchange_time", "arrival", "label", "labeled_at", "batch",
    "mid", *FEATURE_COLUMNS,
)  # fmt: skip
_ANSWERS = (*LINEAGE.names, "model_version", "probability", "prediction", "predicted_at")


@dataclass(frozen=True)
class LabelBatch:
    """One batch, its rows in order."""

    number: int
    rows: pa.Table


def label_batches(labels: Table, horizon_ms: int, first: int, last: int) -> Iterator[LabelBatch]:
    """Yield the batches from the first to the last of these numbers."""
    at, count = first, _AT_FIRST
    while at <= last:
        until = min(last, at + count - 1)
        rows = _read(labels, horizon_ms, at, until)
        yield from _cut(rows)
        if rows.num_rows < _ENOUGH_ROWS // 2:
            count *= 2
        elif rows.num_rows > 2 * _ENOUGH_ROWS:
            count = max(1, count // 2)
        at = until + 1


def newest_labels(labels: Table, horizon_ms: int, last: int, rows: int) -> pa.Table:
    """Return the rows of the newest batches up to one, as few as hold so many rows."""
    count = _AT_FIRST
    while True:
        first = max(1, last - count + 1)
        found = _read(labels, horizon_ms, first, last)
        if found.num_rows >= rows or first == 1:
            break
        count *= 4
    numbers = integers(found, "batch")
    kept = [batch for batch in np.unique(numbers) if np.count_nonzero(numbers > batch) < rows]
    return found.filter(pa.array(np.isin(numbers, kept)))


def predictions_of(predictions: Table | None, horizon_ms: int, labels: pa.Table) -> pa.Table:
    """Return the answers to these rows in their order; null where none is stored."""
    answers = _no_answers()
    if predictions is not None and labels.num_rows:
        answers = _answers(predictions, horizon_ms, labels)
    wanted, there = _keys(labels, answers)
    places: Any = pc.index_in(pa.array(wanted), pa.array(there, pa.int64()))
    return answers.take(places)


def _read(labels: Table, horizon_ms: int, first: int, last: int) -> pa.Table:
    mine = And(
        EqualTo(term="horizon_ms", value=horizon_ms),
        GreaterThanOrEqual(term="batch", value=first),
        LessThanOrEqual(term="batch", value=last),
    )
    batch = ds.field("batch")
    chosen = (ds.field("horizon_ms") == horizon_ms) & (batch >= first) & (batch <= last)
    rows = read(current(labels, "batch", mine).rows, _COLUMNS, chosen)
    return rows.sort_by([(name, "ascending") for name in ("batch", *LINEAGE.names)])


def _cut(rows: pa.Table) -> Iterator[LabelBatch]:
    numbers = integers(rows, "batch")
    bounds = np.flatnonzero(np.diff(numbers, prepend=-1))
    for first, end in zip(bounds, np.append(bounds[1:], numbers.size), strict=True):
        yield LabelBatch(int(numbers[first]), rows.slice(int(first), int(end - first)))


def _answers(predictions: Table, horizon_ms: int, labels: pa.Table) -> pa.Table:
    epochs: list[Any] = pc.unique(labels.column("epoch")).to_pylist()
    seqs = integers(labels, "seq")
    low, high = int(seqs.min()), int(seqs.max())
    mine = And(In(term="epoch", literals=set(epochs)), EqualTo(term="horizon_ms", value=horizon_ms))
    seq = ds.field("seq")
    chosen = ds.field("epoch").isin(epochs) & (seq >= low) & (seq <= high)
    chosen &= ds.field("horizon_ms") == horizon_ms
    return read(current(predictions, "seq", mine).rows, _ANSWERS, chosen)


def _no_answers() -> pa.Table:
    kinds = {**{field.name: field.type for field in LINEAGE}, "model_version": pa.string()}
    kinds |= {"probability": pa.float64(), "prediction": pa.int32(), "predicted_at": TIME}
    return pa.schema(list(kinds.items())).empty_table()


def _keys(labels: pa.Table, answers: pa.Table) -> tuple[Numbers, Numbers]:
    """Return a number for the lineage of each row of both."""
    chunks = [*_words(labels, "epoch").chunks, *_words(answers, "epoch").chunks]
    names: Any = pc.unique(pa.chunked_array(chunks, pa.string()))
    return _key(labels, names), _key(answers, names)


def _key(rows: pa.Table, names: Any) -> Numbers:  # noqa: ANN401
    epochs: Any = pc.index_in(_words(rows, "epoch"), names)
    codes = np.asarray(epochs.to_numpy(), np.int64)
    seqs, numbers = integers(rows, "seq"), integers(rows, "row")
    return (codes << 52) | (seqs << _MOST_ROWS_BITS) | numbers


def _words(rows: pa.Table, name: str) -> Any:  # noqa: ANN401 - the stubs know no chunks
    return rows.column(name).cast(pa.string())
