"""What is read back is what was live, whatever way it was stored."""

import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from quotewatch.clock import US_PER_SECOND
from quotewatch.errors import QueryError
from quotewatch.frames import Frame
from quotewatch.market.replay import recompute
from quotewatch.streams import RAW_TRADES, TABLES
from quotewatch.tables.commit import Committer
from quotewatch.tables.intake import Intake
from quotewatch.tables.reader import Reader
from quotewatch.tables.records import NO_ARRIVAL, BookRecord, FeatureRecord, TradeRecord
from tests.gateway.test_parity import PRODUCTS
from tests.tables.desk import open_desk
from tests.tables.rows import (
    FrameDesk,
    Message,
    at,
    at_us,
    compact,
    feed,
    snapshot,
    store,
    update,
)

BTC = PRODUCTS[0]
OLD, NEW = "0000000000000001-old", "0000000000000002-new"
EVER = (at(-86_400), at(86_400))


@pytest.fixture
def committer(tmp_path: Path) -> Iterator[Committer]:
    with open_desk(tmp_path) as opened:
        yield opened


@pytest.fixture
def reader(committer: Committer) -> Reader:
    return Reader(committer.tables, slice_seconds=60)


def assert_replayed(reader: Reader, *, epoch: str | None = None, least: int = 200) -> None:
    """Say that features recomputed from what is read are the stored ones, bit for bit."""
    rows = reader.market(PRODUCTS, *EVER, epoch=epoch)
    computed = list(recompute(rows))
    for product in PRODUCTS:
        ours = [row for row in computed if row.symbol == product]
        stored = list(reader.features(product, *EVER, epoch=epoch))
        assert len(stored) == len(ours)
        assert all(kept.equals(row) for kept, row in zip(stored, ours, strict=True))
    assert len(computed) > least


# Replay


def test_features_recomputed_from_what_is_read_are_the_stored_ones(
    committer: Committer, reader: Reader
) -> None:
    desk = FrameDesk(OLD).follow(feed(1, 1_500, begin_us=at_us(-100)))
    store(committer, desk.frames)
    assert_replayed(reader)
    assert_replayed(reader, epoch=OLD)


def test_neither_the_order_of_commits_nor_days_nor_slices_show(
    committer: Committer,
) -> None:
    desk = FrameDesk(OLD).follow(feed(2, 900, begin_us=at_us(-80)), window=60)
    shuffled = list(desk.frames)
    random.Random(2).shuffle(shuffled)
    store(committer, shuffled, at_once=7)
    for slice_seconds in (20, 3_600):
        assert_replayed(Reader(committer.tables, slice_seconds=slice_seconds), least=100)
    one_by_one = list(Reader(committer.tables, slice_seconds=5).book(BTC, *EVER))
    assert one_by_one == list(Reader(committer.tables).book(BTC, *EVER))


def test_a_compaction_changes_nothing(committer: Committer, reader: Reader) -> None:
    store(committer, FrameDesk(OLD).follow(feed(3, 1_500, begin_us=at_us(-100))).frames)
    before = list(reader.market(PRODUCTS, *EVER))
    for name in ("raw_orderbook", "raw_trades", "features", "events"):
        compact(committer, name)
    assert list(reader.market(PRODUCTS, *EVER)) == before
    assert_replayed(reader)


def test_a_reconnect_ends_the_books_of_its_connection(committer: Committer, reader: Reader) -> None:
    desk = FrameDesk(OLD).follow(feed(4, 300, begin_us=at_us(0)))
    desk.hang_up(at_us(100))
    desk.follow(feed(5, 300, begin_us=at_us(110), first_id=300))
    store(committer, desk.frames)
    assert_replayed(reader, least=100)
    lives = reader.lives([BTC])
    assert [life.to_us for life in lives if life.from_us < at_us(100)][-1] == at_us(100)
    assert [life for life in lives if life.conn == 2]


