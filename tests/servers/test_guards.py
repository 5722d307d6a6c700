"""A guard lets through what was granted, refuses the rest as the cloud does, and notes both."""

from contextlib import closing
from pathlib import Path

import pytest

from quotewatch.bus.port import Message, Subscription
from quotewatch.bus.pubsub import PubSubBus
from quotewatch.errors import BusError, ObjectError
from quotewatch.objects.gcs import GcsObjects
from quotewatch.tables.catalog import Tables
from tests.fakes.gcs import FakeGcs
from tests.servers.guards import (
    Account,
    Asked,
    Need,
    catalog_need,
    guarded_http,
    guarded_pubsub,
    storage_need,
)
from tests.servers.rest_catalog import RestCatalogServer
from tests.terraform.grants import Grant
from tests.terraform.rights import OBJECTS, rights_of

PUBLISH = Need("pubsub.topics.publish", "topic events")
CONSUME = Need("pubsub.subscriptions.consume", "subscription events.write")


def _account(*grants: Grant) -> Account:
    return Account("somebody", rights_of(grants))


@pytest.fixture
def emulator(pubsub_emulator: str) -> str:
    with closing(PubSubBus("guarded", emulator_host=pubsub_emulator)) as bus:
        bus.create(["events"], [Subscription("events.write", "events")])
    return pubsub_emulator


def test_who_may_publish_may_not_read(emulator: str) -> None:
    account = _account(Grant("topic events", "roles/pubsub.publisher"))
    with (
        guarded_pubsub(account, emulator) as address,
        closing(PubSubBus("guarded", emulator_host=address)) as bus,
    ):
        assert bus.publish("events", [Message(b"1")])
        with pytest.raises(BusError, match="grant this service account"):
            bus.pull("events.write")
    assert account.done == {PUBLISH}
    assert account.refused == [CONSUME]


def test_who_may_read_may_ack_and_give_back(emulator: str) -> None:
    with closing(PubSubBus("guarded", emulator_host=emulator)) as bus:
        bus.publish("events", [Message(b"2")])
    account = _account(Grant("subscription events.write", "roles/pubsub.subscriber"))
    with (
        guarded_pubsub(account, emulator) as address,
        closing(PubSubBus("guarded", emulator_host=address)) as bus,
    ):
        (first,) = bus.pull("events.write", max_messages=1, wait_seconds=5)
        bus.release("events.write", [first.ack_id])
        (again,) = bus.pull("events.write", max_messages=1, wait_seconds=5)
        bus.ack("events.write", [again.ack_id])
    assert (account.done, account.refused) == ({CONSUME}, [])


def test_a_folder_of_a_bucket_is_not_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    account = _account(Grant("folder models/", "roles/storage.objectViewer"))
    with FakeGcs(OBJECTS) as fake, guarded_http(account, fake.url, storage_need) as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", fake.url)
        with closing(GcsObjects(OBJECTS)) as owner:
            owner.create("models/500ms/current", b"{}")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        with closing(GcsObjects(OBJECTS)) as objects:
            stored = objects.read("models/500ms/current")
            assert stored is not None
            assert objects.read("models/500ms/other") is None  # answered, not denied
            assert list(objects.names("models/500ms/")) == ["models/500ms/current"]
            for refused in (
                lambda: objects.read("quarantine/events/1"),
                lambda: list(objects.names("quarantine/")),
                lambda: list(objects.names("")),
                lambda: objects.create("models/500ms/next", b"{}"),
                lambda: objects.replace("models/500ms/current", b"[]", generation=1),
                lambda: objects.delete("models/500ms/current"),
            ):
                with pytest.raises(ObjectError, match="denied"):
                    refused()
    assert {need.permission for need in account.done} == {
        "storage.objects.get", "storage.objects.list",
    }  # fmt: skip


def test_who_may_read_tables_may_not_make_them(tmp_path: Path) -> None:
    account = _account(Grant("catalog c", "roles/biglake.viewer"))
    with (
        RestCatalogServer(tmp_path) as server,
        guarded_http(account, server.url, catalog_need) as url,
    ):
        with closing(Tables(server.client_properties())) as owner:
            owner.load("events")
        with closing(Tables({**server.client_properties(), "uri": url})) as tables:
            assert tables.find("events") is not None
            assert tables.find("labels") is None
            with pytest.raises(Exception, match="denied"):
                tables.load("labels")
    assert {need.permission for need in account.refused} == {"biglake.namespaces.create"}


UPLOAD = "/upload/storage/v1/b/b/o"


@pytest.mark.parametrize(
    ("method", "path", "query", "body", "needed"),
    [
        ("GET", "/storage/v1/b/b/o/a%2Fb", {}, b"", ("objects.get", "object b/a/b")),
        ("GET", "/b/a/b", {}, b"", ("objects.get", "object b/a/b")),
        ("GET", "/storage/v1/b/b/o", {"prefix": "a/"}, b"", ("objects.list", "object b/a/")),
        ("POST", UPLOAD, {"name": "a"}, b"", ("objects.create", "object b/a")),
        ("POST", UPLOAD, {}, b'{"name": "a"}', ("objects.create", "object b/a")),
        ("DELETE", "/storage/v1/b/b/o/a", {}, b"", ("objects.delete", "object b/a")),
        ("GET", "/storage/v1/b/b", {}, b"", ("buckets.get", "bucket b")),
    ],
)
def test_what_a_call_to_storage_needs(
    method: str, path: str, query: dict[str, str], body: bytes, needed: tuple[str, str]
) -> None:
    permission, thing = needed
    asked = Asked(method, path, query, body)
    assert storage_need(asked) == Need(f"storage.{permission}", thing)


def test_the_rest_of_an_upload_needs_nothing_more() -> None:
    assert storage_need(Asked("PUT", UPLOAD, {"upload_id": "1"}, b"")) is None


def test_a_call_that_nobody_knows_is_refused() -> None:
    account = _account(Grant("bucket b", "roles/storage.objectUser"))
    needed = storage_need(Asked("POST", "/batch", {}, b""))
    assert needed is not None
    assert not account.allows(needed)
