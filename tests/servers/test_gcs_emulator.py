from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pytest
from pyarrow.fs import FileInfo, FileSelector, FileType, GcsFileSystem
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from tests.servers.gcs_emulator import GcsEmulator, gcs_emulator
from tests.servers.rest_catalog import RestCatalogServer

NAME = "market.trades"
TRADES = pa.table({"trade_id": pa.array([1, 2, 3], pa.int64())})
MB = 1 << 20


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsEmulator]:
    with gcs_emulator(tmp_path_factory.mktemp("gcs")) as running:
        yield running


@pytest.fixture
def bucket(emulator: GcsEmulator) -> str:
    """Create a bucket of the test's own; answer its gs:// address."""
    return emulator.create_bucket(f"test-{uuid4()}")


@pytest.fixture
def catalog(emulator: GcsEmulator, bucket: str, tmp_path: Path) -> Iterator[Catalog]:
    catalog = SqlCatalog(
        "local",
        uri=f"sqlite:///{tmp_path / 'catalog.sqlite'}",
        warehouse=f"{bucket}/warehouse",
        **emulator.io_properties(),
    )
    with catalog:
        catalog.create_namespace("market")
        yield catalog


def listed(files: GcsFileSystem, bucket: str) -> list[FileInfo]:
    selector = FileSelector(bucket.removeprefix("gs://"), recursive=True)
    return [info for info in files.get_file_info(selector) if info.type == FileType.File]


def data_paths(table: Table) -> list[str]:
    return [task.file.file_path for task in table.scan().plan_files()]


def test_a_table_in_a_bucket_is_appended_to_and_loaded_again(catalog: Catalog, bucket: str) -> None:
    table = catalog.create_table(NAME, TRADES.schema)
    for _ in range(3):
        table.append(TRADES)

    loaded = catalog.load_table(NAME)
    assert loaded.location().startswith(f"{bucket}/warehouse/")
    assert loaded.scan().to_arrow() == pa.concat_tables([TRADES] * 3).combine_chunks()


def test_a_rest_catalog_in_front_of_a_bucket_works_too(
    emulator: GcsEmulator, bucket: str, tmp_path: Path
) -> None:
    with (
        RestCatalogServer(tmp_path, f"{bucket}/warehouse", emulator.io_properties()) as server,
        load_catalog("client", **server.client_properties()) as client,
    ):
        client.create_namespace("market")
        client.create_table(NAME, TRADES.schema).append(TRADES)

        assert client.load_table(NAME).scan().to_arrow() == TRADES


def test_every_file_of_a_table_is_listed_with_its_time(
    emulator: GcsEmulator, catalog: Catalog, bucket: str
) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    table = catalog.create_table(NAME, TRADES.schema)
    table.append(TRADES)
    files = listed(emulator.file_system(), bucket)

    data = data_paths(table)
    paths = [f"gs://{info.path}" for info in files]
    assert set(data) < set(paths)
    assert table.metadata_location in paths
    assert len(paths) == 5  # data, manifest, manifest list, metadata of create and of append
    assert all(info.mtime is not None and before < info.mtime for info in files)


def test_a_deleted_file_is_gone_for_readers(
    emulator: GcsEmulator, catalog: Catalog, bucket: str
) -> None:
    table = catalog.create_table(NAME, TRADES.schema)
    table.append(TRADES)
    (path,) = data_paths(table)
    files = emulator.file_system()
    files.delete_file(path.removeprefix("gs://"))

    assert path.removeprefix("gs://") not in [info.path for info in listed(files, bucket)]
    with pytest.raises(FileNotFoundError):
        files.delete_file(path.removeprefix("gs://"))
    with pytest.raises(FileNotFoundError):
        table.io.delete(path)
    with pytest.raises(FileNotFoundError):
        table.scan().to_arrow()


@pytest.mark.parametrize("size", [0, 1, 2 * MB, 8 * MB, 8 * MB + 1, 20 * MB])
def test_files_of_any_size_come_back_whole(emulator: GcsEmulator, bucket: str, size: int) -> None:
    path = f"{bucket.removeprefix('gs://')}/file"
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    files = emulator.file_system()
    with files.open_output_stream(path) as stream:
        for start in range(0, size, 3 * MB):
            stream.write(data[start : start + 3 * MB])

    assert files.get_file_info(path).size == size
    with files.open_input_stream(path) as stream:
        assert stream.read() == data


def test_a_reader_that_stops_halfway_holds_up_nobody(emulator: GcsEmulator, bucket: str) -> None:
    path = f"{bucket.removeprefix('gs://')}/file"
    files = emulator.file_system()
    with files.open_output_stream(path) as stream:
        stream.write(bytes(20 * MB))

    with files.open_input_stream(path) as halfway:
        halfway.read(1)
        assert len(listed(files, bucket)) == 1


def test_odd_names_are_kept(emulator: GcsEmulator, bucket: str) -> None:
    path = f"{bucket.removeprefix('gs://')}/product=BTC-USD/a b/ü%+#.parquet"
    files = emulator.file_system()
    with files.open_output_stream(path) as stream:
        stream.write(b"x")

    assert [info.path for info in listed(files, bucket)] == [path]
    emulator.delete(*path.split("/", 1))
    assert listed(files, bucket) == []


def test_a_stopped_emulator_is_an_error_within_seconds(tmp_path: Path) -> None:
    with gcs_emulator(tmp_path) as emulator:
        files = emulator.file_system(retry_seconds=0.5)
        emulator.stop()

        with pytest.raises(OSError, match="UNAVAILABLE"):
            files.get_file_info("bucket/file")
