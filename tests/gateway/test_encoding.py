"""Pages become frames without holes, none too large; what cannot is a loss with its reason."""

import pytest

from ingest_gateway.encoding import Encoding, Loss, Outgoing
from ingest_gateway.pages import Page
from quotewatch import frames
from quotewatch.coinbase import exchange
from quotewatch.frames import decode
from tests.gateway.desk import TIME, Desk


def page_of(sizes: list[int]) -> Page:
    """Return a page of one snapshot a size, each with so many levels a side."""
    desk = Desk("exchange")
    for size in sizes:
        levels = [(f"{1000 - place / 100:.2f}", f"{place + 1}.5") for place in range(size)]
        asks = [(f"{1001 + place / 100:.2f}", f"{place + 1}.25") for place in range(size)]
        desk.read(exchange.Snapshot("BTC-USD", levels, asks, TIME))
    return desk.tape.take("raw_orderbook")


def encode(encoding: Encoding, page: Page) -> tuple[list[Outgoing], list[Loss]]:
    made = list(encoding.encode(page, 0.0))
    return (
        [each for each in made if isinstance(each, Outgoing)],
        [each for each in made if isinstance(each, Loss)],
    )


def test_a_page_is_one_frame() -> None:
    encoding = Encoding("raw_orderbook", "epoch", "test")
    for seq in range(3):
        (frame,), losses = encode(encoding, page_of([5, 5]))
        assert (frame.id.seq, frame.rows, losses) == (seq, 2, [])
    assert encoding.next_seq == 3


def test_a_page_too_large_for_one_frame_becomes_several_and_loses_no_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(frames, "HARD_LIMIT_BYTES", 1_900)
    encoding = Encoding("raw_orderbook", "epoch", "test")
    sizes = list(range(20, 60))
    made, losses = encode(encoding, page_of(sizes))
    assert losses == []
    assert [frame.id.seq for frame in made] == list(range(len(made)))
    assert len(made) > 2
    rows = []
    for frame in made:
        assert frame.message is not None
        assert len(frame.message.data) <= 1_900
        rows += decode(frame.message).rows.to_pylist()
    assert [len(row["changes"]) for row in rows] == [2 * size for size in sizes]


def test_a_row_too_large_is_lost_alone_with_its_product_and_leaves_no_hole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(frames, "HARD_LIMIT_BYTES", 4_000)
    made, losses = encode(Encoding("raw_orderbook", "epoch", "test"), page_of([10, 5_000, 10]))
    assert losses == [Loss("raw_orderbook", 1, "too_large", ("BTC-USD",))]
    assert sum(frame.rows for frame in made) == 2
    assert [frame.id.seq for frame in made] == list(range(len(made)))


def test_a_page_that_cannot_be_built_is_a_loss_and_leaves_no_hole() -> None:
    encoding = Encoding("raw_orderbook", "epoch", "test")
    page = page_of([5])
    page.rows[1] = "not a book number"
    made, losses = encode(encoding, page)
    assert (made, losses) == ([], [Loss("raw_orderbook", 1, "encode_failed", ["BTC-USD"])])
    (frame,), _ = encode(encoding, page_of([5]))
    assert frame.id.seq == 0
