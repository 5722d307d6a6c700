"""Compaction and expiry change neither rows nor ledger, whoever else is at work."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.manifest import ManifestContent
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Summary
from pyiceberg.table.update.snapshot import _FastAppendFiles
from pyiceberg.typedef import EMPTY_DICT

from quotewatch.errors import TableError
from quotewatch.streams import STREAMS, TABLES
from quotewatch.tables import commit, groups, upkeep
from quotewatch.tables.commit import SNAPSHOTS_KEPT, Change, Committer, read_ledger
from quotewatch.tables.data_files import write_files
from quotewatch.tables.upkeep import Compaction, compact, expire
from tests.tables.desk import (
    DAY_SECONDS,
    NOON_NS,
    NOON_S,
    DisturbedCommitter,
    assert_rows,
    data_files,
    expected_rows,
    frame,
    frames,
    never,
    open_desk,
    operations,
    rows_in,
    store,
    store_each,
)

YESTERDAY_S = NOON_S - DAY_SECONDS


@pytest.fixture
def committer(tmp_path: Path) -> Iterator[Committer]:
    with open_desk(tmp_path) as opened:
        yield opened


def _compact(committer: Committer, name: str, now_ns: int = NOON_NS) -> Compaction:
    done = Compaction()
    compact(committer, name, now_ns, never, done)
    return done


def _summary(table: Table) -> Any:
    snapshot = table.current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    return snapshot.summary


# Snapshots


def _store_untrimmed(
    committer: Committer, count: int, monkeypatch: pytest.MonkeyPatch, **given: Any
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(commit, "SNAPSHOTS_KEPT", 1_000)
        store_each(committer, frames("events", count, **given))


def test_expiry_keeps_the_newest_snapshots_the_rows_and_the_ledger(
    committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _store_untrimmed(committer, SNAPSHOTS_KEPT + 5, monkeypatch)
    before = committer.tables.load("events")
    assert expire(committer, "events") == 5
    after = committer.tables.load("events")
    assert len(after.snapshots()) == SNAPSHOTS_KEPT
    assert after.current_snapshot() == before.current_snapshot()
    assert read_ledger(after) == read_ledger(before)
    assert_rows(committer, frames("events", SNAPSHOTS_KEPT + 5))
    assert expire(committer, "events") == 0


def test_expiry_leaves_tags_and_branches(
    committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _store_untrimmed(committer, SNAPSHOTS_KEPT + 5, monkeypatch)
    table = committer.tables.load("events")
    oldest, second = [each.snapshot_id for each in table.metadata.snapshots[:2]]
    with table.manage_snapshots() as manage:
        manage.create_tag(oldest, "audit").create_branch(second, "trial")
    assert expire(committer, "events") == 3
    kept = {each.snapshot_id for each in committer.tables.load("events").snapshots()}
    assert {oldest, second} <= kept


class _Rearrangement(_FastAppendFiles):
    """What Spark's compaction leaves: a snapshot of kind replace, without a ledger."""

    def _summary(self, snapshot_properties: Any = EMPTY_DICT) -> Summary:
        summary = super()._summary(snapshot_properties)
        return Summary(Operation.REPLACE, **summary.additional_properties)


def _foreign_rearrangement(table: Table) -> None:
    with table.transaction() as transaction:
        _Rearrangement(operation=Operation.APPEND, transaction=transaction, io=table.io).commit()


def test_expiry_does_not_lose_the_ledger_below_another_programs_compactions(
    committer: Committer,
) -> None:
    store(committer, frames("events", 4))
    ledger = read_ledger(committer.tables.load("events"))
    for _ in range(SNAPSHOTS_KEPT + 3):
        _foreign_rearrangement(committer.tables.load("events"))
    assert expire(committer, "events") == 5  # one more for the snapshot that carries the ledger
    table = committer.tables.load("events")
    assert len(table.snapshots()) == SNAPSHOTS_KEPT
    assert read_ledger(table) == ledger
    assert store(committer, frames("events", 4)).inserted == 0


# Compaction


@pytest.mark.parametrize("stream", STREAMS)
def test_a_closed_day_becomes_one_file_with_the_same_rows_and_ledger(
    committer: Committer, stream: str
) -> None:
    given = frames(stream, 5, at_s=YESTERDAY_S)
    store_each(committer, given)
    before = committer.tables.load(stream)
    done = _compact(committer, stream)
    after = committer.tables.load(stream)
    assert (done.files, done.into, done.groups, done.skipped) == (5, 1, 1, None)
    assert len(data_files(after)) == 1
    assert read_ledger(after) == read_ledger(before)
    assert_rows(committer, given)
    assert _summary(after)["total-records"] == "15"


