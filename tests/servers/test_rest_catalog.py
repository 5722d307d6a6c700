from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
import requests
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import (
    BadRequestError,
    CommitFailedException,
    CommitStateUnknownException,
    NamespaceAlreadyExistsError,
    NamespaceNotEmptyError,
    NoSuchNamespaceError,
    NoSuchTableError,
    ServerError,
    ServiceUnavailableError,
    TableAlreadyExistsError,
)
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.table import Table
from pyiceberg.table.update import (
    AssertRefSnapshotId,
    SetCurrentSchemaUpdate,
    SetPropertiesUpdate,
)
from pyiceberg.transforms import IdentityTransform

from tests.servers.rest_catalog import Outcome, RestCatalogServer, When

NAME = "market.trades"
TRADES = pa.table({"trade_id": pa.array([1, 2, 3], pa.int64())})
NO_RETRY = {"commit.retry.num-retries": "0"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RestCatalogServer]:
    with RestCatalogServer(tmp_path) as running:
        yield running


@pytest.fixture
def catalog(server: RestCatalogServer) -> Iterator[Catalog]:
    with load_catalog("client", **server.client_properties()) as client:
        client.create_namespace("market")
        yield client


@pytest.fixture
def table(catalog: Catalog) -> Table:
    return catalog.create_table(NAME, TRADES.schema, properties=NO_RETRY)


def stored_rows(server: RestCatalogServer) -> int:
    return server.catalog.load_table(NAME).scan().count()


def test_a_table_is_created_appended_to_and_loaded_again(
    catalog: Catalog, table: Table, server: RestCatalogServer
) -> None:
    table.append(TRADES)

    assert catalog.load_table(NAME).scan().to_arrow() == TRADES
    assert table.metadata == catalog.load_table(NAME).metadata
    assert (server.commits, server.conflicts, server.faults_met) == (1, 0, 0)


def test_schema_partitions_properties_and_location_arrive_as_asked(
    catalog: Catalog, table: Table, tmp_path: Path
) -> None:
    spec = PartitionSpec(PartitionField(1, 1000, IdentityTransform(), "trade_id"))
    there = (tmp_path / "elsewhere").as_uri()
    made = catalog.create_table("market.other", table.schema(), there, spec, properties={"a": "b"})

    assert (made.schema(), made.spec(), made.location()) == (table.schema(), spec, there)
    assert made.properties == {"a": "b"}


def test_namespaces_are_created_listed_asked_for_and_dropped(catalog: Catalog) -> None:
    catalog.create_namespace(("deep", "er"), {"owner": "me"})

    assert sorted(catalog.list_namespaces()) == [("deep",), ("market",)]
    assert catalog.list_namespaces("deep") == [("deep", "er")]
    assert catalog.load_namespace_properties("deep.er")["owner"] == "me"
    assert catalog.namespace_exists("market")
    assert not catalog.namespace_exists("none")
    with pytest.raises(NamespaceAlreadyExistsError):
        catalog.create_namespace("market")
    with pytest.raises(NoSuchNamespaceError):
        catalog.list_tables("none")
    catalog.drop_namespace("deep.er")
    assert not catalog.namespace_exists("deep.er")


def test_tables_are_listed_asked_for_and_dropped(catalog: Catalog, table: Table) -> None:
    assert catalog.list_tables("market") == [("market", "trades")]
    assert catalog.table_exists(NAME)
    with pytest.raises(TableAlreadyExistsError):
        catalog.create_table(NAME, table.schema())
    with pytest.raises(NoSuchNamespaceError):
        catalog.create_table("none.trades", table.schema())
    with pytest.raises(NamespaceNotEmptyError):
        catalog.drop_namespace("market")
    catalog.drop_table(NAME)
    assert not catalog.table_exists(NAME)
    with pytest.raises(NoSuchTableError):
        catalog.load_table(NAME)


def test_an_odd_name_survives_the_path(catalog: Catalog) -> None:
    catalog.create_table(("market", "a b/ü%"), TRADES.schema).append(TRADES)

    assert catalog.load_table(("market", "a b/ü%")).scan().count() == 3


def test_a_commit_from_an_older_snapshot_is_refused(
    catalog: Catalog, table: Table, server: RestCatalogServer
) -> None:
    slow = catalog.load_table(NAME)
    table.append(TRADES)

    with pytest.raises(CommitFailedException, match="branch main"):
        slow.append(TRADES)
    assert stored_rows(server) == 3
    assert (server.commits, server.conflicts) == (1, 1)


def test_a_requirement_of_the_transactions_own_is_checked(
    catalog: Catalog, table: Table, server: RestCatalogServer
) -> None:
    table.append(TRADES)
    asked = AssertRefSnapshotId(ref="main", snapshot_id=7)

    with pytest.raises(CommitFailedException, match="7"):
        catalog.commit_table(table, (asked,), (SetPropertiesUpdate(updates={"a": "b"}),))
    assert "a" not in server.catalog.load_table(NAME).properties


def test_of_many_racing_writers_each_row_lands_once(
    server: RestCatalogServer, catalog: Catalog, table: Table
) -> None:
    def write(_: int) -> bool:
        with load_catalog("writer", **server.client_properties()) as client:
            slow = client.load_table(NAME)
            try:
                slow.append(TRADES)
            except CommitFailedException:
                return False
            return True

    with ThreadPoolExecutor(4) as pool:
        landed = sum(pool.map(write, range(12)))

    assert table.metadata.table_uuid == catalog.load_table(NAME).metadata.table_uuid
    assert (landed, 12 - landed) == (server.commits, server.conflicts)
    assert stored_rows(server) == 3 * landed


