"""The doors under the real functions-framework: a call in, the report as JSON out."""

import importlib
import json
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request

from quotewatch.bus.port import Bus
from quotewatch.bus.pubsub import PubSubBus
from quotewatch.bus.sqlite import SqliteBus
from quotewatch.bus.topology import topology
from quotewatch.resources import Resources
from quotewatch.settings import load_settings
from quotewatch.stages.reconcile import build
from quotewatch.tables.catalog import Tables, catalog_properties
from tests.emulator import free_port, running_emulator
from tests.fakes.rest import TradesOverRest, trades_over_rest
from tests.functions.serving import DOORS, serving, wait_for
from tests.tables.desk import frame as desk_frame
from tests.tables.desk import open_desk, store
from tests.tables.frames import EPOCH, message, row_of, rows_in, trades

DEPLOYED = sorted(path.stem for path in DOORS.glob("[a-z]*.py"))
PUSHED = ("predict",)  # they take events only: test_push_doors.py
CALLED = [name for name in DEPLOYED if name not in PUSHED]


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
    assert DEPLOYED == ["label", "maintain", "predict", "reconcile", "train", "write"]


def called(name: str) -> tuple[int, dict[str, Any]]:
    """Import a door as if for the first time and call it once, in this process."""
    door = importlib.reload(importlib.import_module(f"functions.{name}"))
    with Flask(name).test_request_context(method="POST"):
        answer = getattr(door, name)(request)
    assert answer.mimetype == "application/json"
    return answer.status_code, json.loads(answer.data)


@pytest.mark.parametrize("name", CALLED)
def test_settings_that_are_refused_are_named_in_the_answer(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUOTEWATCH_BUS", "pigeon")
    monkeypatch.setenv("QUOTEWATCH_SETTLE_S", "soon")
    status, body = called(name)
    assert status == 500
    assert "QUOTEWATCH_BUS='pigeon'" in body["error"]
    assert "QUOTEWATCH_SETTLE_S='soon'" in body["error"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", CALLED)
def test_a_catalog_that_is_gone_is_an_answer_of_500(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUOTEWATCH_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("QUOTEWATCH_CATALOG", f"http://127.0.0.1:{free_port()}")
    status, body = called(name)
    assert status == 500
    assert "did not answer" in json.dumps(body)


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
        # Who deploys reads in the log what was answered.
        wait_for(lambda: len(write.logged("called")) == 3)
        said = write.logged("called")
        assert [each["failed"] for each in said] == [False, False, True]
        assert [each["report"] for each in said] == [first.body, second.body, failed.body]
        assert {each["room"] for each in said} == {"write"}


def test_reconcile_heals_and_fails_in_words(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with tables_in(data) as tables:
        tables.load("events")
    with open_desk(data) as committer:
        first = desk_frame("raw_trades", 0, rows=1, first_id=5)
        store(committer, [first, desk_frame("raw_trades", 1, rows=1, first_id=9)])
    with trades_over_rest(TradesOverRest(range(1, 20))) as exchange:
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
        "QUOTEWATCH_WRITE_BUDGET_S": "1",  # what an empty queue is waited for
    }
    with closing(PubSubBus(project, emulator_host=address)) as bus:
        yield variables, bus


def test_an_emulator_that_was_killed_costs_what_it_held_and_the_rest_goes_on(
    tmp_path: Path,
) -> None:
    address = f"127.0.0.1:{free_port()}"
    log = tmp_path / "emulator.log"
    wanted = topology()
    with (
        emulated(address, tmp_path) as (variables, bus),
        serving("write", tmp_path, **variables) as write,
    ):
        with running_emulator(log, address):
            bus.create(wanted.topics, wanted.subscriptions)
            publish(bus, 0, 1, 2)
            answer = write.call()
            assert answer.status == 200
            assert answer.body["streams"]["raw_trades"]["inserted"] == 2
            assert answer.body["streams"]["raw_trades"]["acked"] == 1
            assert bus.pull("raw_trades.write") == []
            publish(bus, 1, 3, 4)  # goes down with it
        away = write.call()
        assert away.status == 500
        assert all(each["error"] for each in away.body["streams"].values())

        with running_emulator(log, address):
            # It takes a moment until the line is there again; nobody else makes the names.
            assert write.call_until(200).status == 200
            publish(bus, 2, 5, 6)
            assert write.call().body["streams"]["raw_trades"]["inserted"] == 2
    assert stored(tmp_path / "data") == [1, 2, 5, 6]
    # In the tables it can be seen: a frame, and the trades that were in it.
    assert lost(tmp_path / "data") == [
        ("frames", EPOCH, 1, 1, 1),
        ("trades", "BTC-USD", 3, 4, 2),
    ]


def lost(data: Path) -> list[tuple[Any, ...]]:
    """Reconcile, and return what is missing."""
    with closing(Resources(load_settings(data_dir=data))) as opened:
        assert not build(opened).run_once().failed
        rows = rows_in(opened.tables.load("gaps"))
    return sorted(
        (row["kind"], row["epoch"] or row["symbol"], row["from_id"], row["to_id"], row["missing"])
        for row in rows
    )
