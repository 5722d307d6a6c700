"""Learn one batch of labels: a model and a batch in, the next model out. Pure.

scikit-learn's estimators are made from the model's numbers for every batch and read back into it:
whether a process went on learning or loaded the model in between changes no bit, and
nothing is ever pickled.
"""

import importlib
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from quotewatch.learning.inputs import Floats, Inputs
from quotewatch.learning.model import Model, scaled

if TYPE_CHECKING:
    from sklearn.linear_model import SGDClassifier  # type: ignore[import-untyped]  # has no types
    from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped]

Labels = npt.NDArray[np.integer[Any]]

# Chosen on real captures and on made-up rows whose best answer is known; the step shrinks with the
# root of the rows taken and stays at 0.003 after 10 000, so that a changed market is learnt too.
_FIRST_STEP = 0.3
_STEADY_ROWS = 10_000.0
_ALPHA = 1e-5


def learn(model: Model, inputs: Inputs, labels: Labels, position: int) -> Model:
    """Return the model after one more batch; rows that are not usable teach nothing."""
    _check(model, inputs, labels, position)
    matrix, labels = inputs.matrix[inputs.usable], labels[inputs.usable]
    moved = replace(model, position=position)
    if not len(labels):
        return moved
    counted = _count(_measure(moved, matrix), labels)
    # As long as nothing moved there is nothing to tell apart: hours of zeros would only push the
    # intercept so low that the first hundreds of ones could not lift it again.
    return _descend(counted, matrix, labels) if all(counted.classes) else counted


def _check(model: Model, inputs: Inputs, labels: Labels, position: int) -> None:
    if position <= model.position:
        raise ValueError(f"batch {position} is in model {model.version} already: pass later ones")
    if labels.shape != inputs.usable.shape or not ((labels == 0) | (labels == 1)).all():
        raise ValueError(f"{len(inputs.usable)} rows need as many labels, each of them 0 or 1")


def _measure(model: Model, matrix: Floats) -> Model:
    """Take the rows into the counts, means and variances of the features."""
    # A feature that is unknown in the whole batch stays out: StandardScaler would divide by its
    # count of 0 and never get rid of the NaN.
    known = ~np.isnan(matrix).all(axis=0)
    counts, means = np.array(model.counts), np.array(model.means)
    variances = np.array(model.variances)
    scaler = _scaler(counts[known], means[known], variances[known])
    scaler.partial_fit(matrix[:, known])
    counts[known], means[known] = scaler.n_samples_seen_, scaler.mean_
    variances[known] = scaler.var_
    return replace(
        model,
        counts=tuple(counts.tolist()),
        means=tuple(means.tolist()),
        variances=tuple(variances.tolist()),
        libraries=_libraries(),
    )


def _count(model: Model, labels: Labels) -> Model:
    zeros, ones = model.classes
    new = int(np.count_nonzero(labels))
    return replace(model, classes=(zeros + len(labels) - new, ones + new))


def _descend(model: Model, matrix: Floats, labels: Labels) -> Model:
    """Take one step of gradient descent per row."""
    descent = _descent(model)
    descent.partial_fit(scaled(model, matrix), labels, sample_weight=_weights(model, labels))
    return replace(
        model,
        coefficients=tuple(descent.coef_[0].tolist()),
        intercept=float(descent.intercept_[0]),
        t=model.t + len(labels),
    )


def _weights(model: Model, labels: Labels) -> Floats:
    """Weigh both classes alike, each row of the rarer one by 1.

    More than 1 would be a longer step: one row in a thousand could throw the model about.
    """
    zeros, ones = model.classes
    fewest = min(zeros, ones)
    return np.where(labels == 1, fewest / ones, fewest / zeros)


def load() -> None:
    """Import what learning needs, a second or two: it is not the time of the first batch."""
    importlib.import_module("sklearn.linear_model")
    importlib.import_module("sklearn.preprocessing")


def _scaler(counts: npt.NDArray[np.int64], means: Floats, variances: Floats) -> "StandardScaler":
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415 - serving need not wait for it

    scaler = StandardScaler()
    scaler.n_samples_seen_, scaler.mean_, scaler.var_ = counts, means, variances
    scaler.scale_ = np.ones_like(means)  # overwritten; being there says that this is not the start
    scaler.n_features_in_ = len(means)
    return scaler


def _descent(model: Model) -> "SGDClassifier":
    from sklearn.linear_model import SGDClassifier  # noqa: PLC0415

    descent = SGDClassifier(
        loss="log_loss",
        learning_rate="invscaling",
        eta0=_FIRST_STEP,
        alpha=_ALPHA,
        random_state=0,  # rows are stored by product: shuffled always alike, the last is no better
    )
    descent.classes_ = np.array([0, 1])
    descent.coef_ = np.array([model.coefficients])
    descent.intercept_ = np.array([model.intercept])
    descent.t_ = min(model.t, _STEADY_ROWS)
    descent.n_features_in_ = len(model.coefficients)
    return descent


@cache
def _libraries() -> tuple[str, ...]:
    return tuple(f"{name} {version(name)}" for name in ("numpy", "scikit-learn"))
