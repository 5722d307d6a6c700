"""Every number is the one that scikit-learn gives; what cannot be said is None."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics  # type: ignore[import-untyped]  # has no types

from quotewatch.learning.measures import auc, balanced_accuracy, brier, calibration_error, log_loss

# Few values, so that there are ties; and the ends, where logarithms have none.
PROBABILITIES = st.sampled_from([0.0, 1e-300, 0.1, 0.1 + 1e-17, 0.3, 0.5, 0.95, 1.0])
ROWS = st.lists(
    st.tuples(st.booleans(), PROBABILITIES | st.floats(0, 1), st.booleans()), min_size=1
)


def exactly(value: float) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-12)


@given(ROWS)
def test_measures_are_those_of_scikit_learn(rows: list[tuple[bool, float, bool]]) -> None:
    ones, probabilities, said = (np.array(column) for column in zip(*rows, strict=True))
    assert brier(ones, probabilities) == exactly(
        metrics.brier_score_loss(ones, probabilities, labels=[False, True])
    )
    assert log_loss(ones, probabilities) == exactly(
        metrics.log_loss(ones, probabilities, labels=[False, True])
    )
    if ones.all() or not ones.any():
        assert auc(ones, probabilities) is None
        assert balanced_accuracy(ones, said) is None
        return
    assert auc(ones, probabilities) == exactly(metrics.roc_auc_score(ones, probabilities))
    assert balanced_accuracy(ones, said) == exactly(metrics.balanced_accuracy_score(ones, said))


@given(ROWS)
def test_auc_is_the_share_of_pairs_in_order(rows: list[tuple[bool, float, bool]]) -> None:
    high = [probability for one, probability, _ in rows if one]
    low = [probability for one, probability, _ in rows if not one]
    pairs = [1.0 if up > down else 0.5 if up == down else 0.0 for up in high for down in low]
    ones, probabilities, _ = (np.array(column) for column in zip(*rows, strict=True))
    assert auc(ones, probabilities) == (sum(pairs) / len(pairs) if pairs else None)


def test_calibration_error_is_the_mean_miss_of_ten_bins() -> None:
    # Bin 0: says 0.05, is 0.5. Bin 9: says 0.9 and 1.0, is 1.
    ones = np.array([True, False, True, True])
    probabilities = np.array([0.05, 0.05, 0.9, 1.0])
    assert calibration_error(ones, probabilities) == pytest.approx((2 * 0.45 + 0.1) / 4)


def test_nothing_is_said_of_no_rows() -> None:
    none, nothing = np.array([], np.bool_), np.array([])
    assert auc(none, nothing) is None
    assert brier(none, nothing) is None
    assert log_loss(none, nothing) is None
    assert calibration_error(none, nothing) is None
    assert balanced_accuracy(none, none) is None
