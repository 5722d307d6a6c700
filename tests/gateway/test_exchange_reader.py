"""What becomes of Exchange messages, good and bad."""

from decimal import Decimal

import pytest

from quotewatch.coinbase import exchange
from tests.gateway.desk import TIME, Desk

BIDS = [("100.00", "1"), ("99.00", "2")]
ASKS = [("101.00", "1"), ("102.00", "2")]


@pytest.fixture
def desk() -> Desk:
    desk = Desk("exchange")
    desk.read(snapshot("BTC-USD"), snapshot("ETH-USD"))
    return desk


def snapshot(product: str) -> exchange.Snapshot:
    return exchange.Snapshot(product, BIDS, ASKS)


def update(*changes: tuple[exchange.MakerSide, str, str], product: str = "BTC-USD") -> bytes:
    return exchange.encode(exchange.L2Update(product, list(changes), TIME))


def match(trade_id: int, **others: str) -> bytes:
    fields = {"side": "sell", "size": "0.5", "price": "100.5", "time": TIME} | others
    return exchange.encode(
        exchange.Match(
            trade_id=trade_id,
            product_id="BTC-USD",
            sequence=10 * trade_id,
            **fields,  # type: ignore[arg-type]
        )
    )


def test_an_update_is_kept_exactly_and_makes_a_features_row(desk: Desk) -> None:
    desk.read(update(("buy", "100.50000000", "12345678901.12345678"), ("sell", "101.00", "0")))
    row = desk.rows("raw_orderbook")[-1]
    assert (row["symbol"], row["book"], row["kind"], row["conn"]) == ("BTC-USD", 1, "update", 1)
    assert row["changes"] == [
        {"side": "bid", "price": Decimal("100.5"), "size": Decimal("12345678901.12345678")},
        {"side": "ask", "price": Decimal(101), "size": Decimal(0)},
    ]
    assert row["exchange_time"].isoformat() == "2026-08-09T05:23:42.196708+00:00"
    features = desk.rows("features")[-1]
    assert (features["best_bid"], features["best_ask"]) == (Decimal("100.5"), Decimal(102))
    assert features["arrival"] == row["arrival"]


def test_a_snapshot_is_a_row_of_all_its_levels_and_no_features(desk: Desk) -> None:
    rows = desk.rows("raw_orderbook")
    assert [row["kind"] for row in rows] == ["snapshot", "snapshot"]
    assert [change["side"] for change in rows[0]["changes"]] == ["bid", "bid", "ask", "ask"]
    assert rows[0]["exchange_time"] is None
    assert desk.rows("features") == []
    assert [row["count"] for row in desk.events("snapshot")] == [4, 4]


def test_the_taker_is_the_other_side_than_the_maker(desk: Desk) -> None:
    desk.read(match(7, side="sell"), match(8, side="buy"))
    assert [row["taker_side"] for row in desk.rows("raw_trades")] == ["buy", "sell"]


def test_last_match_is_kept_but_is_no_live_trade(desk: Desk) -> None:
    last = exchange.LastMatch(5, "buy", "1", "100", "BTC-USD", 50, TIME)
    desk.read(last, match(6))
    assert [(row["trade_id"], row["live"]) for row in desk.rows("raw_trades")] == [
        (5, False),
        (6, True),
    ]
    assert desk.events("gap") == []


def test_the_last_match_of_a_reconnect_is_dropped_once_known(desk: Desk) -> None:
    desk.read(match(6))
    desk.reconnect()
    desk.read(exchange.LastMatch(6, "buy", "1", "100", "BTC-USD", 60, TIME))
    assert len(desk.rows("raw_trades")) == 1
    (drop,) = desk.events("drop")
    assert (drop["reason"], drop["from_id"], drop["count"]) == ("duplicate", 6, 1)


def test_trades_missed_over_a_reconnect_are_a_gap(desk: Desk) -> None:
    desk.read(match(6))
    desk.reconnect()
    desk.read(exchange.LastMatch(9, "buy", "1", "100", "BTC-USD", 90, TIME))
    (gap,) = desk.events("gap")
    assert (gap["from_id"], gap["to_id"], gap["count"], gap["reason"]) == (7, 8, 2, "trade_id")
    assert (gap["symbol"], gap["stream"], gap["conn"]) == ("BTC-USD", "raw_trades", 2)


def test_trades_that_swapped_places_are_both_kept(desk: Desk) -> None:
    desk.read(match(6), match(8), match(7), match(9))
    assert [row["trade_id"] for row in desk.rows("raw_trades")] == [6, 8, 7, 9]
    assert desk.events("drop") == []


