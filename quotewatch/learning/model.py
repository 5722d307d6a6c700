"""What was learnt, as numbers, and its answers: numpy alone, because serving starts often.

An answer depends on its row alone, never on the rows beside it: columns are added one after the
other, since the order in which a matrix product adds depends on how many rows it has.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import log
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt

from quotewatch.learning.inputs import INPUTS, Floats, Inputs

Answers: TypeAlias = npt.NDArray[np.int32]

READY_SAMPLES = 100  # of each class
NOTHING_LEARNT = 0  # label batches are counted from 1

# So far a row may lie from the mean: one odd product must not throw the others' model about.
_FARTHEST = 5.0
_WIDEST_MARGIN = 30.0  # a probability stays strictly between 0 and 1


@dataclass(frozen=True, slots=True)
class Model:
    """One horizon's model after the label batch `position`. `line` counts beginnings."""

    horizon_ms: int
    line: int
    position: int
    features: tuple[str, ...]
    counts: tuple[int, ...]  # rows in which the feature was known
    means: tuple[float, ...]
    variances: tuple[float, ...]
    coefficients: tuple[float, ...]
    intercept: float
    t: float  # 1 + the rows that gradient descent took
    classes: tuple[int, int]  # rows of label 0, of label 1
    libraries: tuple[str, ...]  # names and versions of what learnt last
    source: str = ""  # which labels it has learnt; others begin another model
    learnt_until_us: int = 0  # exchange time of the newest row it has learnt

    @classmethod
    def fresh(cls, horizon_ms: int, line: int, source: str = "") -> Self:
        """Return a model that knows nothing."""
        zeros = (0.0,) * len(INPUTS)
        return cls(
            horizon_ms=horizon_ms,
            line=line,
            position=NOTHING_LEARNT,
            features=INPUTS,
            counts=(0,) * len(INPUTS),
            means=zeros,
            variances=zeros,
            coefficients=zeros,
            intercept=0.0,
            t=1.0,
            classes=(0, 0),
            libraries=(),
            source=source,
        )

    @property
    def version(self) -> str:
        """Return the name of this state: what is learnt later sorts behind it."""
        return f"{self.line:03d}-{self.position:09d}"

    @property
    def ready(self) -> bool:
        """Say whether it has seen enough of both classes to be asked."""
        return min(self.classes) >= READY_SAMPLES

    def answers(self, inputs: Inputs) -> tuple[Floats, Answers]:
        """Return probability and prediction of every row; NaN and 0 where it is not usable.

        Both classes weigh alike in learning, so the margin speaks of a world where they are equally
        frequent. The probability is put back into ours, where label 1 is rare: on average it is the
        base rate. The prediction is 1 where the row is likelier than the base rate, which is not
        the same as likelier than not.
        """
        margin = self._margin(scaled(self, inputs.matrix))
        odds = np.clip(margin + self._prior(), -_WIDEST_MARGIN, _WIDEST_MARGIN)
        probability: Floats = 1.0 / (1.0 + np.exp(-odds))
        probability[~inputs.usable] = np.nan
        return probability, ((margin > 0.0) & inputs.usable).astype(np.int32)

    def _margin(self, matrix: Floats) -> Floats:
        margin = np.full(len(matrix), self.intercept)
        for column, coefficient in zip(matrix.T, self.coefficients, strict=True):
            margin += column * coefficient
        return margin

    def _prior(self) -> float:
        """Return the log odds of the base rate, which equal weights took away."""
        zeros, ones = self.classes
        return log(ones / zeros) if zeros and ones else 0.0


def scaled(model: Model, matrix: Floats) -> Floats:
    """Return how many standard deviations each number lies from its mean; 0 where unknown."""
    # An infinity is in a row that is not usable: its deviation does not matter, nor its warning.
    with np.errstate(invalid="ignore", over="ignore"):
        means, widths = _scale_of(model)
        deviations: Floats = (matrix - means) / widths
    np.clip(deviations, -_FARTHEST, _FARTHEST, out=deviations)
    deviations[np.isnan(deviations)] = 0.0
    return deviations


@lru_cache(maxsize=16)
def _scale_of(model: Model) -> tuple[Floats, Floats]:
    """Return means and standard deviations; a frame of ten rows would wait 15 us for them."""
    found = np.array(model.means), scales(model)
    for each in found:
        each.flags.writeable = False
    return found


def scales(model: Model) -> Floats:
    """Return standard deviations; 1 where a feature is as good as constant.

    As StandardScaler has them, which tells a variance from its own rounding error.
    """
    counts = np.array(model.counts, np.float64)
    means, variances = np.array(model.means), np.array(model.variances)
    epsilon = np.finfo(np.float64).eps
    constant = variances <= counts * epsilon * variances + (counts * means * epsilon) ** 2
    deviations: Floats = np.where(constant, 1.0, np.sqrt(variances))
    return deviations
