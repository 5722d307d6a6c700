"""The same stored row gives the same inputs wherever it is computed; what is broken is said so."""

from math import inf, log1p, nan

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotewatch.learning.inputs import INPUTS, inputs_of
from tests.learning.rows import ROW, SCHEMA, rows_of, wild_rows


def by_name(**changes: float | None) -> dict[str, float]:
    inputs = inputs_of(rows_of(changes))
    assert inputs.usable.tolist() == [True]
    return dict(zip(INPUTS, inputs.matrix[0].tolist(), strict=True))


def test_every_input_follows_from_its_columns() -> None:
    assert by_name() == pytest.approx(
        {
            "log_spread_bps": log1p(1.5),
            "log_depth_value": log1p(7.0 * 200.0),
            "log_volatility": log1p(0.5),
            "log_microprice_bps_magnitude": log1p(0.75),
            "log_order_flow_value": log1p(3.0 * 200.0),
            "imbalance_magnitude": 0.25,
            "trade_imbalance_magnitude": 1.0,
            "traded": 1.0,
        }
    )


def test_direction_does_not_matter() -> None:
    signed = ("imbalance", "trade_imbalance", "microprice_bps", "order_flow_imbalance")
    turned = {name: -value for name in signed if (value := ROW[name]) is not None}
    assert by_name(**turned) == by_name()


def test_what_is_unknown_is_nan_and_the_row_usable() -> None:
    inputs = by_name(volatility=None, trade_imbalance=None)
    unknown = {name for name, value in inputs.items() if np.isnan(value)}
    assert unknown == {"log_volatility", "trade_imbalance_magnitude"}
    assert inputs["traded"] == 0.0


@pytest.mark.parametrize("name", SCHEMA.names)
@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_a_row_with_what_is_no_number_is_not_usable(name: str, value: float) -> None:
    rows = rows_of({}, {name: value}, {"volatility": None, "trade_imbalance": None})
    assert inputs_of(rows).usable.tolist() == [True, False, True]


@pytest.mark.parametrize("name", ["volatility", "trade_imbalance"])
def test_a_stored_nan_is_told_from_a_null_beside_it(name: str) -> None:
    rows = rows_of({name: None}, {name: nan}, {name: None})
    assert inputs_of(rows).usable.tolist() == [True, False, True]


@pytest.mark.parametrize("name", sorted(set(SCHEMA.names) - {"volatility", "trade_imbalance"}))
def test_a_null_that_may_not_be_makes_the_row_unusable(name: str) -> None:
    columns = dict(zip(SCHEMA.names, rows_of({}, {}).columns, strict=True))
    columns[name] = pa.array([None, columns[name][1].as_py()], columns[name].type)
    assert inputs_of(pa.table(columns)).usable.tolist() == [False, True]


def test_numbers_that_overflow_make_the_row_unusable() -> None:
    rows = rows_of({"depth": 1e300, "mid": 1e300}, {"spread_bps": -7.0}, {"volatility": -1.0})
    assert inputs_of(rows).usable.tolist() == [False, False, False]


def test_no_rows_give_no_inputs() -> None:
    for rows in (SCHEMA.empty_table(), rows_of(), pa.table(rows_of({}).slice(0, 0))):
        inputs = inputs_of(rows)
        assert inputs.matrix.shape == (0, len(INPUTS))
        assert inputs.usable.shape == (0,)


def test_the_matrix_is_laid_out_row_by_row() -> None:
    matrix = inputs_of(wild_rows(1, 50)).matrix
    assert matrix.flags.c_contiguous
    assert matrix.dtype == np.float64


@given(st.integers(0, 100), st.lists(st.integers(1, 300), min_size=1, max_size=8))
def test_a_row_has_the_same_bits_however_rows_are_cut(seed: int, sizes: list[int]) -> None:
    rows = wild_rows(seed, sum(sizes))
    ends = np.cumsum(sizes).tolist()
    pieces = [rows.slice(end - size, size) for end, size in zip(ends, sizes, strict=True)]
    whole = inputs_of(rows)
    for rejoined in (
        [inputs_of(piece) for piece in pieces],
        [inputs_of(pa.Table.from_batches(pieces))],
        [inputs_of(rows.slice(place, 1)) for place in range(min(20, len(whole.usable)))],
    ):
        matrix = np.concatenate([each.matrix for each in rejoined])
        usable = np.concatenate([each.usable for each in rejoined])
        assert matrix.tobytes() == whole.matrix[: len(matrix)].tobytes()
        assert usable.tobytes() == whole.usable[: len(usable)].tobytes()


def test_a_long_table_has_the_bits_of_its_frames() -> None:
    frames = [wild_rows(seed, 10) for seed in range(2_000)]
    whole = inputs_of(pa.Table.from_batches(frames))
    matrix = np.concatenate([inputs_of(frame).matrix for frame in frames])
    assert matrix.tobytes() == whole.matrix.tobytes()
