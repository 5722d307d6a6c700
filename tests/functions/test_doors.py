"""The doors under the real functions-framework: a call in, the report as JSON out."""

import importlib
import json
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from quotewatch.bus.port import Bus
from quotewatch.bus.pubsub import PubSubBus
from quotewatch.bus.sqlite import SqliteBus
from quotewatch.bus.topology import topology
from quotewatch.clock import SystemClock
from quotewatch.tables.catalog import Tables, catalog_properties
from tests.emulator import free_port, running_emulator
from tests.fakes.rest import TradesOverRest, trades_over_rest
from tests.functions.serving import DOORS, serving
from tests.tables.desk import open_desk, store
from tests.tables.desk import frame as desk_frame
from tests.tables.frames import EPOCH, message, row_of, rows_in, trades

DEPLOYED = sorted(path.stem for path in DOORS.glob("[a-z]*.py"))


def publish(bus: Bus, seq: int, *ids: int) -> None:
    bus.publish("raw_trades", [message("raw_trades", seq, trades(ids))])


@contextmanager
def tables_in(data: Path) -> Iterator[Tables]:
    with closing(Tables(catalog_properties("", "", data))) as tables:
        yield tables


def stored(data: Path) -> list[int]:
    """Return the ids of all trades in the table."""
    with tables_in(data) as tables:
        table = tables.find("raw_trades")
        return sorted(row["trade_id"] for row in rows_in(table)) if table is not None else []


def hide_ledger(data: Path, name: str) -> None:
    """Append to a table as a stranger would."""
    with tables_in(data) as tables:
        table = tables.load(name)
        table.append(table.scan().to_arrow())


def test_each_stage_has_a_door_of_its_name() -> None:
    assert DEPLOYED == ["maintain", "reconcile", "write"]


@pytest.mark.parametrize("name", DEPLOYED)
def test_a_door_can_be_imported_and_connects_to_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUOTEWATCH_BUS", "no such bus")  # read at the first call, not before
    door = importlib.reload(importlib.import_module(f"functions.{name}"))
    function = getattr(door, name)
    with Flask(name).test_request_context(method="POST"):
        answer = function(None)
    assert (answer.status_code, answer.mimetype) == (500, "application/json")
    assert "QUOTEWATCH_BUS" in json.loads(answer.data)["error"]
    assert list(tmp_path.iterdir()) == []


