"""What `tables` says: from metadata where it can, from the rows where it must."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.table import Table

from quotewatch.local.table_listing import list_tables
from quotewatch.streams import TABLES
from quotewatch.tables.commit import Change, Committer
from quotewatch.tables.data_files import write_files
from quotewatch.tables.gathering import rows_of
from quotewatch.tables.ledger import Ledger, Seen
from tests.tables.desk import EPOCH, NOON_NS, arrived, frame, frames, open_desk, store

KEYS = {"rows", "files", "snapshots", "holes", "duplicates", "oldest", "newest", "ledger_bytes"}


@pytest.fixture
def committer(tmp_path: Path) -> Iterator[Committer]:
    with open_desk(tmp_path) as opened:
        yield opened


def listed(committer: Committer, code: int = 0) -> dict[str, dict[str, Any]]:
    out = io.StringIO()
    assert list_tables(committer.tables, out, as_json=True, progress=io.StringIO()) == code
    found: dict[str, dict[str, Any]] = json.loads(out.getvalue())
    return found


def shown(committer: Committer, code: int = 0) -> str:
    out = io.StringIO()
    assert list_tables(committer.tables, out, progress=io.StringIO()) == code
    return out.getvalue()


def test_a_table_is_told_by_its_metadata(committer: Committer) -> None:
    store(committer, frames("features", 2, rows=5))
    store(committer, frames("features", 1, start=2, rows=5))
    told = listed(committer)["features"]
    assert told.keys() >= KEYS
    assert (told["rows"], told["files"], told["snapshots"]) == (15, 2, 2)
    assert (told["holes"], told["duplicates"], told["quarantined"]) == (0, 0, 0)
    assert told["oldest"] == "2026-09-04T12:00:00.000000Z"
    assert told["newest"] == "2026-09-04T12:00:00.004000Z"
    assert told["ledger_bytes"] > 50
    assert (told["trade_holes"], told["problem"]) == (None, None)


def test_frames_that_did_not_come_are_holes(committer: Committer) -> None:
    store(committer, [frame("events", seq) for seq in (1, 2, 5)])
    store(committer, [frame("events", 8)], aside=[Seen(EPOCH, 6, NOON_NS)])
    told = listed(committer)["events"]
    assert (told["holes"], told["quarantined"]) == (4, 1)


def test_trades_that_are_missing_between_others_are_holes_of_their_own(
    committer: Committer,
) -> None:
    store(committer, [frame("raw_trades", 0, rows=3, first_id=10)])
    store(committer, [frame("raw_trades", 1, rows=3, first_id=20)])
    told = listed(committer)["raw_trades"]
    assert (told["holes"], told["trade_holes"], told["duplicates"]) == (0, 27, 0)


def test_rows_that_are_there_twice_are_counted(committer: Committer) -> None:
    for stream in ("features", "raw_trades"):
        store(committer, frames(stream, 2, rows=4))
        add_again(committer, stream)
    told = listed(committer)
    assert [told[each]["duplicates"] for each in ("features", "raw_trades")] == [4, 4]


def add_again(committer: Committer, stream: str) -> None:
    """Store a frame once more, as only a mistake could."""
    rows = rows_of(stream, arrived([frame(stream, 0, rows=4)]))

    def plan(table: Table, ledger: Ledger) -> Change:
        return Change(ledger, write_files(table, TABLES[stream], rows))

    committer.commit(stream, plan)


def test_a_trade_under_two_lineages_is_a_duplicate(committer: Committer) -> None:
    store(committer, [frame("raw_trades", 0, rows=3, first_id=1)])
    again = rows_of("raw_trades", arrived([frame("raw_trades", 1, rows=3, first_id=1)]))

    def plan(table: Table, ledger: Ledger) -> Change:
        return Change(ledger, write_files(table, TABLES["raw_trades"], again))

    committer.commit("raw_trades", plan)
    assert listed(committer)["raw_trades"]["duplicates"] == 3


def test_an_empty_table_has_nothing_to_tell(committer: Committer) -> None:
    committer.tables.load("gaps")
    told = listed(committer)["gaps"]
    assert (told["rows"], told["files"], told["snapshots"], told["duplicates"]) == (0, 0, 0, 0)
    assert (told["oldest"], told["newest"], told["ledger_bytes"]) == (None, None, 0)
    assert "gaps" in shown(committer)


def test_a_table_without_a_ledger_is_a_problem_of_that_table(committer: Committer) -> None:
    store(committer, frames("features", 1))
    store(committer, frames("events", 1))
    table = committer.tables.load("events")
    table.append(table.scan().to_arrow())
    told = listed(committer, code=1)
    assert told["features"]["problem"] is None
    assert "repair-ledger events" in told["events"]["problem"]
    assert (told["events"]["holes"], told["events"]["duplicates"]) == (None, 3)
    assert "repair-ledger events" in shown(committer, code=1)


def test_a_file_that_is_gone_is_a_problem_of_that_table(committer: Committer) -> None:
    store(committer, frames("features", 1))
    store(committer, frames("events", 1))
    task = next(iter(committer.tables.load("events").scan().plan_files()))
    Path(task.file.file_path.removeprefix("file://")).unlink()
    told = listed(committer, code=1)
    assert Path(task.file.file_path).name in told["events"]["problem"]
    assert told["events"]["rows"] == 3
    assert told["features"]["duplicates"] == 0


def test_people_see_a_line_a_table(committer: Committer) -> None:
    store(committer, frames("features", 400, rows=5))
    lines = shown(committer).splitlines()
    assert lines[0].split()[:3] == ["table", "rows", "files"]
    assert lines[1].split()[:2] == ["features", "2,000"]


def test_no_tables_say_how_to_make_some(committer: Committer) -> None:
    assert "demo" in shown(committer)
    assert listed(committer) == {}