def test_a_heartbeat_tells_of_trades_missed_in_silence(desk: Desk) -> None:
    beat = exchange.Heartbeat(8, "BTC-USD", 80, TIME)
    desk.read(match(6), beat, beat)
    (gap,) = desk.events("gap")
    assert (gap["from_id"], gap["to_id"], gap["reason"]) == (7, 8, "heartbeat")
    assert desk.journal.missed_trades == 2


def test_updates_before_the_snapshot_are_kept_under_a_book_that_never_began() -> None:
    desk = Desk("exchange")
    desk.read(update(("buy", "1", "1")), snapshot("BTC-USD"), update(("buy", "100.1", "1")))
    rows = desk.rows("raw_orderbook")
    assert [(row["kind"], row["book"]) for row in rows] == [
        ("update", 0),
        ("snapshot", 1),
        ("update", 1),
    ]
    assert [row["book"] for row in desk.rows("features")] == [1]


BAD_LEVEL2 = {
    "malformed_json": b'{"type":"l2update","product_id":"BTC-USD","changes":[["buy","100',
    "missing_field": b'{"type":"l2update","product_id":"BTC-USD","time":"2026-08-09T05:23:42Z"}',
    "wrong_type": b'{"type":"l2update","product_id":"BTC-USD","changes":7,"time":"x"}',
    "bad_value": b'{"type":"l2update","product_id":"BTC-USD","changes":[["b","1","1"]],"time":""}',
    "bad_price": update(("buy", "-100.00", "1")),
    "bad_size": update(("buy", "100.50", "1"), ("sell", "100.60", "1_0")),
    "bad_time": exchange.encode(
        exchange.L2Update("BTC-USD", [("buy", "100", "1")], "2026-13-45T05:23:42Z")
    ),
}


@pytest.mark.parametrize("reason", BAD_LEVEL2)
def test_a_refused_level2_message_costs_its_book_and_no_other(desk: Desk, reason: str) -> None:
    desk.read(BAD_LEVEL2[reason])
    desk.read(update(("buy", "100.10", "1")), update(("buy", "100.10", "1"), product="ETH-USD"))
    (reject,) = desk.events("reject")
    assert (reject["reason"], reject["symbol"]) == (reason, "BTC-USD")
    (invalid,) = desk.events("invalid")
    assert (invalid["symbol"], invalid["book"], invalid["reason"]) == ("BTC-USD", 1, "rejected")
    assert [row["symbol"] for row in desk.rows("features")] == ["ETH-USD"]
    assert list(desk.reader.wanted) == ["BTC-USD"]
    assert desk.journal.counts["reject", reason] == 1


def test_a_fresh_snapshot_heals_a_lost_book(desk: Desk) -> None:
    desk.read(BAD_LEVEL2["bad_price"], snapshot("BTC-USD"), update(("buy", "100.10", "1")))
    assert [row["book"] for row in desk.rows("features")] == [3]
    assert desk.reader.wanted == {}


@pytest.mark.parametrize(
    "garbage", [b"{{{", b"", b"\xff\xfe", b'{"no":"type"}', b"[1,2]", b"null", b'"text"']
)
def test_a_message_that_could_be_anything_costs_every_book(desk: Desk, garbage: bytes) -> None:
    desk.read(garbage)
    assert len(desk.events("reject")) == 1
    assert {row["symbol"] for row in desk.events("invalid")} == {"BTC-USD", "ETH-USD"}


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("price", "0", "bad_price"),
        ("price", "", "bad_price"),
        ("price", "NaN", "bad_price"),
        ("size", "-1", "bad_size"),
        ("size", "0.00000000", "bad_size"),
        ("size", "1e5", "bad_size"),
        ("time", "yesterday", "bad_time"),
        ("time", "2026-08-09T05:23:42.1234567890Z", "bad_time"),
        ("time", "2026-08-09 05:23:42Z", "bad_time"),
    ],
)
def test_a_refused_trade_leaves_the_book_and_shows_as_a_gap(
    desk: Desk, field: str, value: str, reason: str
) -> None:
    desk.read(match(6), match(7, **{field: value}), match(8), update(("buy", "100.1", "1")))
    assert desk.reasons("reject") == [reason]
    assert [(row["from_id"], row["to_id"]) for row in desk.events("gap")] == [(7, 7)]
    assert desk.events("invalid") == []
    assert len(desk.rows("features")) == 1


def test_an_id_beyond_a_long_is_refused(desk: Desk) -> None:
    desk.read(match(6).replace(b'"trade_id":6', b'"trade_id":99999999999999999999'))
    assert desk.reasons("reject") in (["wrong_type"], ["bad_value"])
    assert desk.rows("raw_trades") == []


