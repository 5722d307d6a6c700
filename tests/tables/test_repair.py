"""A ledger that is gone is rebuilt from the rows, and after that everything is stored once."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from quotewatch.errors import LedgerMissingError, TableError
from quotewatch.streams import REST_EPOCH, TABLES
from quotewatch.tables.commit import LEDGER, ledger_files
from quotewatch.tables.gathering import rows_of
from quotewatch.tables.intake import Intake
from quotewatch.tables.ledger import Knowledge, Ledger, Seen
from quotewatch.tables.repair import Repair, Repaired
from tests.tables.frames import EPOCH, Desk, Row, arrived, assert_each_once, events, trades


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with closing(Desk(tmp_path)) as made:
        yield made


def store(desk: Desk, stream: str, seq: int, rows: list[Row], epoch: str = EPOCH) -> int:
    return Intake(desk.committer, stream).store([arrived(stream, seq, rows, epoch=epoch)]).inserted


def hide(desk: Desk, stream: str) -> None:
    """Commit as a program does that knows nothing of ledgers."""
    desk.table(stream).append(TABLES[stream].schema.empty_table())


def repair(desk: Desk, name: str) -> Repaired:
    return Repair(desk.committer, desk.clock).run(name)


def test_a_table_that_does_not_exist_is_named(desk: Desk) -> None:
    with pytest.raises(TableError, match="no such table: trades; there are raw_orderbook"):
        repair(desk, "trades")


def test_a_table_that_was_never_made_is_not_made_by_repairing_it(desk: Desk) -> None:
    with pytest.raises(TableError, match="events: never made in this catalog"):
        repair(desk, "events")
    assert desk.tables.find("events") is None


@pytest.mark.parametrize("name", TABLES)
def test_an_empty_table_gets_an_empty_ledger(desk: Desk, name: str) -> None:
    desk.tables.load(name)
    found = repair(desk, name)
    assert (found.rows, found.frames, found.trades) == (0, 0, 0)
    assert desk.ledger(name) == Ledger() or set(desk.ledger(name).streams) == {name}


def test_a_healthy_ledger_comes_out_as_it_went_in(desk: Desk) -> None:
    for seq in (0, 1, 4):
        store(desk, "events", seq, events(2))
    before = desk.ledger("events").stream("events").epochs[EPOCH]
    found = repair(desk, "events")
    after = desk.ledger("events").stream("events").epochs[EPOCH]
    assert (found.rows, found.frames) == (6, 3)
    assert (after.done, after.quarantined, after.partial) == (
        before.done,
        before.quarantined,
        False,
    )


def test_a_hidden_ledger_comes_back_with_what_no_row_tells(desk: Desk) -> None:
    """What was put aside, and frames without rows, stand in the older ledger alone."""
    store(desk, "events", 0, events(2))
    store(desk, "events", 1, [])
    Intake(desk.committer, "events").store([], [Seen(EPOCH, 2, 1)])
    before = desk.ledger("events")
    hide(desk, "events")
    with pytest.raises(LedgerMissingError):
        store(desk, "events", 3, events(1))
    repair(desk, "events")
    known = desk.ledger("events").stream("events")
    assert [known.know(EPOCH, seq) for seq in range(4)] == [
        Knowledge.DONE,
        Knowledge.DONE,
        Knowledge.QUARANTINED,
        Knowledge.NEW,
    ]
    assert known.floor == before.stream("events").floor
    assert store(desk, "events", 0, events(2)) == 0
    assert store(desk, "events", 3, events(1)) == 1
    assert desk.lineage("events") == [(EPOCH, 0, 0), (EPOCH, 0, 1), (EPOCH, 3, 0)]


def test_a_ledger_that_is_gone_is_rebuilt_from_the_rows(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quotewatch.tables.commit.INLINE_BYTES", 0)
    store(desk, "events", 0, events(2), epoch="a")
    store(desk, "events", 5, events(1), epoch="b")
    for path in (desk.folder / "warehouse").rglob("*ledger-*"):
        path.unlink()
    with pytest.raises(LedgerMissingError, match="repair-ledger events"):
        store(desk, "events", 0, events(2), epoch="a")
    found = repair(desk, "events")
    assert (found.rows, found.frames) == (3, 2)
    assert store(desk, "events", 0, events(2), epoch="a") == 0
    assert store(desk, "events", 4, events(1), epoch="b") == 1
    assert_each_once(desk, "events", [("a", 0, 0), ("a", 0, 1), ("b", 4, 0), ("b", 5, 0)])
    assert ledger_files(desk.table("events"))


def test_trades_keep_their_ids_and_those_of_rest_are_no_frames(desk: Desk) -> None:
    store(desk, "raw_trades", 0, trades([1, 2]) + trades([7], "ETH-USD"))
    healed = rows_of("raw_trades", [arrived("raw_trades", 3, trades([3]), epoch=REST_EPOCH)])
    Intake(desk.committer, "raw_trades").store_trades(healed, seq=3)
    before = desk.ledger("raw_trades").trades
    hide(desk, "raw_trades")
    found = repair(desk, "raw_trades")
    assert (found.rows, found.frames, found.trades) == (4, 1, 4)
    ledger = desk.ledger("raw_trades")
    assert ledger.trades == before
    assert set(ledger.stream("raw_trades").epochs) == {EPOCH}
    assert store(desk, "raw_trades", 9, trades([1, 2, 3, 4])) == 1


def test_a_frame_whose_trades_were_all_there_is_taken_again_for_nothing(desk: Desk) -> None:
    store(desk, "raw_trades", 0, trades([1]), epoch="a")
    store(desk, "raw_trades", 0, trades([1]), epoch="b")  # leaves no row
    table = desk.table("raw_trades")
    table.append(TABLES["raw_trades"].schema.empty_table(), snapshot_properties={LEDGER: "spoilt"})
    repair(desk, "raw_trades")
    known = desk.ledger("raw_trades").stream("raw_trades")
    assert known.know("b", 0) is Knowledge.NEW
    assert store(desk, "raw_trades", 0, trades([1]), epoch="b") == 0
    assert len(desk.rows("raw_trades")) == 1


def test_epochs_that_had_left_are_known_again_from_their_rows(desk: Desk) -> None:
    second = 1_790_000_000
    for epoch, late in (("01", 0), ("02", 20 * 86_400)):
        frame = arrived("events", 0, events(1), epoch=epoch, second=second + late)
        Intake(desk.committer, "events").store([frame])
    assert desk.ledger("events").stream("events").floor == "01"
    hide(desk, "events")
    repair(desk, "events")
    known = desk.ledger("events").stream("events")
    assert known.know("01", 0) is Knowledge.DONE
    assert known.know("00", 0) is Knowledge.UNSURE
    assert store(desk, "events", 0, events(1), epoch="01") == 0


def test_repair_is_overtaken_like_any_other_writer(desk: Desk) -> None:
    store(desk, "events", 0, events(1))
    hide(desk, "events")
    first = repair(desk, "events")
    second = repair(desk, "events")
    assert first.snapshot_id != second.snapshot_id
    assert (first.rows, second.rows) == (1, 1)
    assert_each_once(desk, "events", [(EPOCH, 0, 0)])


def test_the_ledger_of_a_newer_program_is_not_replaced(desk: Desk) -> None:
    desk.tables.load("events")
    newer = '{"version":2,"streams":{},"trades":{}}'
    desk.table("events").append(
        TABLES["events"].schema.empty_table(), snapshot_properties={LEDGER: newer}
    )
    for call in (lambda: store(desk, "events", 0, events(1)), lambda: repair(desk, "events")):
        with pytest.raises(TableError, match="deploy this process again"):
            call()
