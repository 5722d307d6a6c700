"""The catalog of the cloud: REST, with the token of the instance's own service account."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from quotewatch.settings import fixed_settings
from quotewatch.tables.catalog import Tables, catalog_properties
from tests.servers.metadata import TOKEN, MetadataServer, metadata_server
from tests.servers.rest_catalog import RestCatalogServer
from tests.tables.frames import EPOCH, Desk, assert_each_once, events, message


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[MetadataServer]:
    with metadata_server() as server:
        monkeypatch.setenv("GCE_METADATA_HOST", server.address)
        monkeypatch.setenv("GCE_METADATA_IP", server.address)
        monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
        monkeypatch.setenv("CLOUDSDK_CONFIG", "/nowhere")
        monkeypatch.setenv("K_SERVICE", "write")
        yield server


def _catalog(server: RestCatalogServer) -> str:
    """Spell it as Terraform writes it into the secret."""
    return json.dumps(
        {
            "type": "rest",
            "uri": server.url,
            "warehouse": server.warehouse,
            "auth": {"type": "google"},
            "header.x-goog-user-project": "p",
            "header.X-Iceberg-Access-Delegation": "",
        }
    )


def test_every_request_carries_the_token_of_the_service_account(
    tmp_path: Path, metadata: MetadataServer
) -> None:
    with RestCatalogServer(tmp_path) as server:
        settings = fixed_settings({"catalog": _catalog(server)})
        given = catalog_properties(settings.catalog, settings.warehouse, settings.data_dir)
        desk = Desk(tmp_path, properties=given).open()
        desk.publish(message("events", 0, events(2)))
        assert not desk.write().failed
        assert_each_once(desk, "events", [(EPOCH, 0, 0), (EPOCH, 0, 1)])
        desk.close()

        carried = {headers.get("Authorization") for headers in server.headers}
        assert carried == {f"Bearer {TOKEN}"}
        assert {headers.get("x-goog-user-project") for headers in server.headers} == {"p"}
        # Empty: nothing is vended, files are read and written with the account's own rights.
        assert {headers.get("X-Iceberg-Access-Delegation") for headers in server.headers} == {""}
    assert any(name.endswith("/token") for name in metadata.asked)


def test_the_log_shows_where_the_catalog_is_and_not_how_one_gets_in() -> None:
    catalog = {"type": "rest", "uri": "https://h/c", "auth": {"type": "basic", "basic": {"p": "x"}}}
    shown = fixed_settings({"catalog": json.dumps(catalog)}).shown()["catalog"]
    assert json.loads(shown) == {"type": "rest", "uri": "https://h/c"}


@pytest.mark.parametrize(
    "catalog", ['{"type": "rest", "auth": "google"}', '{"auth": {}}', '{"uri": {"type": "x"}}']
)
def test_properties_that_pyiceberg_would_stumble_over_are_refused(catalog: str) -> None:
    with pytest.raises(Exception, match="expected one JSON object of pyiceberg's"):
        fixed_settings({"catalog": catalog})


def test_without_credentials_the_error_says_where_to_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with RestCatalogServer(tmp_path) as server:
        given = catalog_properties(_catalog(server), "", tmp_path)
        with closing(Tables(given)) as tables, pytest.raises(Exception, match="QUOTEWATCH_CATALOG"):
            tables.load("events")