def test_a_clock_that_was_set_back_does_not_reorder_an_epoch(
    committer: Committer, reader: Reader
) -> None:
    messages: list[Message] = []
    for number, (us, raw) in enumerate(feed(6, 900, begin_us=at_us(-60))):
        messages.append((us - (4_000_000 if number > 400 else 0), raw))
    desk = FrameDesk(OLD).follow(messages)
    store(committer, desk.frames)
    arrivals = [row.arrival for row in reader.market(PRODUCTS, *EVER, epoch=OLD)]
    assert arrivals == sorted(arrivals)
    assert_replayed(Reader(committer.tables, slice_seconds=5), epoch=OLD, least=100)


@pytest.mark.parametrize("slice_seconds", [7, 900])
def test_a_clock_that_was_set_back_far_loses_no_rows(
    committer: Committer, slice_seconds: float
) -> None:
    messages: list[Message] = []
    for number, (us, raw) in enumerate(feed(6, 900, begin_us=at_us(-60))):
        messages.append((us - (45_000_000 if number > 400 else 0), raw))
    desk = FrameDesk(OLD).follow(messages)
    store(committer, desk.frames)
    reader = Reader(committer.tables, slice_seconds=slice_seconds)
    found = [row.arrival for row in reader.book(BTC, *EVER, epoch=OLD)]
    stored = [row["arrival"] for row in desk.kept("raw_orderbook") if row["symbol"] == BTC]
    assert sorted(found) == stored


# Two gateways


def overlapping(committer: Committer) -> None:
    """Two gateways: the new one connects while the old one runs, and loses its book for a while."""
    old, new = FrameDesk(OLD, [BTC]), FrameDesk(NEW, [BTC])
    old.follow([snapshot(BTC, at_us(0), "90", "110")])
    old.follow(update(BTC, at_us(second), ("buy", "90", f"{second}")) for second in range(1, 60))
    new.follow([snapshot(BTC, at_us(20))])
    new.follow(update(BTC, at_us(second), ("buy", "99", f"{second}")) for second in range(21, 30))
    new.follow([update(BTC, at_us(30), ("buy", "102", "1"))])  # crossed: invalid
    new.follow([snapshot(BTC, at_us(40))])
    new.follow(update(BTC, at_us(second), ("buy", "99", f"{second}")) for second in range(41, 60))
    old.hang_up(at_us(60), "stop")
    old.journal.note("final", at_us(60), 1)
    new.follow(update(BTC, at_us(second), ("buy", "99", f"{second}")) for second in range(60, 70))
    old.close_pages()
    store(committer, [*new.frames, *old.frames])


