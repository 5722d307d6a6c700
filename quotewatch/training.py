"""One horizon's model brought up to date: label batches in, stored versions out.

Before a batch is learnt it is scored by the model as it is then, but for rows that were seen before
the labels it has learnt were known. A version holds the model, how far it has come, and its scores,
in one object; `current` is moved forward to it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.table import Table

from quotewatch.learning.document import Version
from quotewatch.learning.inputs import Inputs, inputs_of
from quotewatch.learning.model import Model
from quotewatch.learning.scoring import ScoreWindow, persisted
from quotewatch.learning.store import ModelStore
from quotewatch.learning.trainer import learn
from quotewatch.objects.port import ObjectStore
from quotewatch.streams import PREDICTIONS
from quotewatch.tables.catalog import Tables
from quotewatch.tables.commit import read_ledger
from quotewatch.tables.failures import named
from quotewatch.tables.label_batches import (
    LabelBatch,
    label_batches,
    newest_labels,
    predictions_of,
)
from quotewatch.tables.label_ledger import batch_mark, first_batch_mark, line_mark

# A version is stored at least this often: who is killed has not much to learn again.
_BATCHES_A_VERSION = 500
_SCORED_ROWS = 10_000
_US_PER_MS = 1_000


@dataclass(frozen=True)
class Step:
    """One batch learnt."""

    rows: int
    unusable: int


class Training:
    """One horizon during one call."""

    def __init__(self, tables: Tables, objects: ObjectStore, horizon_ms: int) -> None:
        self._tables = tables
        self._store = ModelStore(objects, horizon_ms)
        self._horizon_ms = horizon_ms
        found = self._store.newest()
        self.refused = found.refused
        self.stored: Version | None = found.version
        self._model = Model.fresh(horizon_ms, 0)
        self._window = ScoreWindow.empty()
        self._before: pa.Table | None = None  # the batch before: its labels were known

    def steps(self) -> Iterator[Step]:
        """Learn one batch after the other."""
        labels = self._tables.find("labels")
        if labels is None:
            return
        with named("labels"):
            marks = read_ledger(labels).marks
            last = marks.get(batch_mark(self._horizon_ms), 0)
            again = marks.get(line_mark(self._horizon_ms), 0)
            self._begin(f"{labels.metadata.table_uuid}/{again}", last)
            first = max(self._model.position, marks.get(first_batch_mark(self._horizon_ms), 0))
            # With the batch before, whose labels say what was last known of each product.
            for batch in label_batches(labels, self._horizon_ms, max(1, first), last):
                if batch.number > first:
                    yield self._learn(self._model, batch)
                    if batch.number % _BATCHES_A_VERSION == 0:
                        self._keep(labels)
                self._before = batch.rows

    def finish(self) -> Version | None:
        """Store what was learnt, let `current` follow, and return the newest version."""
        labels = self._tables.find("labels")
        if labels is not None:
            self._keep(labels)
        if self.stored is not None:
            # One that cannot answer yet does not take the place of one that does.
            if self.stored.model.ready:
                self._store.advance(self.stored.model.version)
            self._store.prune()
        return self.stored

    def _begin(self, source: str, last: int) -> None:
        """Go on with the newest version, or from nothing where these are other labels.

        What does not load may stand in the way of names to come: a new line goes around it.
        """
        stored = self.stored
        if stored is None or stored.model.source != source or stored.model.position > last:
            line = self._next_line() if self._store.versions() else 0
            self._model = Model.fresh(self._horizon_ms, line, source)
            return
        line = self._next_line() if self.refused else stored.model.line
        self._model, self._window = replace(stored.model, line=line), stored.window

    def _next_line(self) -> int:
        return 1 + max(int(name.partition("-")[0]) for name in self._store.versions())

    def _learn(self, model: Model, batch: LabelBatch) -> Step:
        inputs = inputs_of(batch.rows)
        labels = np.asarray(batch.rows.column("label").to_numpy(), np.int32)
        if model.ready:
            scored = inputs.usable & self._not_known(model, batch.rows)
            self._score(model, batch, inputs, labels, scored)
        until_us = max(model.learnt_until_us, int(_times(batch.rows).max()))
        learnt = learn(model, inputs, labels, batch.number)
        self._model = replace(learnt, learnt_until_us=until_us)
        return Step(len(labels), int(np.count_nonzero(~inputs.usable)))

    def _not_known(self, model: Model, rows: pa.Table) -> npt.NDArray[np.bool_]:
        """Say which rows were seen when every label that was learnt could be known.

        To ask the model about an earlier moment would be to peek.
        """
        known_us = model.learnt_until_us + self._horizon_ms * _US_PER_MS
        return _times(rows) >= known_us

    def _score(
        self,
        model: Model,
        batch: LabelBatch,
        inputs: Inputs,
        labels: npt.NDArray[np.int32],
        scored: npt.NDArray[np.bool_],
    ) -> None:
        probabilities, predictions = model.answers(inputs)
        known = _persisted(self._before, batch.rows, self._horizon_ms * _US_PER_MS)
        symbols = batch.rows.column("symbol").filter(pa.array(scored)).to_pylist()
        self._window = self._window.add(
            batch.number, symbols, labels[scored], probabilities[scored], predictions[scored],
            known[scored],
        )  # fmt: skip

    def _keep(self, labels: Table) -> None:
        """Store the model as a version, unless it is one already."""
        model, stored = self._model, self.stored
        if not model.position:
            return
        if stored is not None and stored.model.version == model.version:
            return
        report = {
            "test_then_train": self._window.report(),
            "served": self._served(labels, model),
        }
        version = Version(model, report, self._window)
        self._store.create(version)
        self.stored = version

    def _served(self, labels: Table, model: Model) -> dict[str, Any]:
        """Score the predictions that are stored against the newest labels."""
        rows = newest_labels(labels, self._horizon_ms, model.position, _SCORED_ROWS)
        answers = predictions_of(self._tables.find(PREDICTIONS.name), self._horizon_ms, rows)
        return served(rows, answers, model.line, self._horizon_ms * _US_PER_MS)


def served(rows: pa.Table, answers: pa.Table, line: int, horizon_us: int) -> dict[str, Any]:
    """Score answers against labels; those that came when the label was stored do not count."""
    known = _persisted(None, rows, horizon_us)
    given = _valid(answers.column("probability"))
    batches = _integers(rows, "batch")
    late = given & (_times(answers, "predicted_at") >= _times(rows, "labeled_at"))
    # Of a model that has learnt the label it answers; of another line nobody can say.
    versions = answers.column("model_version").to_pylist()
    late |= np.array(
        [
            version is not None and not _is_innocent(version, line, batch)
            for version, batch in zip(versions, batches.tolist(), strict=True)
        ],
        np.bool_,
    )
    counted = given & ~late
    window = ScoreWindow.empty().add(
        batches[counted],
        rows.column("symbol").filter(pa.array(counted)).to_pylist(),
        _integers(rows, "label")[counted],
        _floats(answers, "probability")[counted],
        _integers(answers, "prediction")[counted],
        known[counted],
    )
    said = window.report()
    return {**said, "unanswered": int(np.count_nonzero(~given)), "too_late": int(late.sum())}


def _is_innocent(version: str, line: int, batch: int) -> bool:
    return f"{line:03d}-" < version < f"{line:03d}-{batch:09d}"


def _persisted(before: pa.Table | None, rows: pa.Table, horizon_us: int) -> npt.NDArray[np.int8]:
    """Return for each row the newest label of its book that was known when it was seen."""
    both = rows if before is None else pa.concat_tables([before, rows])
    codes = _codes(both)
    times = _times(both)
    arrivals = np.asarray(both.column("arrival").to_numpy(), np.int64)
    labels = np.asarray(both.column("label").to_numpy(), np.int32)
    found = persisted(codes, times, arrivals, labels, horizon_us)
    return found[both.num_rows - rows.num_rows :]


def _times(rows: pa.Table, name: str = "exchange_time") -> npt.NDArray[np.int64]:
    """Return a column of times in microseconds, 0 where there is none."""
    column: Any = rows.column(name).cast(pa.int64())
    column = column.fill_null(0)
    return np.asarray(column.to_numpy(), np.int64)


def _codes(rows: pa.Table) -> npt.NDArray[np.int64]:
    """Return a number for the book of each row."""
    codes = np.asarray(rows.column("book").to_numpy(), np.int64)
    for name in ("symbol", "epoch"):
        words: Any = rows.column(name)
        found: Any = pc.index_in(words, pc.unique(words))
        codes = codes * 100_000 + np.asarray(found.to_numpy(), np.int64)
    return codes


def _valid(column: Any) -> npt.NDArray[np.bool_]:  # noqa: ANN401
    return np.asarray(column.is_valid().to_numpy(), np.bool_)


def _integers(rows: pa.Table, name: str) -> npt.NDArray[np.int32]:
    column: Any = rows.column(name)
    column = column.fill_null(0)
    return np.asarray(column.to_numpy(), np.int32)


def _floats(rows: pa.Table, name: str) -> npt.NDArray[np.float64]:
    column: Any = rows.column(name)
    column = column.fill_null(float("nan"))
    return np.asarray(column.to_numpy(), np.float64)
