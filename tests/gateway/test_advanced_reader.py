"""What becomes of Advanced Trade messages, good and bad."""

from decimal import Decimal
from itertools import count

import pytest

from quotewatch.coinbase import advanced
from tests.gateway.desk import TIME, Desk

STAMP = "2026-08-09T05:23:42.975978474Z"


class Feed:
    """Numbers the messages of one connection."""

    def __init__(self) -> None:
        self.numbers = count()

    def books(self, *events: advanced.L2Event) -> bytes:
        return advanced.encode(advanced.L2Data(STAMP, next(self.numbers), list(events)))

    def trades(self, kind: advanced.EventKind, *trades: advanced.Trade) -> bytes:
        event = advanced.TradesEvent(kind, list(trades))
        return advanced.encode(advanced.MarketTrades(STAMP, next(self.numbers), [event]))

    def heartbeat(self) -> bytes:
        event = advanced.HeartbeatEvent("2026-08-09 05:23:42 +0000 UTC m=+1.0", "7693")
        return advanced.encode(advanced.Heartbeats(STAMP, next(self.numbers), [event]))


def snapshot(product: str = "BTC-USD") -> advanced.L2Event:
    return event("snapshot", ("bid", "100", "1"), ("offer", "101", "1"), product=product)


def event(
    kind: advanced.EventKind, *levels: tuple[str, str, str], product: str = "BTC-USD"
) -> advanced.L2Event:
    return advanced.L2Event(
        kind,
        product,
        [advanced.Level(side, TIME, price, size) for side, price, size in levels],  # type: ignore[arg-type]
    )


def trade(trade_id: int | str, product: str = "BTC-USD", **others: str) -> advanced.Trade:
    fields = {"price": "100.5", "size": "1", "time": TIME, "side": "SELL"} | others
    return advanced.Trade(product, str(trade_id), **fields)  # type: ignore[arg-type]


@pytest.fixture
def feed() -> Feed:
    return Feed()


@pytest.fixture
def desk(feed: Feed) -> Desk:
    desk = Desk("advanced")
    desk.read(feed.books(snapshot()), feed.books(snapshot("ETH-USD")))
    return desk


def test_offers_are_asks(desk: Desk, feed: Feed) -> None:
    desk.read(feed.books(event("update", ("offer", "100.5", "2"), ("bid", "100", "0.00001"))))
    row = desk.rows("raw_orderbook")[-1]
    assert [change["side"] for change in row["changes"]] == ["ask", "bid"]
    assert row["feed_seq"] == 2
    assert desk.rows("features")[-1]["best_ask"] == Decimal("100.5")


def test_all_events_of_a_message_are_rows_of_one_arrival(desk: Desk, feed: Feed) -> None:
    both = [event("update", ("bid", "100.2", "2"), product=p) for p in ("BTC-USD", "ETH-USD")]
    desk.read(feed.books(*both))
    rows = desk.rows("raw_orderbook")[-2:]
    assert [row["symbol"] for row in rows] == ["BTC-USD", "ETH-USD"]
    assert rows[0]["arrival"] == rows[1]["arrival"]


def test_the_newest_event_time_is_the_rows_time(desk: Desk, feed: Feed) -> None:
    update = event("update", ("bid", "100.1", "1"), ("bid", "100.2", "1"))
    update.updates[0].event_time = "2026-08-09T05:23:43Z"
    update.updates[1].event_time = "2026-08-09T05:23:42.9Z"
    desk.read(feed.books(update))
    assert desk.rows("raw_orderbook")[-1]["exchange_time"].isoformat() == (
        "2026-08-09T05:23:43+00:00"
    )


def test_newest_first_trades_become_rows_in_id_order(desk: Desk, feed: Feed) -> None:
    desk.read(feed.trades("snapshot", trade(12), trade(11)), feed.trades("update", trade(13)))
    rows = desk.rows("raw_trades")
    assert [(row["trade_id"], row["live"]) for row in rows] == [
        (11, False),
        (12, False),
        (13, True),
    ]
    assert {row["taker_side"] for row in rows} == {"buy"}
    assert desk.events("gap") == []


def test_the_trade_snapshot_after_a_reconnect_heals_what_it_reaches(desk: Desk, feed: Feed) -> None:
    desk.read(feed.trades("update", trade(11)))
    desk.reconnect()
    desk.read(Feed().trades("snapshot", trade(14), trade(13), trade(12), trade(11), trade(10)))
    assert [row["trade_id"] for row in desk.rows("raw_trades")] == [11, 10, 12, 13, 14]
    (drop,) = desk.events("drop")
    assert (drop["from_id"], drop["to_id"], drop["count"]) == (11, 11, 1)