def test_write_makes_its_names_stores_what_waits_and_goes_on_with_what_is_open(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    with (
        serving("write", tmp_path, QUOTEWATCH_DATA_DIR=str(data)) as write,
        closing(SqliteBus(data / "bus.db")) as bus,
    ):
        first = write.call()
        assert first.status == 200
        assert first.body["streams"]["raw_trades"]["records"] == 0
        publish(bus, 0, 1, 2, 3)
        second = write.call()
        assert second.status == 200
        assert second.body["streams"]["raw_trades"]["inserted"] == 3
        assert second.body["streams"]["raw_trades"]["acked"] == 1
        assert bus.backlog("raw_trades.write").messages == 0
        assert stored(data) == [1, 2, 3]
        assert len(write.logged("settings")) == 1  # opened once

        hide_ledger(data, "raw_trades")
        publish(bus, 1, 4)
        bus.publish("features", [message("features", 0, [row_of("features")])])
        failed = write.call()
        assert failed.status == 500
        streams = failed.body["streams"]
        assert "repair-ledger raw_trades" in streams["raw_trades"]["error"]
        assert (streams["features"]["inserted"], streams["features"]["error"]) == (1, None)
        assert bus.backlog("raw_trades.write").messages == 1


def test_settings_that_are_refused_are_named_in_the_answer(tmp_path: Path) -> None:
    with serving("write", tmp_path, QUOTEWATCH_BUS="pigeon", QUOTEWATCH_SETTLE_S="soon") as write:
        answer = write.call()
    assert answer.status == 500
    assert "QUOTEWATCH_BUS='pigeon'" in answer.body["error"]
    assert "QUOTEWATCH_SETTLE_S='soon'" in answer.body["error"]


def test_a_catalog_that_is_gone_is_an_answer_of_500(tmp_path: Path) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    variables = {"QUOTEWATCH_DATA_DIR": str(tmp_path / "data"), "QUOTEWATCH_CATALOG": gone}
    with serving("write", tmp_path, **variables) as write:
        answer = write.call()
    assert answer.status == 500
    assert "did not answer" in answer.body["streams"]["events"]["error"]


def test_reconcile_heals_and_fails_in_words(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with tables_in(data) as tables:
        tables.load("events")
    with open_desk(data) as committer:
        first = desk_frame("raw_trades", 0, rows=1, first_id=5)
        store(committer, [first, desk_frame("raw_trades", 1, rows=1, first_id=9)])
    (symbol,) = {"BTC-USD"}
    with trades_over_rest(TradesOverRest(range(1, 20), product=symbol)) as exchange:
        variables = {
            "QUOTEWATCH_DATA_DIR": str(data),
            "QUOTEWATCH_REST_URL": exchange.url,
            "QUOTEWATCH_SETTLE_S": "0",
        }
        with serving("reconcile", tmp_path, **variables) as reconcile:
            answer = reconcile.call()
            assert answer.status == 200
            assert (answer.body["healed"], answer.body["fetched"]) == (1, 3)
            assert answer.body["completeness"]["raw_trades"] == 1.0
            again = reconcile.call()
            assert (again.status, again.body["opened"], again.body["requests"]) == (200, 0, 0)
            assert len(reconcile.logged("settings")) == 1
            hide_ledger(data, "raw_trades")
            failed = reconcile.call()
            assert failed.status == 500
            assert "repair-ledger raw_trades" in failed.body["error"]
    assert len(exchange.paths) == 1


def test_maintain_answers_for_every_table_there_is(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with open_desk(data) as committer:
        store(committer, [desk_frame("raw_trades")])
    with serving("maintain", tmp_path, QUOTEWATCH_DATA_DIR=str(data)) as maintain:
        answer = maintain.call()
    assert answer.status == 200
    assert answer.body["tables"]["raw_trades"]["error"] is None
    assert len(stored(data)) == 3


# On the official emulator


@contextmanager
def emulated(address: str, tmp_path: Path) -> Iterator[tuple[dict[str, str], PubSubBus]]:
    """Yield what a door has to be told, and the same project's bus."""
    project = f"doors-{uuid.uuid4().hex[:8]}"
    variables = {
        "QUOTEWATCH_BUS": "pubsub",
        "QUOTEWATCH_PROJECT": project,
        "QUOTEWATCH_DATA_DIR": str(tmp_path / "data"),
        "PUBSUB_EMULATOR_HOST": address,
    }
    with closing(PubSubBus(project, emulator_host=address)) as bus:
        yield variables, bus


def test_write_drains_the_emulator(pubsub_emulator: str, tmp_path: Path) -> None:
    wanted = topology()
    with emulated(pubsub_emulator, tmp_path) as (variables, bus):
        bus.create(wanted.topics, wanted.subscriptions)
        for seq in range(3):
            publish(bus, seq, 2 * seq, 2 * seq + 1)
        with serving("write", tmp_path, **variables) as write:
            answer = write.call()
        assert answer.status == 200
        assert answer.body["streams"]["raw_trades"]["inserted"] == 6
        assert answer.body["streams"]["raw_trades"]["acked"] == 3
        assert bus.pull("raw_trades.write") == []
    assert stored(tmp_path / "data") == [0, 1, 2, 3, 4, 5]


def test_an_emulator_that_was_killed_costs_what_it_held_and_the_rest_goes_on(
    tmp_path: Path,
) -> None:
    address = f"127.0.0.1:{free_port()}"
    log = tmp_path / "emulator.log"
    with (
        emulated(address, tmp_path) as (variables, bus),
        serving("write", tmp_path, **variables) as write,
    ):
        with running_emulator(log, address):
            assert write.call().status == 200  # nobody else makes the names
            publish(bus, 0, 1, 2)
            assert write.call().body["streams"]["raw_trades"]["inserted"] == 2
            publish(bus, 1, 3, 4)  # goes down with it
        away = write.call()
        assert away.status == 500
        assert all(each["error"] for each in away.body["streams"].values())

        with running_emulator(log, address):
            assert write.call().status == 200
            publish(bus, 2, 5, 6)
            assert write.call().body["streams"]["raw_trades"]["inserted"] == 2
    assert stored(tmp_path / "data") == [1, 2, 5, 6]
    missing = _reconciled(tmp_path, variables)
    assert missing == {"raw_trades": [("frames", EPOCH, 1, 1), ("trades", "BTC-USD", 3, 4)]}


def _reconciled(tmp_path: Path, variables: dict[str, str]) -> dict[str, list[Any]]:
    with serving("reconcile", tmp_path, **variables) as reconcile:
        assert reconcile.call().status == 200
    with tables_in(tmp_path / "data") as tables:
        rows = rows_in(tables.load("gaps"))
    found: dict[str, list[Any]] = {}
    for row in sorted(rows, key=lambda row: str(row["kind"])):
        whose = row["epoch"] or row["symbol"]
        gap = (row["kind"], whose, row["from_id"], row["to_id"])
        found.setdefault(row["stream"], []).append(gap)
    return found
