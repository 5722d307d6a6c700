"""One side of the simulated book: sorted, never empty, and its changes rebuild it."""

from hypothesis import given
from hypothesis import strategies as st

from quotewatch.local.exchange.model_book import BookSide

actions = st.lists(
    st.tuples(
        st.sampled_from(["place", "quote", "take", "remove_far"]),
        st.integers(1, 60),
        st.integers(1, 9),
    ),
    max_size=60,
)


def act(side: BookSide, what: str, tick: int, lots: int) -> None:
    key = tick * side.sign
    if what == "place":
        side.place(key, lots)
    elif what == "quote":
        side.quote(key, lots)
    elif what == "take":
        side.take(lots)
    elif len(side.order) > 1:
        side.remove(side.order[0])


@given(sign=st.sampled_from([1, -1]), done=actions)
def test_changes_rebuild_the_side(sign: int, done: list[tuple[str, int, int]]) -> None:
    side = BookSide(sign)
    side.place(30 * sign, 5)
    seen = dict(side.take_changes())
    for what, tick, lots in done:
        act(side, what, tick, lots)
        seen.update(side.take_changes())
        levels = side.levels()
        assert {t: n for t, n in seen.items() if n} == dict(levels)
        assert side.order == sorted(set(side.order))
        assert levels
        assert all(n > 0 for _, n in levels)
        best = max if sign > 0 else min
        assert levels[0][0] == best(t for t, _ in levels)


@given(lots=st.integers(1, 50), there=st.integers(1, 50))
def test_a_trade_never_gets_more_than_there_is(lots: int, there: int) -> None:
    side = BookSide(1)
    side.place(10, 7)
    side.place(11, there)
    got = side.take(lots)
    assert got == min(lots, there)
    assert dict(side.levels()).get(11, 0) == there - got