def test_a_hole_in_sequence_num_costs_every_book(desk: Desk, feed: Feed) -> None:
    next(feed.numbers)
    desk.read(feed.heartbeat(), feed.books(event("update", ("bid", "100.2", "2"))))
    (gap,) = desk.events("gap")
    assert (gap["reason"], gap["from_id"], gap["to_id"]) == ("sequence_num", 2, 2)
    assert {row["symbol"] for row in desk.events("invalid")} == {"BTC-USD", "ETH-USD"}
    assert desk.rows("features") == []
    assert desk.reader.wanted == {"BTC-USD": "sequence_num", "ETH-USD": "sequence_num"}


def test_numbers_count_over_all_channels(desk: Desk, feed: Feed) -> None:
    desk.read(
        feed.heartbeat(),
        feed.trades("update", trade(1)),
        f'{{"channel":"ticker","sequence_num":{next(feed.numbers)},"events":[]}}',
        f'{{"channel":"novelty","sequence_num":{next(feed.numbers)},"events":[]}}',
        feed.books(event("update", ("bid", "100.2", "2"))),
    )
    assert desk.events("gap") == []
    assert desk.reasons("reject") == ["unknown_type"]
    assert len(desk.rows("features")) == 1


def test_a_new_connection_numbers_from_zero(desk: Desk) -> None:
    desk.reconnect()
    again = Feed()
    desk.read(again.books(snapshot()), again.books(event("update", ("bid", "100.2", "2"))))
    assert desk.events("gap") == []
    assert desk.rows("features")[-1]["book"] == 3


def test_a_refused_message_used_up_its_number(desk: Desk, feed: Feed) -> None:
    desk.read(feed.books(event("update", ("bid", "-1", "2"))))
    desk.read(feed.books(event("update", ("bid", "100.2", "2"), product="ETH-USD")))
    assert desk.events("gap") == []
    assert desk.reasons("reject") == ["bad_price"]
    assert [row["symbol"] for row in desk.events("invalid")] == ["BTC-USD"]
    assert [row["symbol"] for row in desk.rows("features")] == ["ETH-USD"]


def test_a_cut_message_whose_number_is_gone_shows_as_a_hole(desk: Desk, feed: Feed) -> None:
    next(feed.numbers)
    desk.read(b'{"channel":"l2_data","timesta', feed.heartbeat())
    assert desk.reasons("reject") == ["malformed_json"]
    assert len(desk.events("gap")) == 1
    assert {row["symbol"] for row in desk.events("invalid")} == {"BTC-USD", "ETH-USD"}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (trade("12x"), "bad_trade_id"),
        (trade("-12"), "bad_trade_id"),
        (trade("9" * 30), "bad_trade_id"),
        (trade(12, price="0"), "bad_price"),
        (trade(12, size=""), "bad_size"),
        (trade(12, time="now"), "bad_time"),
    ],
)
def test_one_bad_trade_leaves_the_others_of_its_message(
    desk: Desk, feed: Feed, bad: advanced.Trade, reason: str
) -> None:
    desk.read(feed.trades("update", trade(13), bad, trade(11)))
    assert [row["trade_id"] for row in desk.rows("raw_trades")] == [11, 13]
    assert desk.reasons("reject") == [reason]
    assert [(row["from_id"], row["to_id"]) for row in desk.events("gap")] == [(12, 12)]
    assert desk.events("invalid") == []


def test_an_error_without_an_envelope_is_a_refusal(desk: Desk, feed: Feed) -> None:
    desk.read(b'{"type":"error","message":"too many requests"}', feed.heartbeat())
    assert desk.reader.refusals == ["too many requests"]
    assert desk.events("reject") == []


def test_a_message_that_comes_again_or_too_late_is_not_put_into_the_book(
    desk: Desk, feed: Feed
) -> None:
    first = feed.books(event("update", ("bid", "100.2", "2")))
    desk.read(first, feed.books(event("update", ("bid", "100.2", "0"))), first)
    assert len(desk.rows("features")) == 2
    assert desk.rows("features")[-1]["best_bid"] == Decimal(100)
    (drop,) = desk.events("drop")
    assert (drop["reason"], drop["from_id"], drop["to_id"]) == ("old_sequence", 2, 2)
    assert [row["feed_seq"] for row in desk.rows("raw_orderbook")] == [0, 1, 2, 3]


def test_trades_of_a_late_message_are_kept(desk: Desk, feed: Feed) -> None:
    late = feed.trades("update", trade(11))
    desk.read(feed.trades("update", trade(12)), late)
    assert sorted(row["trade_id"] for row in desk.rows("raw_trades")) == [11, 12]
    assert desk.reasons("drop") == ["old_sequence"]