def test_rows_of_a_compacted_file_are_in_table_order(committer: Committer) -> None:
    store_each(committer, frames("raw_trades", 5, at_s=YESTERDAY_S))
    _compact(committer, "raw_trades")
    rows = committer.tables.load("raw_trades").scan().to_arrow()
    keys = list(TABLES["raw_trades"].sort)
    assert rows.select(keys).equals(rows.sort_by([(key, "ascending") for key in keys]).select(keys))


def test_readers_of_appends_see_nothing_of_a_compaction(committer: Committer) -> None:
    store_each(committer, frames("raw_trades", 5, at_s=YESTERDAY_S))
    before = committer.tables.load("raw_trades").current_snapshot()
    assert before is not None
    _compact(committer, "raw_trades")
    table = committer.tables.load("raw_trades")
    assert operations(table) == ["append"] * 5 + ["overwrite"]
    scan = table.incremental_append_scan(from_snapshot_id_exclusive=before.snapshot_id)
    assert scan.to_arrow().num_rows == 0
    store(committer, [frame("raw_trades", 9)])
    table = committer.tables.load("raw_trades")
    scan = table.incremental_append_scan(from_snapshot_id_exclusive=before.snapshot_id)
    assert scan.to_arrow().num_rows == 3


def test_a_second_run_has_nothing_to_do(committer: Committer) -> None:
    store_each(committer, frames("features", 5, at_s=YESTERDAY_S))
    assert _compact(committer, "features").groups == 1
    before = committer.tables.load("features").metadata_location
    assert _compact(committer, "features") == Compaction()
    assert committer.tables.load("features").metadata_location == before


def test_each_day_is_compacted_by_itself_and_today_waits(committer: Committer) -> None:
    days = [NOON_S - 2 * DAY_SECONDS, YESTERDAY_S, NOON_S]
    given = [frame("events", seq, at_s=days[seq % 3]) for seq in range(9)]
    store_each(committer, given)
    done = _compact(committer, "events")
    assert (done.groups, done.files, done.into) == (2, 6, 2)
    assert len(data_files(committer.tables.load("events"))) == 5
    assert_rows(committer, given)


def test_a_commit_over_midnight_is_compacted_day_by_day(committer: Committer) -> None:
    midnight = YESTERDAY_S - DAY_SECONDS // 2
    given = frames("features", 4, at_s=midnight - 0.001)  # its rows are a millisecond apart
    store_each(committer, given)
    assert len(data_files(committer.tables.load("features"))) == 8
    assert _compact(committer, "features").files == 8
    assert_rows(committer, given)


def test_many_small_files_of_today_are_merged(
    committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "OPEN_FILES", 6)
    monkeypatch.setattr(groups, "OPEN_FILES_LEFT", 2)
    given = frames("events", 7)
    store_each(committer, given)
    newest = set(data_files(committer.tables.load("events")))
    assert _compact(committer, "events").files == 5
    left = data_files(committer.tables.load("events"))
    assert len(left) == 3
    assert len(newest & set(left)) == 2
    assert_rows(committer, given)


