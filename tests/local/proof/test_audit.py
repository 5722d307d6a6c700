"""The audit counts what is missing and what is doubled, and tells it from what faults explain."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from quotewatch.coinbase import exchange
from quotewatch.local.proof.audit import Audit, Gaps
from quotewatch.local.stack import LOSS, OK, conclude
from quotewatch.local.summary import summarize
from quotewatch.local.tally import Tally
from tests.local.proof.made_up_run import START_US, SYMBOL, MadeUpRun, Row, text_of


@pytest.fixture
def run(tmp_path: Path) -> Iterator[MadeUpRun]:
    made = MadeUpRun(tmp_path)
    yield made
    made.bus.close()


def exit_code(audit: Audit, folder: Path) -> int:
    console = Console(file=(folder / "screen.txt").open("w"))
    try:
        return conclude(console, summarize(1.0, Tally(), audit), {"data": folder})
    finally:
        console.file.close()


def two_frames_of_books(run: MadeUpRun, *, times: int = 1) -> None:
    run.publish("raw_orderbook", [run.update(1), run.update(2)])
    run.publish("raw_orderbook", [run.update(3), run.update(4), run.update(5)], times=times)


def assert_counts(counts: dict[str, int], **expected: int) -> None:
    assert {stream: count for stream, count in counts.items() if count} == expected


def test_all_that_was_sent_is_there_however_it_is_spelled(run: MadeUpRun, tmp_path: Path) -> None:
    two_frames_of_books(run)
    run.publish("raw_trades", [run.trade(1), run.trade(2)])
    run.end()
    audit = run.audit()
    assert audit.losses == ()
    assert audit.sent == {"l2update": 5, "match": 2}
    assert_counts(audit.missing)
    assert_counts(audit.duplicates)
    assert exit_code(audit, tmp_path) == OK


def test_a_lost_frame_is_as_many_missing_rows(run: MadeUpRun, tmp_path: Path) -> None:
    run.publish("raw_orderbook", [run.update(1), run.update(2)], times=0)
    run.publish("raw_orderbook", [run.update(3)])
    run.end()
    audit = run.audit()
    assert_counts(audit.missing, raw_orderbook=2)
    assert audit.losses == ("raw_orderbook: 2 missing",)
    assert exit_code(audit, tmp_path) == LOSS


def test_the_last_frame_of_all_is_missed_too(run: MadeUpRun) -> None:
    two_frames_of_books(run, times=0)
    run.publish("features", [], times=0)
    run.end()
    assert_counts(run.audit().missing, raw_orderbook=3, features=1)


def test_a_doubled_frame_is_as_many_duplicates(run: MadeUpRun, tmp_path: Path) -> None:
    two_frames_of_books(run, times=2)
    run.publish("raw_trades", [run.trade(1)], times=2)
    run.end()
    audit = run.audit()
    assert_counts(audit.missing)
    assert_counts(audit.duplicates, raw_orderbook=3, raw_trades=1)
    assert exit_code(audit, tmp_path) == LOSS


def test_a_row_with_another_size_is_one_missing_and_one_too_many(run: MadeUpRun) -> None:
    row = run.update(1)
    row["changes"][0]["size"] += 1
    run.publish("raw_orderbook", [row])
    run.end()
    audit = run.audit()
    assert_counts(audit.missing, raw_orderbook=1)
    assert_counts(audit.unexpected, raw_orderbook=1)


def test_a_trade_with_another_price_was_never_sent(run: MadeUpRun) -> None:
    row = run.trade(1)
    row["price"] += 1
    run.publish("raw_trades", [row])
    run.end()
    assert_counts(run.audit().unexpected, raw_trades=1)


def test_a_trade_sent_twice_is_wanted_once(run: MadeUpRun) -> None:
    row = run.trade(1)
    run.trade(1)
    run.publish("raw_trades", [row])
    run.end()
    assert run.audit().is_lossless


def test_two_epochs_may_have_the_same_trade(run: MadeUpRun) -> None:
    row = run.trade(1)
    run.publish("raw_trades", [row])
    run.publish("raw_trades", [row], epoch="another")
    run.end()
    assert_counts(run.audit().duplicates)


def test_a_withheld_trade_has_to_be_named(run: MadeUpRun) -> None:
    rows = [run.trade(1), run.trade(4)]
    run.trade(2, sent=False, fault="drop_trades")
    run.trade(3, sent=False, fault="drop_trades")
    run.publish("raw_trades", rows)
    run.end(run.event("gap", symbol=SYMBOL, stream="raw_trades", from_id=2, to_id=2, count=1))
    audit = run.audit()
    assert audit.gaps == Gaps(injected=2, detected=1, open=2)
    assert audit.losses == ("raw_trades: 1 lost on the way and named by no gap event",)


def test_a_withheld_trade_that_came_later_is_healed(run: MadeUpRun) -> None:
    run.trade(2, sent=False, fault="outage")
    run.publish("raw_trades", [run.trade(2)])
    run.end()
    audit = run.audit()
    assert audit.gaps == Gaps(injected=1, detected=1, healed=1)
    assert audit.is_lossless


def test_nobody_can_name_what_nothing_told_of(run: MadeUpRun) -> None:
    run.trade(1, sent=False, fault="silence")
    run.trade(2, sent=False, fault="silence")
    run.publish("raw_trades", [run.trade(3)])
    run.trade(4, sent=False, fault="outage")
    run.end(known=3)
    audit = run.audit()
    assert audit.gaps == Gaps(injected=3, open=3, too_early=2, too_late=1)
    assert audit.is_lossless


def test_what_is_too_early_is_not_too_late_as_well(run: MadeUpRun) -> None:
    """A gateway that died young never said how far it had come."""
    run.trade(1, sent=False, fault="silence")
    run.publish("raw_trades", [run.trade(2)])
    run.end(known=0)
    audit = run.audit()
    assert audit.gaps == Gaps(injected=1, open=1, too_early=1)
    assert audit.is_lossless


def test_a_trade_before_the_first_that_came_was_sent_and_is_missing(run: MadeUpRun) -> None:
    run.trade(1)
    run.publish("raw_trades", [run.trade(2)])
    run.end()
    audit = run.audit()
    assert_counts(audit.missing, raw_trades=1)
    assert audit.gaps == Gaps()


@pytest.mark.parametrize(
    ("reason", "cut_off"),
    [("1006 connection lost", 2), ("silence for 3 s", 2), ("1001", 0), ("1011 disconnect", 0)],
)
def test_only_a_broken_connection_may_lose_its_end(
    run: MadeUpRun, reason: str, cut_off: int
) -> None:
    run.publish("raw_orderbook", [run.update(1)])
    run.update(2)
    run.trade(3)
    gap = run.event("gap", symbol=SYMBOL, stream="raw_trades", from_id=3, to_id=3, count=1)
    run.end(gap, reason=reason)
    audit = run.audit()
    assert audit.cut_off == cut_off
    assert audit.is_lossless == (cut_off > 0)
    assert audit.gaps.injected == (1 if cut_off else 0)
    assert sum(audit.missing.values()) == 2 - cut_off


def test_what_came_after_it_makes_a_missing_message_a_loss(run: MadeUpRun) -> None:
    run.update(1)
    run.publish("raw_orderbook", [run.update(2)])
    run.end(reason="1006 connection lost")
    audit = run.audit()
    assert audit.cut_off == 0
    assert_counts(audit.missing, raw_orderbook=1)


@pytest.mark.parametrize("rejects", [0, 1])
def test_a_spoilt_message_must_be_refused(run: MadeUpRun, rejects: int) -> None:
    run.publish("raw_orderbook", [run.update(1)])
    run.say_raw('{"type":"l2update","product_id":"BTC-U', fault="malformed")
    run.end(*[run.event("reject", reason="malformed_json", count=1)] * rejects)
    audit = run.audit()
    assert audit.faults == {"malformed": 1}
    assert audit.rejected == ({"malformed_json": 1} if rejects else {})
    assert audit.losses == (() if rejects else ("events: 1 spoilt messages, 0 rejects",))


def test_rows_the_gateway_let_go_of_are_a_loss(run: MadeUpRun) -> None:
    run.end(run.event("drop", stream="features", count=7, reason="queue_full"))
    assert run.audit().losses == ("the gateway dropped 7 rows: queue_full",)


def a_book_that_moves(run: MadeUpRun) -> list[Row]:
    """Send a snapshot and an update of its book."""
    run.say(exchange.Snapshot(SYMBOL, [("99", "1")], [("101", "1")]))
    snapshot = run.row(
        symbol=SYMBOL, book=1, kind="snapshot", exchange_time=None, feed_seq=None,
        changes=[{"side": "bid", "price": 99, "size": 1}, {"side": "ask", "price": 101, "size": 1}],
    )  # fmt: skip
    run.say(exchange.L2Update(SYMBOL, [("buy", "99", "3")], text_of(START_US)))
    update = run.row(
        symbol=SYMBOL, book=1, kind="update", exchange_time=START_US, feed_seq=None,
        changes=[{"side": "bid", "price": 99, "size": 3}],
    )  # fmt: skip
    return [snapshot, update]


def features_of(run: MadeUpRun, arrival: int, **changed: float) -> Row:
    """Make the row of docs/messages.md: 99 x 3 against 101 x 1, after 99 x 1."""
    values = {
        "symbol": SYMBOL, "book": 1, "exchange_time": START_US, "best_bid": 99, "best_ask": 101,
        "mid": 100.0, "spread_bps": 200.0, "imbalance": 0.5, "depth": 4.0, "microprice_bps": 50.0,
        "volatility": None, "trade_imbalance": None, "order_flow_imbalance": 2.0,
    }  # fmt: skip
    return {**run.row(**{**values, **changed}), "arrival": arrival}


def test_features_are_what_the_stored_books_lead_to(run: MadeUpRun) -> None:
    rows = a_book_that_moves(run)
    run.publish("raw_orderbook", rows)
    run.publish("features", [features_of(run, rows[-1]["arrival"])])
    run.end()
    assert run.audit().losses == ()


def test_a_features_row_that_is_off_by_a_bit_is_found(run: MadeUpRun) -> None:
    rows = a_book_that_moves(run)
    run.publish("raw_orderbook", rows)
    run.publish("features", [features_of(run, rows[-1]["arrival"], mid=100.00000000000001)])
    run.end()
    audit = run.audit()
    assert_counts(audit.missing, features=1)
    assert_counts(audit.unexpected, features=1)


def test_a_features_row_that_stands_twice_is_a_duplicate(run: MadeUpRun) -> None:
    rows = a_book_that_moves(run)
    run.publish("raw_orderbook", rows)
    run.publish("features", [features_of(run, rows[-1]["arrival"])] * 2)
    run.end()
    assert_counts(run.audit().duplicates, features=1)