@pytest.mark.parametrize(("when", "rows"), [("before", 0), ("after", 3)])
@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (500, CommitStateUnknownException),
        (502, CommitStateUnknownException),
        (503, ServiceUnavailableError),
        (504, CommitStateUnknownException),
        ("dropped", requests.ConnectionError),
    ],
)
def test_what_a_client_sees_of_a_spoilt_commit(
    server: RestCatalogServer,
    table: Table,
    status: Outcome,
    raised: type[Exception],
    when: When,
    rows: int,
) -> None:
    server.fail_commits(status=status, when=when)

    with pytest.raises(Exception) as error:  # noqa: PT011 - the exact class is what is tested
        table.append(TRADES)

    assert error.type is raised
    assert stored_rows(server) == rows
    assert (server.commits, server.faults_met) == (rows // 3, 1)


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (500, ServerError),
        (502, ServerError),
        (503, ServiceUnavailableError),
        (504, ServerError),
        ("dropped", requests.ConnectionError),
    ],
)
def test_what_a_client_sees_of_a_spoilt_load(
    server: RestCatalogServer,
    catalog: Catalog,
    table: Table,
    status: Outcome,
    raised: type[Exception],
) -> None:
    server.fail_loads(status=status)

    with pytest.raises(Exception) as error:  # noqa: PT011 - the exact class is what is tested
        catalog.load_table(NAME)

    assert error.type is raised
    assert catalog.load_table(NAME).metadata == table.metadata


def test_faults_come_one_by_one_and_end(server: RestCatalogServer, table: Table) -> None:
    server.fail_commits(2, status=503)
    for _ in range(2):
        with pytest.raises(ServiceUnavailableError):
            table.append(TRADES)
    table.append(TRADES)

    server.fail_commits(100)
    server.heal()
    table.append(TRADES)

    assert (server.commits, server.faults_met) == (2, 2)


def test_a_commit_held_before_it_is_done_loses_to_a_faster_one(
    server: RestCatalogServer, catalog: Catalog, table: Table
) -> None:
    hold = server.hold_commit("before")
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(table.append, TRADES)
        hold.wait_until_reached()
        catalog.load_table(NAME).append(TRADES)
        hold.release()

        with pytest.raises(CommitFailedException):
            slow.result()
    assert stored_rows(server) == 3


def test_a_commit_held_after_it_is_done_is_seen_by_others_first(
    server: RestCatalogServer, catalog: Catalog, table: Table
) -> None:
    hold = server.hold_commit("after", status=504)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(table.append, TRADES)
        hold.wait_until_reached()
        assert catalog.load_table(NAME).scan().count() == 3
        assert not slow.done()
        hold.release()

        with pytest.raises(CommitStateUnknownException):
            slow.result()


def test_an_end_of_the_block_lets_a_held_request_go(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        with RestCatalogServer(tmp_path) as server:
            client = load_catalog("client", **server.client_properties())
            client.create_namespace("market")
            table = client.create_table(NAME, TRADES.schema)
            hold = server.hold_commit()
            slow = pool.submit(table.append, TRADES)
            hold.wait_until_reached()
        slow.exception(timeout=30)  # whether the answer still went out is chance
        client.close()


def test_a_bug_of_the_server_fails_the_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(_: object) -> list[tuple[str, ...]]:
        raise ZeroDivisionError

    def use() -> None:
        with RestCatalogServer(tmp_path) as server:
            monkeypatch.setattr(server.catalog, "list_namespaces", break_down)
            with (
                load_catalog("client", **server.client_properties()) as client,
                pytest.raises(ServerError, match="ZeroDivisionError"),
            ):
                client.list_namespaces()

    with pytest.raises(ExceptionGroup, match="itself failed"):
        use()


def test_a_409_for_a_commit_that_landed_makes_pyiceberg_delete_its_files(
    server: RestCatalogServer, table: Table
) -> None:
    """Why a real catalog must never say it, and a proxy never repeat a commit."""
    server.fail_commits(status=409, when="after")

    with pytest.raises(CommitFailedException):
        table.append(TRADES)
    with pytest.raises(FileNotFoundError):
        stored_rows(server)


def test_an_unknown_warehouse_is_refused(server: RestCatalogServer) -> None:
    properties = server.client_properties() | {"warehouse": "gs://another"}

    with pytest.raises(Exception, match="no warehouse"):
        load_catalog("client", **properties)


def test_a_commit_that_makes_no_sense_is_refused(
    server: RestCatalogServer, catalog: Catalog, table: Table
) -> None:
    with pytest.raises(BadRequestError, match="99"):
        catalog.commit_table(table, (), (SetCurrentSchemaUpdate(schema_id=99),))
    assert server.commits == 0


def test_what_it_does_not_know_it_says(server: RestCatalogServer, catalog: Catalog) -> None:
    with pytest.raises(NotImplementedError):
        catalog.create_table_transaction(NAME, TRADES.schema)
    assert requests.get(f"{server.url}/v1/elsewhere", timeout=10).status_code == 501