def seconds(rows: Sequence[BookRecord | FeatureRecord], epoch: str) -> list[int]:
    return [(row.received_us - at_us(0)) // US_PER_SECOND for row in rows if row.epoch == epoch]


def test_the_newest_epoch_with_a_valid_book_speaks(committer: Committer, reader: Reader) -> None:
    overlapping(committer)
    features = list(reader.features(BTC, *EVER))
    assert seconds(features, OLD) == [*range(1, 20), *range(31, 40)]
    assert seconds(features, NEW) == [*range(21, 30), *range(41, 70)]
    stored = [row for row in reader.book(BTC, *EVER) if not row.made]
    assert seconds(stored, OLD) == [*range(20), *range(31, 40)]
    assert seconds(stored, NEW) == [*range(20, 31), *range(40, 70)]


def test_one_epoch_or_all_can_be_asked_for(committer: Committer, reader: Reader) -> None:
    overlapping(committer)
    old = list(reader.book(BTC, *EVER, epoch=OLD))
    assert seconds(old, OLD) == list(range(60))
    both = list(reader.book(BTC, *EVER, all_epochs=True))
    assert len(both) == len(old) + len(list(reader.book(BTC, *EVER, epoch=NEW)))
    assert [row.received_us for row in both] == sorted(row.received_us for row in both)
    with pytest.raises(QueryError, match="exclude each other"):
        reader.book(BTC, *EVER, epoch=OLD, all_epochs=True)


def test_an_epoch_that_speaks_again_begins_with_its_book(
    committer: Committer, reader: Reader
) -> None:
    overlapping(committer)
    made = [row for row in reader.book(BTC, *EVER) if row.made]
    assert [(row.epoch, row.snapshot, sorted(row.changes)) for row in made] == [
        (OLD, True, [("ask", "110", "1"), ("bid", "90", "30")])
    ]
    computed = {row.exchange_us: row.top.best_bid for row in recompute(reader.book(BTC, *EVER))}
    for stored in reader.features(BTC, *EVER):
        assert float(computed[stored.exchange_us]) == float(stored.top.best_bid)


def test_an_epoch_that_died_is_valid_until_its_last_row(
    committer: Committer, reader: Reader
) -> None:
    old, new = FrameDesk(OLD, [BTC]), FrameDesk(NEW, [BTC])
    old.follow([snapshot(BTC, at_us(0))])
    old.follow(update(BTC, at_us(second), ("buy", "99", "2")) for second in range(1, 50))
    new.follow([snapshot(BTC, at_us(10))])
    new.follow(update(BTC, at_us(second), ("buy", "98", "2")) for second in range(11, 30))
    store(committer, [*old.frames, *new.frames])
    features = list(reader.features(BTC, *EVER))
    assert seconds(features, OLD) == [*range(1, 10), *range(30, 50)]
    assert seconds(features, NEW) == list(range(11, 30))
    lives = reader.lives([BTC])
    assert [(life.epoch, life.to_us, life.ended) for life in lives] == [
        (OLD, at_us(49), False),
        (NEW, at_us(29), False),
    ]


def test_rows_between_a_loss_and_the_next_snapshot_are_no_valid_book(
    committer: Committer, reader: Reader
) -> None:
    desk = FrameDesk(OLD, [BTC]).follow(
        [
            snapshot(BTC, at_us(0)),
            update(BTC, at_us(1), ("buy", "101", "1")),
            update(BTC, at_us(2), ("buy", "99", "1")),
            snapshot(BTC, at_us(3)),
            update(BTC, at_us(4), ("buy", "99", "1")),
        ]
    )
    store(committer, desk.frames)
    assert seconds(list(reader.book(BTC, *EVER)), OLD) == [0, 1, 3, 4]
    assert seconds(list(reader.book(BTC, *EVER, epoch=OLD)), OLD) == [0, 1, 2, 3, 4]


def test_a_snapshot_that_was_crossed_itself_takes_nothing_from_an_older_epoch(
    committer: Committer, reader: Reader
) -> None:
    old, new = FrameDesk(OLD, [BTC]), FrameDesk(NEW, [BTC])
    old.follow([snapshot(BTC, at_us(0)), update(BTC, at_us(5), ("buy", "99", "2"))])
    new.follow([snapshot(BTC, at_us(5), "101", "100")])
    store(committer, [*old.frames, *new.frames])
    assert seconds(list(reader.book(BTC, *EVER)), OLD) == [0, 5]


# Trades


def test_trades_of_two_gateways_come_once_and_by_exchange_time(
    committer: Committer, reader: Reader
) -> None:
    old = FrameDesk(OLD, [BTC]).follow(feed(7, 600, begin_us=at_us(-40), products=[BTC]))
    new = FrameDesk(NEW, [BTC]).follow(feed(7, 700, begin_us=at_us(-39.9), products=[BTC]))
    store(committer, [*old.frames, *new.frames])
    trades = list(reader.trades(BTC, *EVER))
    ids = [trade.trade_id for trade in trades]
    assert ids == list(range(101, ids[-1] + 1))
    assert len(ids) > 100
    assert {trade.epoch for trade in trades} == {OLD, NEW}
    live = [row for row in reader.market([BTC], *EVER) if isinstance(row, TradeRecord)]
    assert sorted(row.trade_id for row in live) == ids


def test_trades_of_rest_are_trades_and_no_market(committer: Committer, reader: Reader) -> None:
    desk = FrameDesk(OLD, [BTC]).follow(feed(8, 50, begin_us=at_us(0), products=[BTC]))
    store(committer, desk.frames)
    Intake(committer, "raw_trades").store_trades(rest_trade(at(-5), at(500)), seq=1)
    first = next(reader.trades(BTC, *EVER))
    assert (first.trade_id, first.arrival, first.source, first.live) == (
        7,
        NO_ARRIVAL,
        "rest",
        False,
    )
    assert (first.price, first.size, first.taker_buys) == ("100.5", "0.0000001", True)
    assert not [row for row in reader.market([BTC], *EVER) if row.arrival == NO_ARRIVAL]


def rest_trade(exchange_time: datetime, received_at: datetime) -> pa.Table:
    given: dict[str, Any] = {
        "symbol": BTC, "trade_id": 7, "price": "100.5", "size": "0.0000001", "taker_side": "buy",
        "exchange_time": exchange_time, "received_at": received_at, "source": "rest",
        "live": False, "epoch": "rest", "seq": 1, "row": 0,
    }  # fmt: skip
    columns = []
    for field in TABLES[RAW_TRADES.name].schema:
        value = given.get(field.name)
        text = isinstance(value, str) and pa.types.is_decimal(field.type)
        column: Any = pa.array([value], pa.string() if text else field.type)
        columns.append(column.cast(field.type))
    return pa.Table.from_arrays(columns, schema=TABLES[RAW_TRADES.name].schema)


# Ranges


def test_a_range_holds_its_start_and_not_its_end(committer: Committer, reader: Reader) -> None:
    overlapping(committer)
    rows = list(reader.book(BTC, at(45), at(48)))
    assert seconds(rows, NEW) == [45, 46, 47]
    assert list(reader.book(BTC, at(45), at(45))) == []
    tick = timedelta(microseconds=1)
    assert seconds(list(reader.book(BTC, at(45) + tick, at(46) + tick)), NEW) == [46]


def test_a_range_may_open_with_the_book_as_it_was(committer: Committer, reader: Reader) -> None:
    overlapping(committer)
    first, second = list(reader.book(BTC, at(45), at(46), opening=True))
    assert first.made
    assert sorted(first.changes) == [("ask", "101", "1"), ("bid", "99", "44")]
    assert not second.made
    whole = list(reader.market([BTC], at(40), at(46), opening=True))
    assert not any(row.made for row in whole if isinstance(row, BookRecord))


def test_a_range_of_all_times_is_no_work(committer: Committer) -> None:
    overlapping(committer)
    utc = at(0).tzinfo
    ever = datetime(1, 1, 1, tzinfo=utc), datetime(9999, 12, 31, tzinfo=utc)
    assert len(list(Reader(committer.tables, slice_seconds=1).features(BTC, *ever))) == 66


def test_a_time_without_a_zone_is_refused(committer: Committer, reader: Reader) -> None:
    overlapping(committer)
    naive = at(0).replace(tzinfo=None)
    with pytest.raises(QueryError, match="start 2026-08-10T00:00:00 has no time zone"):
        reader.book(BTC, naive, at(1))
    with pytest.raises(QueryError, match="end 2026-08-10T00:00:00 has no time zone"):
        reader.trades(BTC, at(0), naive)
    with pytest.raises(QueryError, match="swap them"):
        reader.features(BTC, at(1), at(0))


def test_no_table_says_how_to_make_one(reader: Reader) -> None:
    with pytest.raises(QueryError, match="no table raw_trades yet"):
        reader.trades(BTC, *EVER)
    with pytest.raises(QueryError, match="no table events yet"):
        reader.book(BTC, *EVER)


def test_epochs_say_when_they_ran_and_whether_they_stopped(
    committer: Committer, reader: Reader
) -> None:
    overlapping(committer)
    assert [(each.id, each.clean) for each in reader.epochs()] == [(OLD, True), (NEW, False)]
    assert reader.epochs()[0].last_us == at_us(60)


def test_only_files_of_the_range_are_opened(committer: Committer, reader: Reader) -> None:
    desk = FrameDesk(OLD, [BTC]).follow(feed(9, 400, begin_us=at_us(-30), products=[BTC]))
    store(committer, trades_only(desk.frames), at_once=1)
    table = committer.tables.load("raw_trades")
    for task in table.scan(row_filter="exchange_time < '2026-08-10T00:00:00+00:00'").plan_files():
        low = task.file.partition[0]
        if low == at_us(-1) // (86_400 * US_PER_SECOND):
            Path(task.file.file_path.removeprefix("file://")).unlink()
    assert list(reader.trades(BTC, at(0), at(60)))


def trades_only(frames: Sequence[Frame]) -> list[Frame]:
    return [frame for frame in frames if frame.id.stream == "raw_trades"]
