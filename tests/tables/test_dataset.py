"""The dataset of a table is its newest snapshot: each row once, whatever lies beside it."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestWriterV2,
)
from pyiceberg.table import FileScanTask, Table
from pyiceberg.types import StringType

from quotewatch.streams import TABLES, TIME
from quotewatch.tables import dataset
from quotewatch.tables.catalog import Tables, catalog_properties
from quotewatch.tables.commit import Committer
from quotewatch.tables.data_files import write_files
from quotewatch.tables.dataset import current, current_rows, read
from tests.servers.gcs_emulator import gcs_emulator
from tests.tables.desk import (
    DAY_SECONDS,
    NOON_S,
    data_files,
    expected_rows,
    frame,
    frames,
    open_desk,
    store,
    store_each,
)
from tests.tables.rows import compact


@pytest.fixture
def committer(tmp_path: Path) -> Iterator[Committer]:
    with open_desk(tmp_path) as opened:
        yield opened


def in_order(table: Table) -> pa.Table:
    names = TABLES[table.name()[-1]].schema.names
    rows = read(current_rows(table), names).cast(TABLES[table.name()[-1]].schema)
    return rows.sort_by([("epoch", "ascending"), ("seq", "ascending"), ("row", "ascending")])


def path_of(task: FileScanTask) -> Path:
    return Path(task.file.file_path.removeprefix("file://"))


@pytest.mark.parametrize("stream", ["raw_orderbook", "raw_trades", "features", "events"])
def test_it_holds_every_row_once_also_after_a_compaction(committer: Committer, stream: str) -> None:
    given = [*frames(stream, 4), *frames(stream, 2, start=4, at_s=NOON_S + DAY_SECONDS)]
    store_each(committer, given)
    table = committer.tables.load(stream)
    assert in_order(table).equals(expected_rows(given))
    compact(committer, stream)
    table = committer.tables.load(stream)
    assert len(data_files(table)) == 2
    assert in_order(table).equals(expected_rows(given))


def test_files_that_no_snapshot_names_are_not_seen(committer: Committer) -> None:
    store(committer, frames("features", 2))
    table = committer.tables.load("features")
    write_files(table, TABLES["features"], expected_rows(frames("features", 1, start=9)))
    assert current_rows(table).count_rows() == 6


def test_a_table_read_before_a_commit_stays_as_it_was(committer: Committer) -> None:
    store(committer, frames("features", 1))
    rows = current_rows(committer.tables.load("features"))
    store(committer, frames("features", 1, start=1))
    compact(committer, "features")
    assert rows.count_rows() == 3


def test_an_empty_table_has_columns_and_no_rows(committer: Committer) -> None:
    table = committer.tables.load("raw_orderbook")
    rows = current_rows(table)
    assert rows.count_rows() == 0
    assert rows.schema.names == TABLES["raw_orderbook"].schema.names
    assert current(table, "received_at").covered is not None


def test_columns_that_older_files_lack_are_null(committer: Committer) -> None:
    store(committer, frames("features", 1))
    table = committer.tables.load("features")
    with table.update_schema() as update:
        update.add_column("note", StringType())
    store(committer, frames("features", 1, start=1))
    rows = read(current_rows(committer.tables.load("features")), ["seq", "note"])
    assert rows.num_rows == 6
    assert rows.column("note").null_count == 6


def test_files_of_other_writers_are_read(committer: Committer, tmp_path: Path) -> None:
    """Spark writes neither Arrow's large types nor its schema."""
    given = frames("raw_orderbook", 2)
    store(committer, given)
    table = committer.tables.load("raw_orderbook")
    foreign = expected_rows([frame("raw_orderbook", 7)])
    path = tmp_path / "foreign.parquet"
    pq.write_table(foreign, path, store_schema=False)
    table.append(foreign)
    task = max(table.scan().plan_files(), key=lambda each: each.file.file_path == str(path))
    assert task.file.file_format is FileFormat.PARQUET
    for each in table.scan().plan_files():
        if pq.read_table(path_of(each), columns=["seq"]).column("seq").to_pylist() == [7, 7, 7]:
            path_of(each).write_bytes(path.read_bytes())
    assert in_order(table).equals(expected_rows([*given, frame("raw_orderbook", 7)]))