def test_groups_are_bounded_with_a_snapshot_each(
    committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = frames("events", 12, at_s=YESTERDAY_S)
    store_each(committer, given)
    (size, *_) = [each.bytes for each in upkeep.pieces_of(committer.tables.load("events"))]
    monkeypatch.setattr(groups, "GROUP_BYTES", 4 * size)
    monkeypatch.setattr(groups, "SMALL_BYTES", 4 * size // 3)
    assert _compact(committer, "events") == Compaction(12, 3, 3)
    assert operations(committer.tables.load("events"))[-3:] == ["overwrite"] * 3
    assert _compact(committer, "events") == Compaction()
    assert_rows(committer, given)


def test_a_group_larger_than_planned_is_cut(
    committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = frames("events", 20, at_s=YESTERDAY_S)
    store_each(committer, given)
    monkeypatch.setattr(upkeep, "LONGEST_GROUP_BYTES", 1)
    done = _compact(committer, "events")
    assert (done.files, done.into) == (16, 1)
    assert_rows(committer, given)


def test_the_estimate_of_memory_is_near_the_truth_whatever_the_rows(committer: Committer) -> None:
    """One book snapshot of 5 000 levels is as large as a thousand updates."""
    given = [
        frame("raw_orderbook", 0, rows=2_000, changes=3, at_s=YESTERDAY_S),
        frame("raw_orderbook", 1, rows=3, changes=5_000, at_s=YESTERDAY_S),
    ]
    store_each(committer, given)
    pieces = upkeep.pieces_of(committer.tables.load("raw_orderbook"))
    for piece, each in zip(sorted(pieces, key=lambda one: one.sequence), given, strict=True):
        assert 0.7 < piece.bytes / expected_rows([each]).nbytes < 1.5


def test_time_is_asked_before_each_group(committer: Committer) -> None:
    days = [NOON_S - DAY_SECONDS * (1 + seq % 3) for seq in range(9)]
    store_each(committer, [frame("events", seq, at_s=day) for seq, day in enumerate(days)])
    answers = iter([False, True])
    done = Compaction()
    compact(committer, "events", NOON_NS, lambda: next(answers), done)
    assert (done.groups, done.skipped) == (1, "time is over with 2 of 3 groups left")


# What others did to the table


def test_files_without_a_newer_column_are_merged_with_nulls(
    committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = TABLES["raw_orderbook"]
    older = replace(layout, schema=pa.schema([e for e in layout.schema if e.name != "feed_seq"]))
    first, second = frames("raw_orderbook", 2, at_s=YESTERDAY_S)
    rows = expected_rows([first]).drop_columns(["feed_seq"])
    with monkeypatch.context() as patched:
        patched.setitem(TABLES, "raw_orderbook", older)
        committer.commit(
            "raw_orderbook", lambda table, ledger: Change(ledger, write_files(table, older, rows))
        )
    committer.tables.close()
    committer.tables.__init__(committer.tables._properties)  # type: ignore[misc]
    store(committer, [second])
    assert _compact(committer, "raw_orderbook").files == 2
    found = rows_in(committer.tables.load("raw_orderbook"))
    nulls = pa.nulls(3, pa.int64()).to_pylist()
    assert found.column("feed_seq").to_pylist() == nulls + second.rows["feed_seq"].to_pylist()
    assert found.slice(0, 3).select(rows.schema.names).equals(rows)


def test_a_column_of_another_program_is_kept(committer: Committer) -> None:
    given = frames("events", 2, at_s=YESTERDAY_S)
    store(committer, given)
    with committer.tables.load("events").update_schema() as schema:
        schema.union_by_name(pa.schema([pa.field("note", pa.string())]))
    table = committer.tables.load("events")
    extra = expected_rows(frames("events", 1, start=2, at_s=YESTERDAY_S))
    extra = extra.append_column("note", pa.array(["a", "b", "c"]))
    committer.commit(
        "events",
        lambda table, ledger: Change(ledger, write_files(table, TABLES["events"], extra)),
    )
    assert _compact(committer, "events").files == 2
    table = committer.tables.load("events")
    notes = table.scan(selected_fields=("seq", "note")).to_arrow().sort_by("seq")
    assert sorted(filter(None, notes.column("note").to_pylist())) == ["a", "b", "c"]
    assert notes.num_rows == 9


def test_a_table_with_delete_files_is_left_alone(
    committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_each(committer, frames("events", 3, at_s=YESTERDAY_S))
    original = upkeep._manifests

    def with_deletes(table: Table) -> Any:
        first, *rest = original(table)
        first[3] = ManifestContent.DELETES
        return [first, *rest]

    monkeypatch.setattr(upkeep, "_manifests", with_deletes)
    done = _compact(committer, "events")
    assert done == Compaction(skipped="not compacted: another program deletes its rows by delete"
                              " files")  # fmt: skip


def test_a_table_with_another_partition_is_left_alone(committer: Committer) -> None:
    store_each(committer, frames("events", 3, at_s=YESTERDAY_S))
    with committer.tables.load("events").update_spec() as spec:
        spec.add_identity("symbol")
    done = _compact(committer, "events")
    assert done.groups == 0
    assert "not compacted: it is partitioned by" in str(done.skipped)


def test_files_that_lack_rows_are_not_replaced(
    committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = frames("events", 3, at_s=YESTERDAY_S)
    store_each(committer, given)
    original = ArrowScan.to_table
    monkeypatch.setattr(ArrowScan, "to_table", lambda scan, tasks: original(scan, tasks).slice(1))
    with pytest.raises(TableError, match="events: 8 rows in files that say 9"):
        _compact(committer, "events")
    monkeypatch.undo()
    assert_rows(committer, given)


# At the same time


def test_a_writer_between_reading_and_committing_loses_nothing(committer: Committer) -> None:
    given = frames("features", 6, at_s=YESTERDAY_S)
    store_each(committer, given[:5])
    disturbed = DisturbedCommitter(committer, lambda: store(committer, given[5:]))
    assert _compact(disturbed, "features").files == 5
    table = committer.tables.load("features")
    assert operations(table) == ["append"] * 6 + ["overwrite"]
    assert len(data_files(table)) == 2
    assert store(committer, given).inserted == 0
    assert_rows(committer, given)


def test_of_two_compactions_the_second_lets_it_be(committer: Committer) -> None:
    given = frames("features", 5, at_s=YESTERDAY_S)
    store_each(committer, given)
    disturbed = DisturbedCommitter(committer, lambda: _compact(committer, "features"))
    assert _compact(disturbed, "features") == Compaction()
    assert operations(committer.tables.load("features")) == ["append"] * 5 + ["overwrite"]
    assert_rows(committer, given)


def test_an_expiry_in_between_does_not_disturb(
    committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _store_untrimmed(committer, SNAPSHOTS_KEPT + 5, monkeypatch, at_s=YESTERDAY_S)
    disturbed = DisturbedCommitter(committer, lambda: expire(committer, "events"))
    assert _compact(disturbed, "events").files == SNAPSHOTS_KEPT + 5
    assert_rows(committer, frames("events", SNAPSHOTS_KEPT + 5, at_s=YESTERDAY_S))


def test_a_writer_and_two_compactions_at_once(tmp_path: Path) -> None:
    days = [YESTERDAY_S - DAY_SECONDS * day for day in range(4)]
    given = [frame("events", seq, at_s=days[seq % 4]) for seq in range(24)]
    with open_desk(tmp_path) as first:
        store_each(first, given[:12])
    failures: list[BaseException] = []

    def work(turn: int) -> None:
        try:
            with open_desk(tmp_path) as own:
                if turn == 0:
                    store_each(own, given[12:])
                for _ in range(2):
                    _compact(own, "events")
                    expire(own, "events")
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(turn,)) for turn in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with open_desk(tmp_path) as last:
        _compact(last, "events")
        assert_rows(last, given)
        assert len(data_files(last.tables.load("events"))) == 4
        assert store(last, given).inserted == 0


_KILLED = """
import os, signal, sys
from pathlib import Path
from quotewatch.tables import upkeep
from tests.tables.desk import NOON_NS, desk, never

committer = desk(Path(sys.argv[1]))
committer.commit = lambda name, plan: os.kill(os.getpid(), signal.SIGKILL)
upkeep.compact(committer, "events", NOON_NS, never, upkeep.Compaction())
"""


def test_killed_before_the_commit_nothing_has_happened(
    committer: Committer, tmp_path: Path
) -> None:
    given = frames("events", 3, at_s=YESTERDAY_S)
    store_each(committer, given)
    before = committer.tables.load("events")
    killed = subprocess.run([sys.executable, "-c", _KILLED, tmp_path], check=False)
    assert killed.returncode == -signal.SIGKILL
    after = committer.tables.load("events")
    assert after.metadata_location == before.metadata_location
    there = {each.name for each in Path(after.location(), "data").iterdir()}
    assert len(there - {Path(each).name for each in data_files(after)}) == 1  # the merged file
    assert _compact(committer, "events").files == 3
    assert_rows(committer, given)


# Memory

MEMORY_BYTES = 2**30
_LARGE = """
import resource, sys
from pathlib import Path
from quotewatch.tables import upkeep
from tests.tables.desk import NOON_NS, NOON_S, desk, frame, never, store

committer = desk(Path(sys.argv[1]))
done = upkeep.Compaction()
upkeep.compact(committer, "raw_orderbook", NOON_NS, never, done)
print(done.files, done.groups, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def test_memory_stays_bounded_whatever_there_is_to_merge(
    committer: Committer, tmp_path: Path
) -> None:
    """300 000 messages in 12 files, more than fit into one group."""
    first = frame("raw_orderbook", rows=25_000, changes=12, at_s=YESTERDAY_S)
    for seq in range(12):
        store(committer, [replace(first, id=replace(first.id, seq=seq))])
    output = subprocess.check_output([sys.executable, "-c", _LARGE, tmp_path], text=True)
    files, snapshots, peak = (int(each) for each in output.split())
    assert (files, snapshots) == (12, 2)
    assert peak < MEMORY_BYTES
    assert committer.tables.load("raw_orderbook").scan().count() == 300_000
