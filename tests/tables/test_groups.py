"""Which files become one: never too many, never twice, never across days."""

from hypothesis import given
from hypothesis import strategies as st

from quotewatch.clock import NS_PER_SECOND
from quotewatch.tables.groups import (
    GROUP_BYTES,
    OPEN_FILES,
    OPEN_FILES_LEFT,
    SMALL_BYTES,
    Piece,
    first_open_day,
    plan_groups,
)
from tests.tables.desk import DAY_SECONDS

TODAY = 100


def _piece(sequence: int, *, day: int = TODAY - 1, size: int = 1_000) -> Piece:
    return Piece(f"{day}-{sequence}.parquet", day, size, sequence)


def _merged(group: list[Piece]) -> Piece:
    newest = max(each.sequence for each in group)
    return Piece(f"of-{group[0].path}", group[0].day, sum(each.bytes for each in group), newest + 1)


def _after(pieces: list[Piece], groups: list[list[Piece]]) -> list[Piece]:
    gone = {each.path for group in groups for each in group}
    return [each for each in pieces if each.path not in gone] + [_merged(each) for each in groups]


PIECES = st.lists(
    st.builds(
        lambda day, size: (day, size),
        st.integers(TODAY - 3, TODAY),
        st.one_of(st.integers(0, SMALL_BYTES // 8), st.integers(0, GROUP_BYTES * 2)),
    ),
    max_size=200,
).map(lambda drawn: [_piece(at, day=day, size=size) for at, (day, size) in enumerate(drawn)])


@given(PIECES)
def test_groups_are_small_and_of_one_day_and_share_no_file(pieces: list[Piece]) -> None:
    groups = plan_groups(pieces, TODAY)
    paths = [each.path for group in groups for each in group]
    assert len(paths) == len(set(paths))
    for group in groups:
        assert len(group) > 1
        assert len({each.day for each in group}) == 1
        assert sum(each.bytes for each in group) <= GROUP_BYTES
        assert all(each.bytes < SMALL_BYTES for each in group)


@given(PIECES)
def test_what_was_compacted_is_not_touched_again(pieces: list[Piece]) -> None:
    assert plan_groups(_after(pieces, plan_groups(pieces, TODAY)), TODAY) == []


@given(PIECES)
def test_a_closed_day_keeps_one_small_file_at_most(pieces: list[Piece]) -> None:
    left = _after(pieces, plan_groups(pieces, TODAY))
    for day in range(TODAY - 3, TODAY):
        assert sum(each.is_small for each in left if each.day == day) <= 1


def test_a_day_that_still_grows_is_left_alone() -> None:
    assert plan_groups([_piece(at, day=TODAY) for at in range(OPEN_FILES)], TODAY) == []


def test_many_files_of_today_are_merged_but_for_the_newest() -> None:
    pieces = [_piece(at, day=TODAY) for at in reversed(range(OPEN_FILES + 1))]
    (group,) = plan_groups(pieces, TODAY)
    assert [each.sequence for each in group] == list(range(OPEN_FILES + 1 - OPEN_FILES_LEFT))


def test_large_files_are_left_alone() -> None:
    pieces = [_piece(1, size=SMALL_BYTES), _piece(2, size=SMALL_BYTES), _piece(3)]
    assert plan_groups(pieces, TODAY) == []


def test_a_day_is_open_until_an_hour_after_midnight() -> None:
    midnight_ns = TODAY * DAY_SECONDS * NS_PER_SECOND
    assert first_open_day(midnight_ns + 3_599 * NS_PER_SECOND) == TODAY - 1
    assert first_open_day(midnight_ns + 3_600 * NS_PER_SECOND) == TODAY