def test_rows_that_another_program_deleted_are_gone(
    committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(committer, frames("features", 2))
    table = committer.tables.load("features")
    task = next(iter(table.scan().plan_files()))
    delete_beside(table, task, [0, 4], monkeypatch)
    table = table.refresh()
    assert all(each.delete_files for each in table.scan().plan_files())
    lineage = ["seq", "row"]
    kept = read(current_rows(table), lineage).to_pylist()
    stored = pq.read_table(path_of(task), columns=lineage).to_pylist()
    assert kept == [row for place, row in enumerate(stored) if place not in {0, 4}]


def delete_beside(
    table: Table, task: FileScanTask, places: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Delete rows as Spark does: pyiceberg itself writes no such files."""
    path = path_of(task).with_name("deletes.parquet")
    deleted = {"file_path": [task.file.file_path] * len(places), "pos": places}
    pq.write_table(pa.table(deleted), path)
    beside = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=f"file://{path}",
        file_format=FileFormat.PARQUET,
        partition=task.file.partition,
        record_count=len(places),
        file_size_in_bytes=path.stat().st_size,
    )
    beside.spec_id = task.file.spec_id
    monkeypatch.setattr(ManifestWriterV2, "content", lambda _: ManifestContent.DELETES)
    with table.transaction() as transaction, transaction.update_snapshot().fast_append() as update:
        update.append_data_file(beside)


def test_tables_in_a_bucket_are_read_the_same_way(tmp_path: Path) -> None:
    with gcs_emulator(tmp_path) as emulator:
        warehouse = emulator.create_bucket("lake")
        properties = catalog_properties("", warehouse, tmp_path) | emulator.io_properties()
        tables = Tables(properties)
        try:
            given = frames("raw_orderbook", 2)
            store_each(Committer(tables), given)
            assert in_order(tables.load("raw_orderbook")).equals(expected_rows(given))
        finally:
            tables.close()


def test_files_that_cannot_hold_what_is_asked_for_are_never_opened(committer: Committer) -> None:
    for day in range(3):
        store(committer, [frame("features", day, at_s=NOON_S + day * DAY_SECONDS)])
    table = committer.tables.load("features")
    rows = current_rows(table)
    for task in table.scan().plan_files():
        if task.file.partition[0] != NOON_S // DAY_SECONDS:
            path_of(task).unlink()
    later = pa.scalar((NOON_S + 60) * 1_000_000, TIME)
    found = read(rows, ["seq"], ds.field("received_at") < later)
    assert found.column("seq").to_pylist() == [0, 0, 0]
    with duckdb.connect() as connection:
        connection.register("features", rows)
        query = "SELECT count(*) FROM features WHERE received_at < '2026-09-05'"
        assert connection.execute(query).fetchone() == (3,)
    assert not read(rows, ["seq"], ds.field("epoch") == "no epoch").num_rows


def test_bounds_say_where_values_lie(committer: Committer) -> None:
    store(committer, frames("features", 1))
    store(committer, [frame("features", 1, at_s=NOON_S + 60)])
    table = committer.tables.load("features")
    covered = current(table, "received_at").covered
    noon_us = NOON_S * 1_000_000
    assert covered is not None
    assert list(covered) == [
        (noon_us, noon_us + 2_000),
        (noon_us + 60_000_000, noon_us + 60_002_000),
    ]


def test_a_file_without_bounds_covers_everything(
    committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(committer, frames("features", 1))
    monkeypatch.setattr(dataset, "_bounds", lambda *_: None)
    found = current(committer.tables.load("features"), "received_at")
    assert found.covered is None
    assert found.rows.count_rows() == 3
