"""What is swept: old files that serve no snapshot, and nothing else, ever."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from pyiceberg.table import Table

from quotewatch.clock import NS_PER_SECOND
from quotewatch.errors import QuoteWatchError
from quotewatch.streams import TABLES
from quotewatch.tables import commit, upkeep
from quotewatch.tables.catalog import Tables
from quotewatch.tables.commit import SNAPSHOTS_KEPT, Change, Committer, ledger_files
from quotewatch.tables.data_files import write_files
from quotewatch.tables.orphans import Swept, reachable_names, sweep
from tests.servers.gcs_emulator import gcs_emulator
from tests.tables.desk import (
    DAY_SECONDS,
    NOON_NS,
    NOON_S,
    assert_rows,
    expected_rows,
    frames,
    never,
    open_desk,
    store,
    store_each,
)

OLD_S = NOON_S - 2 * DAY_SECONDS
BEFORE_NS = (NOON_S - DAY_SECONDS) * NS_PER_SECOND


@pytest.fixture
def committer(tmp_path: Path) -> Iterator[Committer]:
    with open_desk(tmp_path) as opened:
        yield opened


def _sweep(committer: Committer, name: str = "events", before_ns: int = BEFORE_NS) -> Swept:
    swept = Swept()
    sweep(committer.tables, name, before_ns, never, swept)
    return swept


def _folder(committer: Committer, name: str = "events") -> Path:
    return Path(committer.tables.load(name).location())


def _age(folder: Path, seconds: float = OLD_S) -> None:
    """Say that all files there were written then."""
    for each in folder.rglob("*"):
        os.utime(each, (seconds, seconds), follow_symlinks=False)


def _put(path: Path, text: str = "12345", seconds: float = OLD_S) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (seconds, seconds))
    return path


def _names(folder: Path) -> set[str]:
    return {each.name for each in folder.rglob("*") if each.is_file()}


def test_old_orphans_go_and_young_ones_stay(committer: Committer) -> None:
    given = frames("events", 3)
    store_each(committer, given)
    folder = _folder(committer)
    _age(folder)
    old = [
        _put(folder / "data" / f"{uuid4()}.parquet"),
        _put(folder / "metadata" / f"{uuid4()}-m0.avro"),
        _put(folder / "metadata" / f"00007-{uuid4()}.metadata.json", "{"),
        _put(folder / "metadata" / f"ledger-{uuid4()}.json.zst"),
    ]
    young = _put(folder / "data" / f"{uuid4()}.parquet", seconds=NOON_S - 3_600)
    assert _sweep(committer) == Swept(4, 16)
    assert not any(each.exists() for each in old)
    assert young.exists()
    assert_rows(committer, given)
    assert _sweep(committer) == Swept()


def test_all_that_is_reachable_stays(committer: Committer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "INLINE_BYTES", 10)  # ledgers into files
    given = frames("events", 5)
    store_each(committer, given)
    folder = _folder(committer)
    _age(folder)
    before = _names(folder)
    table = committer.tables.load("events")
    assert len(ledger_files(table)) == 5
    assert _sweep(committer) == Swept()
    assert _names(folder) == before
    assert before <= reachable_names(table)


def test_what_only_an_older_snapshot_needs_stays_until_that_is_let_go(
    committer: Committer,
) -> None:
    given = frames("events", 3, at_s=OLD_S)
    store_each(committer, given)
    upkeep.compact(committer, "events", NOON_NS, never, upkeep.Compaction())
    folder = _folder(committer)
    _age(folder)
    before = committer.tables.load("events").snapshots()[-2].snapshot_id
    assert _sweep(committer) == Swept()
    assert committer.tables.load("events").scan(snapshot_id=before).to_arrow().num_rows == 9
    more = frames("events", SNAPSHOTS_KEPT, start=3)
    store_each(committer, more)
    _age(folder)
    assert _sweep(committer).files >= 3  # data; and manifests, lists and metadata
    assert len(list((folder / "data").iterdir())) == 1 + SNAPSHOTS_KEPT
    assert_rows(committer, given + more)


def test_nothing_is_deleted_unless_all_that_is_reachable_was_read(committer: Committer) -> None:
    store_each(committer, frames("events", 3))
    folder = _folder(committer)
    orphan = _put(folder / "data" / "orphan.parquet")
    table = committer.tables.load("events")
    manifest = table.snapshots()[0].manifests(table.io)[0]
    Path(manifest.manifest_path).unlink()
    with pytest.raises(QuoteWatchError, match="events"):
        _sweep(committer)
    assert orphan.exists()


def test_what_becomes_reachable_after_the_listing_stays(
    committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that was long under way lands between the listing and the reading of the table."""
    given = frames("events", 2)
    store(committer, given[:1])
    rows, original = expected_rows(given[1:]), Table.refresh
    table = committer.tables.load("events")
    files = write_files(table, TABLES["events"], rows)
    _age(_folder(committer))

    def late(table: Table) -> Table:
        monkeypatch.undo()
        committer.commit("events", lambda _, ledger: Change(ledger, files))
        return original(table)

    monkeypatch.setattr(Table, "refresh", late)
    assert _sweep(committer) == Swept()
    assert_rows(committer, given)


