import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from sqlalchemy.exc import OperationalError

from tests.servers.postgres import Postgres, find_programs, postgres, running_postgres

TRADES = pa.table({"trade_id": pa.array([1, 2, 3], pa.int64())})
NO_RETRY = {"commit.retry.num-retries": "0"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with running_postgres(tmp_path_factory.mktemp("postgres")) as running:
        yield running


@pytest.fixture
def catalog(server: Postgres, tmp_path: Path) -> Iterator[SqlCatalog]:
    # A catalog's name is part of every key: each test sees only its own tables.
    catalog = SqlCatalog(tmp_path.name, uri=server.uri, warehouse=tmp_path.as_uri())
    with catalog:
        catalog.create_namespace("market")
        yield catalog


def test_a_table_in_postgres_is_appended_to_and_loaded_again(
    catalog: SqlCatalog, server: Postgres, tmp_path: Path
) -> None:
    catalog.create_table("market.trades", TRADES.schema).append(TRADES)

    with SqlCatalog(tmp_path.name, uri=server.uri, warehouse=tmp_path.as_uri()) as another:
        assert another.load_table("market.trades").scan().to_arrow() == TRADES


def test_of_two_writers_from_one_snapshot_the_second_is_refused(catalog: SqlCatalog) -> None:
    table = catalog.create_table("market.trades", TRADES.schema, properties=NO_RETRY)
    slow = catalog.load_table("market.trades")
    table.append(TRADES)

    with pytest.raises(CommitFailedException):
        slow.append(TRADES)
    assert catalog.load_table("market.trades").scan().count() == 3


def test_while_it_is_stopped_the_catalog_raises_and_afterwards_goes_on(
    server: Postgres, tmp_path: Path
) -> None:
    with SqlCatalog(
        tmp_path.name, uri=server.uri, warehouse=tmp_path.as_uri(), pool_pre_ping="true"
    ) as catalog:
        catalog.create_namespace("market")
        table = catalog.create_table("market.trades", TRADES.schema)
        server.stop()
        try:
            with pytest.raises(OperationalError, match="refused"):
                table.append(TRADES)
        finally:
            server.restart()
        catalog.load_table("market.trades").append(TRADES)

        assert catalog.load_table("market.trades").scan().count() == 3


def test_without_pre_ping_the_first_use_after_a_restart_fails(
    catalog: SqlCatalog, server: Postgres
) -> None:
    catalog.create_table("market.trades", TRADES.schema)
    server.restart()

    with pytest.raises(OperationalError, match="terminat"):
        catalog.load_table("market.trades")
    catalog.load_table("market.trades")


def test_what_was_committed_survives_a_crash(catalog: SqlCatalog, server: Postgres) -> None:
    catalog.create_table("market.trades", TRADES.schema).append(TRADES)
    server.crash()
    server.restart()

    with pytest.raises(OperationalError):
        catalog.load_table("market.trades")  # the pooled connection is a dead one
    assert catalog.load_table("market.trades").scan().count() == 3


def test_it_ends_with_its_block_also_when_the_block_fails(tmp_path: Path) -> None:
    def fail_inside() -> None:
        with postgres(tmp_path) as uri:
            addresses.append(uri)
            raise LookupError

    addresses: list[str] = []
    with pytest.raises(LookupError):
        fail_inside()
    port = addresses[0].rsplit(":", 1)[1].split("/")[0]
    answer = subprocess.run(
        [find_programs() / "pg_isready", "--host=127.0.0.1", f"--port={port}"], check=False
    )
    assert answer.returncode == 2  # no response


def test_a_machine_without_it_skips_with_the_package_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CI", "")
    monkeypatch.setattr(Path, "glob", lambda *_: iter(()))

    with pytest.raises(pytest.skip.Exception, match="apt-get install postgresql"):
        find_programs()
