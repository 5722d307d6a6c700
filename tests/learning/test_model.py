"""Answers depend on the row alone, are calibrated to the base rate, and need no scikit-learn."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotewatch.learning.inputs import INPUTS, Inputs, inputs_of
from quotewatch.learning.model import READY_SAMPLES, Model, scaled, scales
from quotewatch.learning.trainer import learn
from tests.learning.rows import made_up, taught, wild_rows

ROOT = Path(__file__).parents[2]
MODEL = taught()


def part(inputs: Inputs, start: int, end: int) -> Inputs:
    return Inputs(inputs.matrix[start:end], inputs.usable[start:end])


def test_serving_never_loads_scikit_learn() -> None:
    code = (
        "import sys; from quotewatch.learning import document, model, scoring, store, trainer; "
        "sys.exit(any(name.startswith(('sklearn', 'scipy')) for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@given(st.integers(0, 100), st.lists(st.integers(1, 200), min_size=1, max_size=6))
def test_a_row_has_the_same_answer_bit_for_bit_whatever_is_beside_it(
    seed: int, sizes: list[int]
) -> None:
    inputs = inputs_of(wild_rows(seed, sum(sizes)))
    probability, prediction = MODEL.answers(inputs)
    ends = np.cumsum(sizes).tolist()
    pieces = [
        MODEL.answers(part(inputs, end - size, end)) for end, size in zip(ends, sizes, strict=True)
    ]
    assert np.concatenate([piece[0] for piece in pieces]).tobytes() == probability.tobytes()
    assert np.concatenate([piece[1] for piece in pieces]).tobytes() == prediction.tobytes()


def test_answers_are_certain_of_nothing_and_silent_about_what_is_not_usable() -> None:
    inputs = inputs_of(wild_rows(3, 5_000))
    probability, prediction = replace(MODEL, intercept=400.0).answers(inputs)
    assert probability.dtype == np.float64
    assert prediction.dtype == np.int32
    assert not inputs.usable.all()
    assert np.isnan(probability[~inputs.usable]).all()
    assert not prediction[~inputs.usable].any()
    assert ((probability[inputs.usable] > 0.5) & (probability[inputs.usable] < 1)).all()


@pytest.mark.parametrize("rate", [0.5, 0.1, 0.01])
def test_probabilities_keep_to_the_base_rate_and_predictions_stand_above_it(rate: float) -> None:
    model = Model.fresh(500, 1)
    for position in range(1, 101):
        model = learn(model, *made_up(position, 1_000, rate), position)
    inputs, labels = made_up(0, 50_000, rate)
    probability, prediction = model.answers(inputs)
    base_rate = model.classes[1] / sum(model.classes)
    assert probability.mean() == pytest.approx(labels.mean(), rel=0.15)
    assert ((probability > base_rate) == (prediction == 1)).all()
    found, passed = prediction[labels == 1].mean(), 1 - prediction[labels == 0].mean()
    assert min(found, passed) > 0.6


def test_an_unknown_input_counts_as_the_mean() -> None:
    at_mean = np.array([MODEL.means])
    unknown = np.full_like(at_mean, np.nan)
    usable = np.ones(1, np.bool_)
    assert scaled(MODEL, unknown).tolist() == [[0.0] * len(INPUTS)]
    probability, prediction = MODEL.answers(Inputs(unknown, usable))
    expected = MODEL.answers(Inputs(at_mean, usable))
    assert (probability.tolist(), prediction.tolist()) == tuple(each.tolist() for each in expected)


def test_an_outlier_counts_no_more_than_far() -> None:
    far, farther = ([[mean + by for mean in MODEL.means]] for by in (1e3, 1e9))
    assert scaled(MODEL, np.array(far)).tolist() == scaled(MODEL, np.array(farther)).tolist()


def test_numbers_are_scaled_as_standard_scaler_does() -> None:
    from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped] # noqa: PLC0415

    matrix = made_up(1, 500)[0].matrix
    matrix[:, 3] = 1_000_000.1  # constant, but rounding leaves it a variance
    matrix[:, 4] = 0.0
    scaler = StandardScaler().fit(matrix[:177]).partial_fit(matrix[177:])
    assert 0 < scaler.var_[3] < 1e-15
    model = replace(
        Model.fresh(500, 1),
        counts=tuple((~np.isnan(matrix)).sum(axis=0).tolist()),
        means=tuple(scaler.mean_.tolist()),
        variances=tuple(scaler.var_.tolist()),
    )
    assert scales(model).tobytes() == scaler.scale_.tobytes()
    expected = np.nan_to_num(np.clip(scaler.transform(matrix), -5, 5))
    assert scaled(model, matrix).tobytes() == expected.tobytes()


@pytest.mark.parametrize(("zeros", "ones"), [(0, 0), (10_000, 99), (99, 10_000), (100, 100)])
def test_a_model_is_ready_after_enough_of_both_classes(zeros: int, ones: int) -> None:
    model = replace(Model.fresh(500, 1), classes=(zeros, ones))
    assert model.ready == (min(zeros, ones) >= READY_SAMPLES)


def test_versions_sort_as_they_were_learnt() -> None:
    model = Model.fresh(500, 1)
    assert model.version == "001-000000000"
    states = [(1, 2), (1, 10), (1, 123_456_789), (2, 1), (10, 0)]
    versions = [replace(model, line=line, position=position).version for line, position in states]
    assert versions == sorted(versions)
    assert len({len(version) for version in versions}) == 1