def test_nothing_outside_of_the_table_is_touched(committer: Committer, tmp_path: Path) -> None:
    store(committer, frames("events", 1))
    store(committer, frames("features", 1))
    folder = _folder(committer)
    outside = _put(tmp_path / "elsewhere" / "precious.parquet")
    (folder / "data" / "linked").symlink_to(outside.parent)
    neighbour = _put(folder.with_name("events2") / "data" / "other.parquet")
    _age(folder.parent)
    assert _sweep(committer) == Swept()
    assert outside.exists()
    assert neighbour.exists()
    assert_rows(committer, frames("features", 1))


def test_a_warehouse_spelled_in_another_way_loses_nothing(tmp_path: Path) -> None:
    """The paths in the snapshots go through a link, those of the listing do not."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    given = frames("events", 3)
    with open_desk(tmp_path / "link") as committer:
        store_each(committer, given)
        newest = Path(committer.tables.load("events").metadata_location)
        metadata = json.loads(newest.read_text())
        metadata["location"] = f"file://{tmp_path}/real/warehouse/quotewatch/events"
        newest.write_text(json.dumps(metadata))
        _age(tmp_path / "real")
        _put(tmp_path / "real" / "warehouse" / "quotewatch" / "events" / "data" / "orphan")
        assert _sweep(committer) == Swept(1, 5)
        assert_rows(committer, given)


def test_another_table_in_the_same_folder_is_not_swept_away(tmp_path: Path) -> None:
    """The catalog was lost and the stack began anew: the old rows may still be wanted."""
    with open_desk(tmp_path) as committer:
        store_each(committer, frames("events", 3))
    (tmp_path / "catalog.db").unlink()
    with open_desk(tmp_path) as committer:
        store(committer, frames("events", 1, start=9))
        folder = _folder(committer)
        _age(folder)
        before = _names(folder)
        swept = _sweep(committer)
        assert swept.files == 0
        assert "belongs to another table" in str(swept.skipped)
        assert _names(folder) == before


def test_a_table_that_was_never_made_by_the_loser_of_a_race_is_an_orphan(
    committer: Committer,
) -> None:
    store(committer, frames("events", 1))
    folder = _folder(committer)
    lost = json.dumps({"table-uuid": str(uuid4()), "snapshots": []})
    _put(folder / "metadata" / f"00000-{uuid4()}.metadata.json", lost)
    assert _sweep(committer).files == 1


def test_the_hint_for_readers_without_a_catalog_stays(committer: Committer) -> None:
    store(committer, frames("events", 1))
    hint = _put(_folder(committer) / "metadata" / "version-hint.text", "1")
    assert _sweep(committer) == Swept()
    assert hint.exists()


def test_in_a_bucket_too(tmp_path: Path) -> None:
    """The same, where a folder is a prefix and times are the store's."""
    with gcs_emulator(tmp_path) as gcs:
        uri = f"sqlite:///{tmp_path}/catalog.db"
        warehouse = f"{gcs.create_bucket('bucket')}/warehouse"
        properties = {"type": "sql", "uri": uri, "warehouse": warehouse, **gcs.io_properties()}
        with closing(Tables(properties)) as tables:
            committer = Committer(tables)
            given = frames("events", 3, at_s=OLD_S)
            store_each(committer, given)
            table = tables.load("events")
            for place in ("events/data/orphan", "events2/data/other"):
                path = f"{table.location().removesuffix('events')}{place}.parquet"
                with table.io.new_output(path).create() as stream:
                    stream.write(b"12345")
            assert _sweep(committer, before_ns=NOON_NS) == Swept()  # all of it is young
            assert _sweep(committer, before_ns=time.time_ns() + NS_PER_SECOND) == Swept(1, 5)
            done = upkeep.Compaction()
            upkeep.compact(committer, "events", NOON_NS, never, done)
            assert (done.files, done.into) == (3, 1)
            assert table.io.new_input(path).exists()
            assert_rows(committer, given)


def test_time_is_asked_before_each_file(committer: Committer) -> None:
    store(committer, frames("events", 1))
    for number in range(3):
        _put(_folder(committer) / "data" / f"{number}.parquet")
    answers = iter([False, True])
    swept = Swept()
    sweep(committer.tables, "events", BEFORE_NS, lambda: next(answers), swept)
    assert swept == Swept(1, 5, "time is over with 2 orphans left")


def test_a_table_that_does_not_exist_is_no_failure(committer: Committer) -> None:
    assert _sweep(committer, "gaps") == Swept()
