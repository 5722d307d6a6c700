"""Numbers come out of a page as they were spelled on the wire, whatever their neighbours."""

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from quotewatch.coinbase import exchange
from tests.gateway.desk import TIME, Desk


def spelled(integers: int, decimals: int) -> st.SearchStrategy[str]:
    """Draw plain decimal numbers with up to so many digits on either side of the point."""
    whole = st.integers(0, 10**integers - 1).map(str)
    places = st.integers(1, decimals)
    fraction = places.flatmap(lambda n: st.integers(0, 10**n - 1).map(lambda d: f"{d:0{n}d}"))
    return st.one_of(whole, st.tuples(whole, fraction).map(".".join))


usual = spelled(7, 8)  # what Coinbase sends
wide = spelled(20, 18)  # all that the tables hold


@settings(max_examples=40, deadline=None)
@given(
    levels=st.lists(
        st.tuples(
            st.sampled_from(["buy", "sell"]),
            st.one_of(usual, wide).filter(lambda text: Decimal(text) > 0),
            st.one_of(usual, wide),
        ),
        min_size=1,
        max_size=30,
    ),
    repeats=st.sampled_from([1, 20]),  # few numbers and many take different ways
)
def test_every_number_survives_the_way_to_the_frame(
    levels: list[tuple[exchange.MakerSide, str, str]], repeats: int
) -> None:
    desk = Desk("exchange")
    desk.read(*[exchange.L2Update("BTC-USD", levels, TIME)] * repeats)
    assert desk.events("reject") == []
    wanted = [
        {
            "side": "bid" if side == "buy" else "ask",
            "price": Decimal(price),
            "size": Decimal(size),
        }
        for side, price, size in levels
    ]
    for row in desk.rows("raw_orderbook"):
        assert row["changes"] == wanted


@settings(max_examples=20, deadline=None)
@given(
    numbers=st.lists(
        st.tuples(usual.filter(lambda text: Decimal(text) > 0), usual), min_size=200, max_size=300
    )
)
def test_usual_numbers_survive_in_large_pages(numbers: list[tuple[str, str]]) -> None:
    desk = Desk("exchange")
    desk.read(
        exchange.L2Update("BTC-USD", [("sell", price, size) for price, size in numbers], TIME)
    )
    (row,) = desk.rows("raw_orderbook")
    found = [(change["price"], change["size"]) for change in row["changes"]]
    assert found == [(Decimal(price), Decimal(size)) for price, size in numbers]
