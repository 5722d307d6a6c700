from collections.abc import Iterator
from pathlib import Path

import pytest

from quotewatch.tables.commit import Committer, read_ledger
from quotewatch.tables.label_reset import forget_labels
from quotewatch.tables.upkeep import Compaction, compact
from tests.tables.desk import NOON_NS, never, open_desk
from tests.tables.labelled import label_now, labels_in, steady, store_some


@pytest.fixture
def committer(tmp_path: Path) -> Iterator[Committer]:
    with open_desk(tmp_path) as opened:
        frames = steady(6).feature_frames([10] * 6)
        store_some(opened, frames[:4])
        label_now(opened, 500, 1_000)
        store_some(opened, frames[4:])
        label_now(opened, 500, 1_000)
        yield opened


def told(rows: list[dict[str, object]]) -> list[tuple[object, ...]]:
    """Return what makes a label, without when and by which batch it was made."""
    return sorted((row["epoch"], row["seq"], row["row"], row["label"]) for row in rows)


@pytest.mark.parametrize("compacted", [False, True])
def test_labels_made_anew_are_the_same_and_those_of_other_horizons_stay(
    committer: Committer, compacted: bool
) -> None:
    if compacted:  # now files hold rows of both
        done = Compaction()
        compact(committer, "labels", NOON_NS + 3 * 86_400 * 10**9, never, done)
        assert (done.files, done.into) == (3, 1)
    before, other = labels_in(committer, 500), labels_in(committer, 1_000)
    assert forget_labels(committer, 500) == len(before) > 0
    assert labels_in(committer, 500) == []
    assert labels_in(committer, 1_000) == other
    label_now(committer, 500, 1_000)
    assert told(labels_in(committer, 500)) == told(before)
    assert labels_in(committer, 1_000) == other


def test_batches_are_counted_on_and_a_model_is_told_where_the_new_ones_begin(
    committer: Committer,
) -> None:
    last = max(row["batch"] for row in labels_in(committer))
    forget_labels(committer, 500)
    label_now(committer)
    assert min(row["batch"] for row in labels_in(committer)) == last + 1
    marks = read_ledger(committer.tables.load("labels")).marks
    assert (marks["line@500"], marks["first@500"]) == (1, last)


def test_nothing_stored_yet_is_nothing_to_forget(committer: Committer) -> None:
    assert forget_labels(committer, 9_999) == 0