def test_eighteen_decimals_are_kept_and_nineteen_are_refused(desk: Desk) -> None:
    desk.read(match(1, price="0.000000000000000001", size="99999999999999999999.5"))
    desk.read(match(2, price="0.0000000000000000001"))
    (row,) = desk.rows("raw_trades")
    assert row["price"] == Decimal("1e-18")
    assert row["size"] == Decimal("99999999999999999999.5")
    assert desk.reasons("reject") == ["bad_price"]


def test_nine_digits_of_a_second_are_cut_not_rounded(desk: Desk) -> None:
    desk.read(
        match(1, time="2026-08-09T05:23:42.196708999Z"), match(2, time="2026-08-09T05:23:42Z")
    )
    times = [row["exchange_time"].isoformat() for row in desk.rows("raw_trades")]
    assert times == ["2026-08-09T05:23:42.196708+00:00", "2026-08-09T05:23:42+00:00"]


def test_unknown_types_are_counted_and_said_once(desk: Desk) -> None:
    desk.read('{"type":"novelty","x":1}', '{"type":"novelty","x":2}', '{"type":"ticker"}')
    assert desk.reasons("reject") == ["unknown_type"]
    assert desk.tape.counts["unknown_type"] == 2
    assert desk.events("invalid") == []


def test_products_nobody_asked_for_are_counted_and_said_once(desk: Desk) -> None:
    desk.read(snapshot("DOGE-USD"), update(("buy", "1", "1"), product="DOGE-USD"))
    assert desk.reasons("reject") == ["unknown_product"]
    assert (desk.tape.counts["snapshot"], desk.tape.counts["l2update"]) == (3, 1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [(("buy", "101.00", "1"), "crossed"), (("buy", "105", "1"), "crossed")],
)
def test_a_crossed_book_is_lost(
    desk: Desk, change: tuple[exchange.MakerSide, str, str], reason: str
) -> None:
    desk.read(update(change), update(("buy", "100.10", "1")))
    assert desk.reasons("invalid") == [reason]
    assert desk.rows("features") == []
    assert [row["book"] for row in desk.rows("raw_orderbook")] == [1, 1, 1, 2]


def test_a_one_sided_book_is_lost(desk: Desk) -> None:
    desk.read(update(("sell", "101.00", "0"), ("sell", "102.00", "0")))
    assert desk.reasons("invalid") == ["one_sided"]


def test_a_crossed_snapshot_does_not_begin_a_book(desk: Desk) -> None:
    desk.read(exchange.Snapshot("BTC-USD", [("105", "1")], ASKS), update(("buy", "1", "1")))
    assert desk.reasons("invalid") == ["crossed"]
    assert desk.rows("features") == []
    assert "BTC-USD" in desk.reader.wanted


def test_one_row_with_many_digits_widens_its_frame_and_loses_nothing(desk: Desk) -> None:
    desk.read(update(("buy", "100.10", "1")), update(("buy", "100.123456789012", "1")))
    prices = [row["changes"][0]["price"] for row in desk.rows("raw_orderbook")[-2:]]
    assert prices == [Decimal("100.1"), Decimal("100.123456789012")]


def test_a_message_nested_too_deep_is_refused_and_no_more(desk: Desk) -> None:
    deep = b"[" * 50_000 + b"]" * 50_000
    desk.read(update(("buy", "100.10", "1"))[:-1] + b',"extra":' + deep + b"}")
    desk.read(update(("buy", "100.10", "1"), product="ETH-USD"))
    assert desk.reasons("reject") == ["bad_value"]
    assert [row["symbol"] for row in desk.rows("features")] == ["ETH-USD"]


def test_a_time_far_ahead_is_refused_before_it_becomes_the_newest(desk: Desk) -> None:
    future = "2099-01-01T00:00:00.000000Z"
    desk.read(exchange.L2Update("BTC-USD", [("buy", "100.10", "1")], future))
    desk.read(match(7, time=future), exchange.Heartbeat(0, "ETH-USD", 1, future))
    assert desk.reasons("reject") == ["bad_time"] * 3
    assert [lane.newest_us for lane in desk.lanes.values()] == [None, None]
    assert desk.rows("raw_trades") == []


def test_each_message_is_counted_once(desk: Desk) -> None:
    desk.read(update(("buy", "-1", "1")), b"{{{", match(6), match(6), '{"type":"ticker"}')
    assert dict(desk.tape.counts) == {
        "snapshot": 2, "l2update": 1, "unreadable": 1, "match": 2, "unused": 1,
    }  # fmt: skip


def test_an_absurd_trade_id_does_not_hide_later_gaps(desk: Desk) -> None:
    desk.read(match(6), match(2**59), match(7), match(9))
    assert desk.reasons("reject") == ["bad_trade_id"]
    assert [(row["from_id"], row["to_id"]) for row in desk.events("gap")] == [(8, 8)]
