"""A model is scored beside the base rate and the newest known label, over a window of rows."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from quotewatch.errors import ModelError
from quotewatch.learning.scoring import UNKNOWN, WINDOW_ROWS, ScoreWindow, persisted, score

EMPTY = ScoreWindow.empty()


def columns(seed: int, count: int) -> tuple[Any, ...]:
    """Return symbols, labels, probabilities, predictions, persisted."""
    chance = np.random.default_rng(seed)
    probabilities = chance.random(count)
    labels = (chance.random(count) < probabilities).astype(np.int32)
    symbols = chance.choice(["BTC-USD", "ETH-USD", "Ü-USD"], count).tolist()
    known = chance.integers(-1, 2, count, np.int8)
    return symbols, labels, probabilities, (probabilities > 0.3).astype(np.int32), known


def test_scores_stand_beside_what_costs_nothing() -> None:
    labels = np.array([1, 0, 0, 0, 1, 0])
    probabilities = np.array([0.9, 0.1, 0.1, 0.6, 0.6, 0.1])
    predictions = np.array([1, 0, 0, 1, 1, 0])
    known = np.array([UNKNOWN, 0, 0, 1, 1, UNKNOWN])
    scores = score(labels, probabilities, predictions, known)
    assert (scores.n, scores.positives, scores.base_rate) == (6, 2, 1 / 3)
    assert scores.auc == 7.5 / 8
    assert scores.balanced_accuracy == (1.0 + 0.75) / 2
    baseline = scores.base_rate_only
    assert (baseline.n, baseline.auc, baseline.balanced_accuracy) == (6, 0.5, 0.5)
    assert baseline.brier == pytest.approx(1 / 3 * 2 / 3)
    assert baseline.log_loss == pytest.approx(-np.log(1 / 3) / 3 - np.log(2 / 3) * 2 / 3)
    persistence = scores.persistence
    assert (persistence.n, persistence.brier, persistence.log_loss) == (4, 0.25, None)
    assert persistence.balanced_accuracy == pytest.approx((1.0 + 2 / 3) / 2)
    assert persistence.auc == pytest.approx((1.0 + 2 / 3) / 2)


def test_what_cannot_be_said_is_none() -> None:
    nothing: Any = np.array([])
    scores = score(nothing, nothing, nothing, nothing)
    assert (scores.n, scores.base_rate, scores.auc, scores.brier) == (0, None, None, None)
    assert scores.base_rate_only.brier is None
    zeros = np.zeros(3, np.int32)
    scores = score(zeros, np.full(3, 0.5), zeros, np.full(3, UNKNOWN))
    assert (scores.base_rate, scores.auc, scores.balanced_accuracy) == (0.0, None, None)
    assert (scores.base_rate_only.auc, scores.base_rate_only.brier) == (None, 0.0)
    persistence = scores.persistence
    assert (persistence.n, persistence.brier, persistence.auc) == (0, None, None)


@pytest.mark.parametrize(
    ("place", "values"),
    [
        (0, [0, 2]), (0, [0]), (1, [0.5, np.nan]), (1, [0.5, 1.1]), (1, [-0.1, 0.5]),
        (1, [0.5, np.inf]), (2, [0, -1]), (2, [0, 1, 0]), (3, [0, -2]), (3, []),
    ],
)  # fmt: skip
def test_what_is_no_scored_row_is_refused(place: int, values: list[float]) -> None:
    given: list[Any] = [np.array([0, 1]), np.array([0.5, 0.5]), np.array([0, 1]), np.array([-1, 1])]
    given[place] = np.array(values)
    with pytest.raises(ValueError, match=r"differ in length|0 or 1|between 0 and 1"):
        score(*given)
    with pytest.raises(ValueError, match=r"differ in length|0 or 1|between 0 and 1"):
        EMPTY.add(1, ["A", "A"], *given)


# The newest label known


@given(
    st.lists(
        st.tuples(st.integers(-2, 2), st.integers(0, 30), st.integers(0, 9), st.integers(0, 1)),
        max_size=60,
    ),
    st.integers(1, 12),
)
def test_persisted_is_the_newest_label_known_by_then(
    rows: list[tuple[int, int, int, int]], horizon_us: int
) -> None:
    rows = [(row[0], row[1], row[2] * 100 + place, row[3]) for place, row in enumerate(rows)]
    expected = []
    for code, at, _, _ in rows:
        known = [row for row in rows if row[0] == code and row[1] + horizon_us < at]
        newest = max(known, key=lambda row: (row[1], row[2]), default=(0, 0, 0, UNKNOWN))
        expected.append(newest[3])
    codes, times, arrivals, ones = np.array(rows, np.int64).reshape(-1, 4).T
    found = persisted(codes, times + 1_786_253_022_500_000, arrivals, ones, horizon_us)
    assert found.tolist() == expected
    assert found.dtype == np.int8


# The window


@given(st.integers(0, 50), st.lists(st.integers(0, 9_000), min_size=1, max_size=6))
def test_a_window_does_not_show_in_what_portions_rows_came(seed: int, sizes: list[int]) -> None:
    whole = columns(seed, sum(sizes))
    batches = np.repeat(np.arange(len(sizes)), sizes)
    window, start = EMPTY, 0
    for number, size in enumerate(sizes):
        window = window.add(number, *(column[start : start + size] for column in whole))
        window = ScoreWindow.of(window.plain())
        start += size
    at_once = EMPTY.add(batches, *whole)
    assert window == at_once
    assert window.plain() == at_once.plain()
    assert window.rows.num_rows == min(sum(sizes), WINDOW_ROWS)


def test_the_oldest_rows_make_room() -> None:
    window = EMPTY.add(1, *columns(1, 6_000)).add(2, *columns(2, 6_000))
    assert window.rows["batch"].to_pylist() == [1] * 4_000 + [2] * 6_000


def test_a_window_keeps_probabilities_bit_for_bit() -> None:
    probabilities = np.array([0.1, 5e-324, np.nextafter(1, 0), 1 / 3])
    ones = np.ones(4, np.int32)
    window = EMPTY.add(7, ["A"] * 4, ones, probabilities, ones, ones)
    again = ScoreWindow.of(window.plain())
    assert again.rows["probability"].to_numpy().tobytes() == probabilities.tobytes()


def test_a_report_has_all_rows_and_each_product() -> None:
    symbols, *scored = columns(3, 500)
    report = EMPTY.add(4, symbols[:300], *(c[:300] for c in scored)).add(
        6, symbols[300:], *(c[300:] for c in scored)
    ).report()  # fmt: skip
    assert (report["from"], report["to"]) == (4, 6)
    assert report["all"]["n"] == 500
    assert list(report["by_product"]) == ["BTC-USD", "ETH-USD", "Ü-USD"]
    mine = np.array(symbols) == "ETH-USD"
    assert report["by_product"]["ETH-USD"]["brier"] == score(*(c[mine] for c in scored)).brier
    assert report["all"]["persistence"]["n"] == np.count_nonzero(scored[3] != UNKNOWN)


def test_a_report_of_nothing_says_nothing() -> None:
    report = EMPTY.report()
    assert (report["from"], report["to"], report["by_product"]) == (None, None, {})
    assert report["all"]["auc"] is None


def test_a_row_without_a_symbol_is_refused() -> None:
    one = np.ones(1, np.int32)
    with pytest.raises(ValueError, match="every row has a batch and a symbol"):
        EMPTY.add(1, [None], one, np.array([0.5]), one, one)


def packed(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return zstandard.compress(sink.getvalue().to_pybytes())


def broken_windows() -> dict[str, bytes]:
    rows = EMPTY.add(1, *columns(1, 100)).rows
    place = rows.schema.get_field_index("label")
    field = rows.schema.field(place)
    return {
        "no zstd": b"what is this",
        "nothing": b"",
        "no Arrow": zstandard.compress(b"what is this"),
        "half": packed(rows)[:-200],
        "other columns": packed(rows.drop_columns(["label"])),
        "a label of 2": packed(rows.set_column(place, field, pa.array([2] * 100, pa.int8()))),
        "too many rows": packed(pa.concat_tables([rows] * 101)),
        "a null": packed(rows.set_column(place, field, pa.array([None] * 100, pa.int8()))),
        "no UTF-8": packed(rows.set_column(1, rows.schema.field(1), letters(100))),
    }


def letters(count: int) -> pa.StringArray:
    """Return strings that are none."""
    offsets = np.arange(count + 1, dtype=np.int32)
    return pa.StringArray.from_buffers(
        count, pa.py_buffer(offsets.tobytes()), pa.py_buffer(b"\xff" * count)
    )


@pytest.mark.parametrize("kind", sorted(broken_windows()))
def test_bytes_that_are_no_window_are_refused(kind: str) -> None:
    with pytest.raises(ModelError, match="window of scored rows"):
        ScoreWindow.of(broken_windows()[kind])


@pytest.mark.parametrize("says_size", [True, False])
def test_what_unpacks_to_too_much_is_not_unpacked(*, says_size: bool) -> None:
    bomb = zstandard.ZstdCompressor(write_content_size=says_size).compress(bytes(100_000_000))
    with pytest.raises(ModelError, match="bytes unpacked are too many"):
        ScoreWindow.of(bomb)
