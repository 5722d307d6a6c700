"""Learning is a function of the model and the batch: nothing else is remembered anywhere."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotewatch.learning.document import Version, decode, encode
from quotewatch.learning.inputs import INPUTS, Inputs, inputs_of
from quotewatch.learning.measures import auc
from quotewatch.learning.model import Model
from quotewatch.learning.scoring import ScoreWindow
from quotewatch.learning.trainer import Labels, learn
from tests.learning.rows import made_up, rows_of, taught, wild_rows

FRESH = Model.fresh(500, 1)


def stored_and_loaded(model: Model) -> Model:
    document = encode(Version(model, {}, ScoreWindow.empty()))
    return decode(document, model.version, model.horizon_ms).model


def some(inputs: Inputs, labels: Labels, chosen: Any) -> tuple[Inputs, Labels]:
    return Inputs(inputs.matrix[chosen], inputs.usable[chosen]), labels[chosen]


def cut(seed: int, ends: list[int]) -> Iterator[tuple[Inputs, Labels]]:
    """Yield wild rows in batches, the first of them without a single 1."""
    inputs = inputs_of(wild_rows(seed, ends[-1]))
    labels = np.random.default_rng(seed).integers(0, 2, ends[-1])
    labels[: ends[-1] // 4] = 0
    for start, end in pairwise([0, *ends]):
        yield some(inputs, labels, slice(start, end))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1_000), st.sets(st.integers(1, 800), min_size=1, max_size=8), st.data())
def test_storing_and_loading_in_between_changes_no_bit(
    seed: int, ends: set[int], data: st.DataObject
) -> None:
    went_on = loaded = FRESH
    for position, (inputs, labels) in enumerate(cut(seed, sorted(ends)), start=1):
        went_on = learn(went_on, inputs, labels, position)
        loaded = learn(loaded, inputs, labels, position)
        if data.draw(st.booleans()):
            loaded = stored_and_loaded(loaded)
        assert loaded == went_on
    document = encode(Version(went_on, {}, ScoreWindow.empty()))
    assert encode(Version(loaded, {}, ScoreWindow.empty())) == document


def test_it_learns_what_there_is_to_learn() -> None:
    inputs, labels = made_up(99, 20_000)
    model = taught(batches=20)
    found = auc(labels == 1, model.answers(inputs)[0])
    best = auc(labels == 1, 2 * inputs.matrix[:, 0] - inputs.matrix[:, 1])
    assert found is not None
    assert best is not None
    assert found > best - 0.01


def test_the_scaler_counts_what_is_known_of_each_feature() -> None:
    inputs, labels = made_up(1, 1_000)
    model = learn(learn(FRESH, inputs, labels, 1), inputs, labels, 2)
    known = ~np.isnan(inputs.matrix)
    assert model.counts == tuple((2 * known.sum(axis=0)).tolist())
    np.testing.assert_allclose(model.means, np.nanmean(inputs.matrix, axis=0))
    np.testing.assert_allclose(model.variances, np.nanvar(inputs.matrix, axis=0))
    assert model.t == 1 + 2 * 1_000
    assert model.classes == (2 * (1_000 - labels.sum()), 2 * labels.sum())


def test_a_feature_may_be_unknown_for_long_and_again_later() -> None:
    inputs, labels = made_up(1, 300)
    place = INPUTS.index("log_volatility")
    blank = inputs.matrix.copy()
    blank[:, place] = np.nan
    without = Inputs(blank, inputs.usable)
    model = learn(FRESH, without, labels, 1)
    assert (model.counts[place], model.means[place], model.variances[place]) == (0, 0.0, 0.0)
    model = learn(model, inputs, labels, 2)
    met = model.means[place], model.variances[place]
    np.testing.assert_allclose(met[0], np.nanmean(inputs.matrix[:, place]))
    model = learn(model, without, labels, 3)
    assert (model.means[place], model.variances[place]) == met
    assert np.isfinite(model.answers(inputs)[0]).all()


def test_rows_that_are_not_usable_teach_nothing() -> None:
    rows = wild_rows(5, 500)
    inputs = inputs_of(rows)
    labels = np.random.default_rng(0).integers(0, 2, 500)
    assert 0 < inputs.usable.sum() < 500
    assert learn(FRESH, inputs, labels, 1) == learn(FRESH, *some(inputs, labels, inputs.usable), 1)


def test_a_batch_that_teaches_nothing_moves_the_position_alone() -> None:
    model = taught()
    broken = inputs_of(rows_of({"mid": float("nan")}, {"depth": float("inf")}))
    nothing = inputs_of(rows_of())
    assert learn(model, broken, np.array([0, 1]), 7) == replace(model, position=7)
    assert learn(model, nothing, np.array([], np.int32), 9) == replace(model, position=9)
    assert learn(FRESH, nothing, np.array([], np.int32), 1) == replace(FRESH, position=1)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone_is_counted_and_never_ready(label: int) -> None:
    inputs, _ = made_up(1, 1_000)
    model = learn(FRESH, inputs, np.full(1_000, label), 1)
    assert sorted(model.classes) == [0, 1_000]
    assert not model.ready
    assert min(model.counts) > 0
    model = learn(model, *made_up(2, 1_000, 0.3), 2)
    assert model.ready
    assert any(model.coefficients)


def test_a_batch_of_one_class_is_learnt_once_both_are_known() -> None:
    model = taught()
    inputs, _ = made_up(1, 200)
    after = learn(model, inputs, np.zeros(200, np.int32), 4)
    assert after.intercept != model.intercept


def test_hours_without_a_move_do_not_hold_back_what_comes_after() -> None:
    model = FRESH
    for position in range(1, 51):
        inputs, _ = made_up(position, 1_000)
        model = learn(model, inputs, np.zeros(1_000, np.int32), position)
    for position in range(51, 54):
        model = learn(model, *made_up(position, 1_000), position)
    inputs, labels = made_up(0, 5_000)
    probability, prediction = model.answers(inputs)
    found = auc(labels == 1, probability)
    assert model.ready
    # All of these rows are likelier than the base rate of all that was seen.
    assert prediction[labels == 1].mean() > 0.9
    assert found is not None
    assert found > 0.7


def test_rare_labels_make_no_long_steps() -> None:
    model = FRESH
    for position in range(1, 201):
        model = learn(model, *made_up(position, 1_000, 0.002), position)
    before = model
    inputs, labels = made_up(500, 1_000, 0.002)
    after = learn(before, inputs, labels, 201)
    moved = np.abs(np.subtract(after.coefficients, before.coefficients)).max()
    assert moved < 0.1
    assert np.abs(after.coefficients).max() < 3


def test_a_product_of_another_scale_does_not_blow_the_model_up() -> None:
    model = taught(batches=20)
    inputs, labels = made_up(77, 1_000)
    strange = Inputs(inputs.matrix * 1e6 + 1e7, inputs.usable)
    after = learn(model, strange, labels, 21)
    assert np.abs(after.coefficients).max() < 10
    assert np.isfinite(after.answers(inputs)[0]).all()


def test_rows_of_a_batch_stored_by_product_are_not_learnt_in_that_order() -> None:
    inputs, labels = made_up(1, 4_000)
    by_class = np.argsort(labels, kind="stable")  # the worst there could be
    model = learn(FRESH, *some(inputs, labels, by_class), 1)
    assert model.answers(inputs)[0].mean() == pytest.approx(labels.mean(), abs=0.03)


def test_after_millions_of_rows_a_changed_market_is_still_learnt() -> None:
    model = replace(taught(batches=20), t=1e8)
    for position in range(21, 41):
        inputs, labels = made_up(position, 1_000)
        model = learn(model, inputs, 1 - labels, position)
    inputs, labels = made_up(0, 5_000)
    turned = auc(labels == 0, model.answers(inputs)[0])
    assert turned is not None
    assert turned > 0.6


@pytest.mark.parametrize("position", [0, 2, 3])
def test_a_batch_is_not_learnt_twice(position: int) -> None:
    with pytest.raises(ValueError, match=f"batch {position} is in model 001-000000003 already"):
        learn(taught(), *made_up(1, 10), position)


@pytest.mark.parametrize("labels", [[0, 1], [0, 1, 2], [0, -1, 1], [[0, 1, 1]]])
def test_labels_that_do_not_fit_are_refused(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="3 rows need as many labels, each of them 0 or 1"):
        learn(FRESH, inputs_of(rows_of({}, {}, {})), np.array(labels), 1)


def test_the_libraries_that_learnt_are_named() -> None:
    names = [each.split()[0] for each in taught().libraries]
    assert names == ["numpy", "scikit-learn"]
