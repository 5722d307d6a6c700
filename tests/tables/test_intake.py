"""Frames become rows once, trades once whoever sends them; old epochs are checked, not trusted."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from quotewatch.intervals import Intervals
from quotewatch.streams import TABLES
from quotewatch.tables import intake as intakes
from quotewatch.tables.data_files import write_files
from quotewatch.tables.gathering import Arrived, rows_of
from quotewatch.tables.intake import Intake, without_known_trades
from quotewatch.tables.ledger import Knowledge, Ledger, Seen
from tests.tables.frames import (
    DAY_US,
    EPOCH,
    NOON_US,
    Desk,
    Row,
    arrived,
    assert_each_once,
    events,
    row_of,
    trades,
)

LATER = 1_790_000_000
LEFT = LATER - 20 * 86_400  # an epoch whose newest frame is that old has left the ledger


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


def table_of(rows: list[Row]) -> pa.Table:
    return rows_of("raw_trades", [arrived("raw_trades", 0, rows)])


def ids(table: pa.Table) -> list[int]:
    found: list[Any] = table.column("trade_id").to_pylist()
    return found


def lineage(*frames: Arrived) -> list[tuple[str, int, int]]:
    return [
        (each.frame.id.epoch, each.frame.id.seq, row)
        for each in frames
        for row in range(each.frame.rows.num_rows)
    ]


def stored_trades(desk: Desk) -> list[tuple[str, int]]:
    return sorted((row["symbol"], row["trade_id"]) for row in desk.rows("raw_trades"))


# Rows of frames


def test_rows_carry_the_place_they_come_from() -> None:
    frames = [arrived("events", 4, events(2)), arrived("events", 9, events(1), epoch="x")]
    rows = rows_of("events", frames)
    assert rows.cast(TABLES["events"].schema).num_rows == 3  # words are dictionaries until then
    assert rows.select(["epoch", "seq", "row"]).to_pylist() == [
        {"epoch": EPOCH, "seq": 4, "row": 0},
        {"epoch": EPOCH, "seq": 4, "row": 1},
        {"epoch": "x", "seq": 9, "row": 0},
    ]


@pytest.mark.parametrize("stream", ["raw_orderbook", "raw_trades", "features", "events"])
def test_a_frame_without_rows_is_noted_and_leaves_none(desk: Desk, stream: str) -> None:
    stored = Intake(desk.committer, stream).store([arrived(stream, 3, [])])
    assert (stored.inserted, len(stored.fresh)) == (0, 1)
    assert desk.rows(stream) == []
    assert str(desk.ledger(stream).stream(stream).epochs[EPOCH].done) == "3"


@pytest.mark.parametrize("stream", ["raw_orderbook", "raw_trades", "features", "events"])
def test_what_goes_in_comes_out(desk: Desk, stream: str) -> None:
    given = [row_of(stream, received_at=NOON_US + n, symbol=f"S{n}") for n in range(3)]
    Intake(desk.committer, stream).store([arrived(stream, 0, given)])
    batch = arrived(stream, 0, given).frame.rows.to_pylist()
    expected = [{**row, "epoch": EPOCH, "seq": 0, "row": n} for n, row in enumerate(batch)]
    assert desk.rows(stream) == expected


def test_rows_of_several_days_are_cut_and_kept(desk: Desk) -> None:
    given = [row_of("events", received_at=NOON_US + day * DAY_US) for day in (3, -20_000, 0)]
    stored = Intake(desk.committer, "events").store([arrived("events", 0, given)])
    assert stored.inserted == 3
    assert len(list(desk.table("events").scan().plan_files())) == 3
    assert_each_once(desk, "events", [(EPOCH, 0, row) for row in range(3)])


# Once


def test_a_frame_that_comes_again_adds_nothing_and_commits_nothing(desk: Desk) -> None:
    intake = Intake(desk.committer, "events")
    one, two = arrived("events", 0, events(2)), arrived("events", 1, events(3))
    assert intake.store([one, one]).inserted == 2
    again = intake.store([two, one, two])
    assert (again.inserted, again.duplicate, len(again.fresh)) == (3, 5, 1)
    snapshots = len(desk.table("events").metadata.snapshots)
    assert intake.store([one, two]).snapshot_id is None
    assert len(desk.table("events").metadata.snapshots) == snapshots
    assert_each_once(desk, "events", lineage(one, two))


def test_the_same_numbers_of_another_epoch_are_other_frames(desk: Desk) -> None:
    intake = Intake(desk.committer, "events")
    frames = [arrived("events", 0, events(1), epoch=epoch) for epoch in ("a", "b")]
    assert intake.store(frames).inserted == 2
    assert_each_once(desk, "events", lineage(*frames))


# Put aside


def test_what_is_put_aside_is_noted_in_the_same_commit(desk: Desk) -> None:
    intake = Intake(desk.committer, "events")
    good = arrived("events", 0, events(1))
    assert intake.store([good], [Seen(EPOCH, 1, 1), Seen(EPOCH, 0, 1)]).inserted == 1
    known = desk.ledger("events").stream("events")
    assert known.know(EPOCH, 0) is Knowledge.DONE
    assert known.know(EPOCH, 1) is Knowledge.QUARANTINED
    assert intake.store([], [Seen(EPOCH, 1, 1)]).snapshot_id is None


def test_the_bytes_of_another_message_do_not_cost_the_rows_of_a_good_one(desk: Desk) -> None:
    """A spoilt message that bears the name of a good frame must not keep that one out."""
    intake = Intake(desk.committer, "events")
    intake.store([], [Seen(EPOCH, 0, 1)])
    good = arrived("events", 0, events(2))
    assert intake.store([good]).inserted == 2
    assert_each_once(desk, "events", lineage(good))
    assert intake.store([good]).inserted == 0


# Epochs that left


def with_old_epochs(desk: Desk) -> Arrived:
    """Store a frame of an epoch that leaves the ledger."""
    old = arrived("events", 5, events(2), epoch="02", second=LEFT)
    intake = Intake(desk.committer, "events")
    intake.store([old])
    intake.store([arrived("events", 0, events(1), epoch="03", second=LATER)])
    assert "02" not in desk.ledger("events").stream("events").epochs
    return old


def test_a_frame_of_an_epoch_that_left_is_not_stored_twice(desk: Desk) -> None:
    old = with_old_epochs(desk)
    stored = Intake(desk.committer, "events").store([old])
    assert (stored.inserted, stored.duplicate, stored.snapshot_id) == (0, 2, None)
    assert len(desk.rows("events")) == 3


def test_a_frame_of_an_epoch_that_left_is_stored_if_it_was_never_there(desk: Desk) -> None:
    old = with_old_epochs(desk)
    late = [
        arrived("events", 6, events(1), epoch="02", second=LATER),
        arrived("events", 0, events(1), epoch="01", second=LATER),
    ]
    stored = Intake(desk.committer, "events").store([old, *late, *late])
    assert (stored.inserted, stored.duplicate) == (2, 4)
    known = desk.ledger("events").stream("events")
    assert known.epochs["02"].partial
    assert known.epochs["01"].partial
    assert known.know("02", 5) is Knowledge.UNSURE
    assert Intake(desk.committer, "events").store([old, *late]).inserted == 0
    assert len(desk.rows("events")) == 5


def test_a_late_frame_that_leaves_at_once_is_stored_once(desk: Desk) -> None:
    """Published long ago and pulled now: it is noted and let go of in one breath."""
    with_old_epochs(desk)
    late = arrived("events", 6, events(1), epoch="02", second=LEFT)
    intake = Intake(desk.committer, "events")
    assert [intake.store([late]).inserted for _ in range(3)] == [1, 0, 0]


def test_aside_of_an_epoch_that_left_cannot_hide_rows_that_are_there(desk: Desk) -> None:
    old = with_old_epochs(desk)
    intake = Intake(desk.committer, "events")
    intake.store([], [Seen("02", 5, LATER * 10**9)])
    assert intake.store([old]).inserted == 0


# Trades


def test_a_trade_is_one_row_whoever_sends_it(desk: Desk) -> None:
    intake = Intake(desk.committer, "raw_trades")
    one = arrived("raw_trades", 0, trades([1, 2, 3, 2]), epoch="a")
    other = arrived("raw_trades", 0, trades([3, 4]) + trades([1], "ETH-USD"), epoch="b")
    first = intake.store([one])
    assert (first.inserted, first.duplicate) == (3, 1)
    second = intake.store([one, other])
    assert (second.inserted, second.duplicate) == (2, 5)
    expected = [("BTC-USD", n) for n in (1, 2, 3, 4)] + [("ETH-USD", 1)]
    assert stored_trades(desk) == expected
    held = desk.ledger("raw_trades").trades
    assert {symbol: str(each) for symbol, each in held.items()} == {
        "BTC-USD": "1-4",
        "ETH-USD": "1",
    }


def test_two_epochs_in_one_batch_make_one_row(desk: Desk) -> None:
    frames = [arrived("raw_trades", 0, trades([7, 8]), epoch=epoch) for epoch in ("a", "b")]
    stored = Intake(desk.committer, "raw_trades").store(frames)
    assert (stored.inserted, stored.duplicate, len(stored.fresh)) == (2, 2, 2)
    assert stored_trades(desk) == [("BTC-USD", 7), ("BTC-USD", 8)]


def test_within_a_batch_the_row_that_came_live_is_kept() -> None:
    rows = table_of(
        trades([5], live=False, arrival=1)
        + trades([5], live=True, arrival=2)
        + trades([5], live=True, arrival=3)
        + trades([6], live=False, arrival=4)
    )
    kept, held = without_known_trades(rows, {})
    assert kept.column("arrival").to_pylist() == [2, 4]
    assert {symbol: str(each) for symbol, each in held.items()} == {"BTC-USD": "5-6"}


def test_a_trade_that_is_stored_stays_as_it_is(desk: Desk) -> None:
    intake = Intake(desk.committer, "raw_trades")
    intake.store([arrived("raw_trades", 0, trades([5], live=False))])
    assert intake.store([arrived("raw_trades", 1, trades([5], live=True))]).inserted == 0
    assert [row["live"] for row in desk.rows("raw_trades")] == [False]


def test_known_trades_are_left_out_by_symbol() -> None:
    rows = table_of(trades([1, 2, 9]) + trades([1, 9], "ETH-USD") + trades([1], "SOL-USD"))
    known = {"BTC-USD": Intervals.parse("1-2"), "ETH-USD": Intervals.parse("9-20")}
    kept, held = without_known_trades(rows, known)
    assert list(zip(kept.column("symbol").to_pylist(), ids(kept), strict=True)) == [
        ("BTC-USD", 9),
        ("ETH-USD", 1),
        ("SOL-USD", 1),
    ]
    assert {symbol: str(each) for symbol, each in held.items()} == {
        "BTC-USD": "9",
        "ETH-USD": "1",
        "SOL-USD": "1",
    }


def test_a_frame_of_known_trades_alone_is_noted_as_done(desk: Desk) -> None:
    intake = Intake(desk.committer, "raw_trades")
    intake.store([arrived("raw_trades", 0, trades([1]), epoch="a")])
    stored = intake.store([arrived("raw_trades", 0, trades([1]), epoch="b")])
    assert (stored.inserted, len(stored.fresh)) == (0, 1)
    assert desk.ledger("raw_trades").stream("raw_trades").know("b", 0) is Knowledge.DONE


def test_the_largest_id_there_is_is_stored_once(desk: Desk) -> None:
    largest = 2**63 - 1
    intake = Intake(desk.committer, "raw_trades")
    for seq in range(3):
        intake.store([arrived("raw_trades", seq, trades([seq, largest]))])
    assert stored_trades(desk) == [("BTC-USD", n) for n in (0, 1, 2, largest)]
    assert str(desk.ledger("raw_trades").trades["BTC-USD"]) == f"0-2,{largest}"


def test_trades_that_no_frame_brought_are_stored_once_and_note_no_frame(desk: Desk) -> None:
    intake = Intake(desk.committer, "raw_trades")
    intake.store([arrived("raw_trades", 0, trades([1, 4]))])
    healed = table_of(trades([2, 3, 4], source="rest"))
    stored = intake.store_trades(healed, seq=1)
    assert (stored.inserted, stored.duplicate) == (2, 1)
    assert intake.store_trades(healed, seq=2).snapshot_id is None
    assert stored_trades(desk) == [("BTC-USD", n) for n in (1, 2, 3, 4)]
    assert set(desk.ledger("raw_trades").stream("raw_trades").epochs) == {EPOCH}


# Files


def test_files_are_written_once_when_only_the_ledger_has_moved(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    real = write_files

    def counted(*given: object) -> object:
        written.append(1)
        if len(written) == 1:  # another writer is first
            Intake(desk.committer, "events").store([arrived("events", 50, events(1))])
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(intakes, "write_files", counted)
    mine = arrived("events", 0, events(2))
    stored = Intake(desk.committer, "events").store([mine])
    assert stored.attempts == 2
    assert stored.inserted == 2
    assert len(written) == 2  # mine and theirs
    assert len(list(desk.table("events").scan().plan_files())) == 2
    assert_each_once(desk, "events", [(EPOCH, 50, 0), *lineage(mine)])


def test_files_are_written_again_when_other_rows_are_new(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, first = write_files, [True]

    def overtaken(*given: object) -> object:
        if first:
            first.clear()
            other = arrived("raw_trades", 0, trades([2]), epoch="other")
            Intake(desk.committer, "raw_trades").store([other])
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(intakes, "write_files", overtaken)
    mine = arrived("raw_trades", 0, trades([1, 2, 3]))
    stored = Intake(desk.committer, "raw_trades").store([mine])
    assert (stored.inserted, stored.duplicate, stored.attempts) == (2, 1, 2)
    assert stored_trades(desk) == [("BTC-USD", n) for n in (1, 2, 3)]


def test_a_ledger_that_knows_nothing_calls_every_frame_new() -> None:
    assert Ledger().stream("events").know(EPOCH, 0) is Knowledge.NEW
