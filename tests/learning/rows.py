"""Rows to ask and to learn from, made up: wild, but the same for the same seed."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quotewatch.learning.inputs import INPUTS, Inputs
from quotewatch.learning.model import Model
from quotewatch.learning.trainer import learn
from quotewatch.streams import FEATURE_COLUMNS, FEATURES

SCHEMA = pa.schema([FEATURES.schema.field(name) for name in ("mid", *FEATURE_COLUMNS)])

ROW: dict[str, float | None] = {
    "mid": 200.0,
    "spread_bps": 1.5,
    "imbalance": -0.25,
    "depth": 7.0,
    "volatility": 0.5,
    "trade_imbalance": -1.0,
    "microprice_bps": -0.75,
    "order_flow_imbalance": -3.0,
}


def rows_of(*rows: dict[str, float | None]) -> pa.RecordBatch:
    """Return rows as `features` stores them."""
    return pa.RecordBatch.from_pylist([ROW | row for row in rows], schema=SCHEMA)


def wild_rows(seed: int, count: int) -> pa.RecordBatch:
    """Return rows of products from a coin of 0.0001 to bitcoin, some unknown, few broken."""
    chance = np.random.default_rng(seed)
    columns: list[Any] = []
    for name in SCHEMA.names:
        values = np.exp(chance.normal(0, 4, count)) * chance.choice([-1, 1], count)
        values = np.abs(values) if name in {"mid", "spread_bps", "depth", "volatility"} else values
        values[chance.random(count) < 0.01] = chance.choice([np.nan, np.inf, 0.0, 1e300, -5.0])
        mask = chance.random(count) < (0.3 if SCHEMA.field(name).nullable else 0.0)
        with np.errstate(over="ignore"):
            kind = SCHEMA.field(name).type
            columns.append(pa.array(values.astype(kind.to_pandas_dtype()), kind, mask=mask))
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def made_up(seed: int, count: int, rate: float = 0.2) -> tuple[Inputs, npt.NDArray[np.int32]]:
    """Return inputs and labels that follow from the first two of them, by chance."""
    chance = np.random.default_rng(seed)
    matrix = chance.normal(3, 2, (count, len(INPUTS)))
    odds = 0.6 * (matrix[:, 0] - 3) - 0.3 * (matrix[:, 1] - 3) + np.log(rate / (1 - rate))
    labels = (chance.random(count) < 1 / (1 + np.exp(-odds))).astype(np.int32)
    matrix[chance.random(matrix.shape) < [0, 0, 0.1, 0, 0, 0, 0.8, 0]] = np.nan
    return Inputs(matrix, np.ones(count, np.bool_)), labels


def taught(horizon_ms: int = 500, batches: int = 3, *, line: int = 1, seed: int = 0) -> Model:
    """Return a model that is ready."""
    model = Model.fresh(horizon_ms, line)
    for position in range(1, batches + 1):
        model = learn(model, *made_up(seed + position, 1_000), position)
    return model
