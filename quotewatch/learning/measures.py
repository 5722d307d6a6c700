"""How far probabilities are from what came, in one number each. Pure.

What cannot be said is None, never 0 or 0.5: an AUC of one class only, anything of no rows.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from quotewatch.learning.inputs import Flags, Floats

_BINS = 10


def auc(ones: Flags, probabilities: npt.NDArray[Any]) -> float | None:
    """Return the share of (1, 0) pairs in the right order, ties counting half; in whole numbers."""
    places = np.unique(probabilities, return_inverse=True)[1]
    positives = np.bincount(places, ones).astype(np.int64)
    negatives = np.bincount(places, ~ones).astype(np.int64)
    pairs = int(positives.sum()) * int(negatives.sum())
    if not pairs:
        return None
    below = np.cumsum(negatives) - negatives
    return int((positives * (2 * below + negatives)).sum()) / (2 * pairs)


def brier(ones: Flags, probabilities: Floats) -> float | None:
    """Return the mean squared distance."""
    return float(((probabilities - ones) ** 2).mean()) if len(ones) else None


def log_loss(ones: Flags, probabilities: Floats) -> float | None:
    """Return the mean negative logarithm of the probability of what came."""
    if not len(ones):
        return None
    epsilon = np.finfo(np.float64).eps  # a certainty that was wrong costs 36, not infinity
    likelihood = np.where(ones, probabilities, 1.0 - probabilities)
    return float(-np.log(np.clip(likelihood, epsilon, 1.0 - epsilon)).mean())


def balanced_accuracy(ones: Flags, said: Flags) -> float | None:
    """Return the mean of both classes' shares of right predictions."""
    if ones.all() or not ones.any():
        return None
    return (float(said[ones].mean()) + float((~said[~ones]).mean())) / 2


def calibration_error(ones: Flags, probabilities: Floats) -> float | None:
    """Return by how much probabilities miss the share of ones, over bins of equal width."""
    if not len(ones):
        return None
    bins = np.minimum((probabilities * _BINS).astype(np.int64), _BINS - 1)
    missed = np.bincount(bins, probabilities - ones, minlength=_BINS)
    return float(np.abs(missed).sum() / len(ones))
