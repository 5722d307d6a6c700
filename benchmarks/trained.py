"""A model that has learnt made-up rows, and its place in an object store as the newest version."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.feature_rows import HORIZON_MS, FeatureRows, labelled
from quotewatch.learning.document import Version
from quotewatch.learning.inputs import Inputs, inputs_of
from quotewatch.learning.model import Model
from quotewatch.learning.scoring import ScoreWindow
from quotewatch.learning.store import ModelStore
from quotewatch.learning.trainer import learn
from quotewatch.objects.port import ObjectStore

ROWS = 20_000
_BATCH_ROWS = 5_000


@dataclass(frozen=True)
class Lesson:
    """Rows with their inputs and labels."""

    rows: pa.RecordBatch
    inputs: Inputs
    labels: npt.NDArray[np.int32]


def lesson(rows: int = ROWS) -> Lesson:
    """Make rows of 50 products that have labels; a few less than asked for."""
    kept, labels = labelled(FeatureRows(50, 500.0).batch(rows))
    return Lesson(kept, inputs_of(kept), labels)


def learnt(taught: Lesson) -> Model:
    """Return what a model knows after them."""
    model = Model.fresh(HORIZON_MS, 0)
    for position, first in enumerate(range(0, len(taught.labels), _BATCH_ROWS), 1):
        part = slice(first, first + _BATCH_ROWS)
        inputs = Inputs(taught.inputs.matrix[part], taught.inputs.usable[part])
        model = learn(model, inputs, taught.labels[part], position)
    return model


def serve(objects: ObjectStore) -> Model:
    """Store a model that has learnt as the one that answers."""
    model = learnt(lesson())
    store = ModelStore(objects, HORIZON_MS)
    store.create(Version(model, {}, ScoreWindow.empty()))
    store.advance(model.version)
    return model
