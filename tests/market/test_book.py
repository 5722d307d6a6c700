"""The book against the plainest book there is."""

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from quotewatch.coinbase.values import Number, price_key
from quotewatch.market.book import _FULL, Book, BookSide

Change = tuple[int, int]  # price in cents, size


class PlainSide:
    """A dict, sorted when asked."""

    def __init__(self) -> None:
        self.levels: dict[Number, float] = {}

    def put(self, key: Number, size: float) -> None:
        if size:
            self.levels[key] = size
        else:
            self.levels.pop(key, None)

    def best(self, depth: int) -> list[tuple[Number, float]]:
        return sorted(self.levels.items(), reverse=True)[:depth]


changes = st.lists(st.tuples(st.integers(1, 900), st.integers(0, 3)), max_size=1500)


@settings(max_examples=60, deadline=None)
@given(snapshot=st.lists(st.tuples(st.integers(1, 900), st.integers(0, 3))), updates=changes)
def test_any_changes_leave_what_a_dict_would_hold(
    snapshot: list[Change], updates: list[Change]
) -> None:
    start = {cents / 100: float(size) for cents, size in snapshot}
    side, plain = BookSide(start.items()), PlainSide()
    for key, size in start.items():
        plain.put(key, size)
    for cents, size in updates:
        side.put(cents / 100, float(size))
        plain.put(cents / 100, float(size))
    assert side.best(2000) == plain.best(2000)
    assert side.best(10) == plain.best(10)
    assert len(side) == len(plain.levels)


@settings(max_examples=60, deadline=None)
@given(updates=changes)
def test_put_never_hides_a_change_of_the_top_ten(updates: list[Change]) -> None:
    side = BookSide()
    for cents, size in updates:
        before = side.best(10)
        moved = side.put(cents / 100, float(size))
        assert moved or side.best(10) == before


def test_a_deep_book_refills_its_best_levels_when_they_are_taken() -> None:
    side = BookSide((float(price), 1.0) for price in range(1, 3 * _FULL))
    for price in range(3 * _FULL - 1, 20, -1):
        side.put(float(price), 0.0)
        assert side.keys[-1] == price - 1
    assert side.best(3) == [(20.0, 1.0), (19.0, 1.0), (18.0, 1.0)]


def test_a_book_that_was_emptied_takes_any_price_again() -> None:
    side = BookSide((float(price), 1.0) for price in range(1, 3 * _FULL))
    for price in range(1, 3 * _FULL):
        side.put(float(price), 0.0)
    assert len(side) == 0
    side.put(0.5, 2.0)
    assert side.best(1) == [(0.5, 2.0)]


def test_two_spellings_of_a_price_are_one_level() -> None:
    book = Book([(price_key("8043"), 1.0)], [(price_key("8044"), 1.0)])
    book.put_bid(price_key("8043.00000000"), 0.0)
    assert book.one_sided
    assert not book.crossed


def test_prices_beyond_the_digits_of_a_float_stay_apart() -> None:
    near = ["12345678901.123456789", "12345678901.123456788"]
    assert float(near[0]) == float(near[1])
    book = Book([(price_key(price), 1.0) for price in near])
    assert [price for price, _ in book.best_bids(2)] == [Decimal(price) for price in near]


def test_a_bid_at_the_ask_crosses() -> None:
    book = Book([(10.0, 1.0)], [(11.0, 1.0)])
    assert not book.crossed
    book.put_bid(11.0, 1.0)
    assert book.crossed


def test_removing_an_absent_level_changes_nothing() -> None:
    book = Book([(10.0, 1.0)], [(11.0, 1.0)])
    assert not book.put_ask(12.0, 0.0)
    assert book.best_asks(5) == [(11.0, 1.0)]


def test_zero_sizes_in_a_snapshot_are_no_levels() -> None:
    assert Book([(10.0, 0.0), (9.0, 1.0)], [(11.0, 1.0)]).best_bids(2) == [(9.0, 1.0)]
