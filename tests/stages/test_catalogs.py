"""The same stages on every catalog and warehouse we promise: rows once, whatever stands behind."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from quotewatch.stages.maintain import MaintainStage
from quotewatch.tables.catalog import catalog_properties
from tests.servers.gcs_emulator import gcs_emulator
from tests.servers.postgres import postgres
from tests.servers.rest_catalog import RestCatalogServer
from tests.tables.frames import Desk, assert_each_once, events, message, trades

FRAMES = 3
IDS = [trade for first in range(100, 100 + 10 * FRAMES, 10) for trade in (first, first + 1)]


@pytest.fixture(params=["sqlite", "postgres", "rest", "bucket"])
def properties(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mapping[str, str]]:
    with ExitStack() as opened:
        match request.param:
            case "sqlite":
                yield catalog_properties("", "", tmp_path)
            case "postgres":
                uri = opened.enter_context(postgres(tmp_path))
                yield catalog_properties(uri, "", tmp_path)
            case "rest":
                server = opened.enter_context(RestCatalogServer(tmp_path))
                yield server.client_properties()
            case "bucket":
                emulator = opened.enter_context(gcs_emulator(tmp_path))
                bucket = emulator.create_bucket("quotes")
                sqlite = catalog_properties("", f"{bucket}/warehouse", tmp_path)
                yield {**sqlite, **emulator.io_properties()}


def test_what_is_written_is_there_once_and_stays_so(
    properties: Mapping[str, str], tmp_path: Path
) -> None:
    with closing(Desk(tmp_path / "desk", properties=dict(properties)).open()) as desk:
        for _ in range(2):  # everything is published twice
            for seq in range(FRAMES):
                desk.publish(message("raw_trades", seq, trades([100 + 10 * seq, 101 + 10 * seq])))
                desk.publish(message("events", seq, events(1)))
                assert not desk.write().failed
        assert_rows(desk)
        report = MaintainStage(
            desk.committer, desk.recorder, desk.clock, orphan_hours=24
        ).run_once()
        assert not report.failed, report.plain()
        assert_rows(desk)


def assert_rows(desk: Desk) -> None:
    stored = [row["trade_id"] for row in desk.rows("raw_trades")]
    assert sorted(stored) == IDS
    epoch = desk.rows("events")[0]["epoch"]
    assert_each_once(desk, "events", [(epoch, seq, 0) for seq in range(FRAMES)])
    assert str(desk.ledger("raw_trades").stream("raw_trades").epochs[epoch].done) == "0-2"
