"""The doors that Pub/Sub pushes to, under the real functions-framework."""

import base64
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import urllib3
from cloudevents.http import CloudEvent
from google.pubsub_v1 import types as wire
from werkzeug.exceptions import InternalServerError

from quotewatch.bus.port import Bus
from quotewatch.bus.pubsub_calls import make_clients
from quotewatch.bus.sqlite import SqliteBus
from quotewatch.bus.topology import topology
from quotewatch.frames import Frame, FrameId, decode
from quotewatch.message import Message
from quotewatch.objects.local import LocalObjects
from quotewatch.resources import Resources
from quotewatch.settings import load_settings
from quotewatch.stages.write import build as build_write
from tests.functions.serving import PATIENCE_SECONDS, Served, serving, wait_for
from tests.functions.test_doors import hide_ledger
from tests.learning.test_serving import serve
from tests.stages.test_predict import FIRST, SECOND, asked, expected, features, without_time
from tests.tables.desk import open_desk
from tests.tables.frames import EPOCH, relabelled
from tests.tables.labelled import steady, store_some

ROOT = Path(__file__).parents[2]
_WORKER = re.compile(r"Booting worker with pid: ([0-9]+)")


# How a message comes


def envelope(message: Message) -> dict[str, Any]:
    """Return what Pub/Sub pushes."""
    carried = {
        "data": base64.b64encode(message.data).decode(),
        "attributes": dict(message.attributes),
        "messageId": "1",
        "publishTime": "2026-08-09T12:00:00Z",
    }
    return {"subscription": "projects/p/subscriptions/features.predict", "message": carried}


_EVENT = {
    "specversion": "1.0",
    "id": "1",
    "type": "google.cloud.pubsub.topic.v1.messagePublished",
    "source": "//pubsub.googleapis.com/projects/p/topics/features",
}


def raw(message: Message) -> tuple[bytes, dict[str, str]]:
    return json.dumps(envelope(message)).encode(), {"Content-Type": "application/json"}


def binary(message: Message) -> tuple[bytes, dict[str, str]]:
    body, headers = raw(message)
    return body, headers | {f"ce-{name}": value for name, value in _EVENT.items()}


def structured(message: Message) -> tuple[bytes, dict[str, str]]:
    event = {**_EVENT, "datacontenttype": "application/json", "data": envelope(message)}
    return json.dumps(event).encode(), {"Content-Type": "application/cloudevents+json"}


Way = Callable[[Message], tuple[bytes, dict[str, str]]]
WAYS: tuple[Way, ...] = (raw, binary, structured)


def push(
    door: Served, message: Message, way: Way = raw, path: str = ""
) -> urllib3.BaseHTTPResponse:
    body, headers = way(message)
    return urllib3.request(
        "POST", door.url + path, body=body, headers=headers, timeout=PATIENCE_SECONDS, retries=False
    )


# predict


@contextmanager
def machine(tmp_path: Path, **variables: str) -> Iterator[tuple[Served, SqliteBus]]:
    """Yield the door on one machine, and the bus it publishes to."""
    data = tmp_path / "data"
    made = topology()
    with closing(SqliteBus(data / "bus.db")) as bus:
        bus.create(made.topics, made.subscriptions)
        with serving("predict", tmp_path, QUOTEWATCH_DATA_DIR=str(data), **variables) as door:
            yield door, bus


def objects_of(tmp_path: Path) -> LocalObjects:
    return LocalObjects(tmp_path / "data" / "objects")


def published(bus: Bus) -> list[Frame]:
    return [decode(each.message) for each in bus.peek("predictions.write", max_messages=1_000)]


def test_each_way_of_pushing_a_frame_is_answered_alike(tmp_path: Path) -> None:
    serve(objects_of(tmp_path), FIRST)
    rows = features(12)
    with machine(tmp_path) as (door, bus):
        for seq, way in enumerate(WAYS):
            assert push(door, asked(seq, rows), way).status == 200
        assert push(door, asked(3, rows), raw, "projects/p/topics/features").status == 200
        frames = published(bus)
        assert len(door.logged("settings")) == 1  # opened once
    assert [each.id for each in frames] == [FrameId("predictions", EPOCH, seq) for seq in range(4)]
    wanted = without_time(expected(rows, [FIRST], 0))
    assert all(without_time(each.rows.to_pylist()) == wanted for each in frames)


def test_a_frame_that_has_to_wait_is_answered_with_500_and_told_in_one_line(
    tmp_path: Path,
) -> None:
    with machine(tmp_path) as (door, bus):
        answer = push(door, relabelled(asked(0, features(2)), schema="99"))
        assert answer.status == 500
        assert b"schema 99 is newer" in answer.data
        wait_for(lambda: bool(door.logged("call_failed")))
        assert not [line for line in door.lines if "Traceback" in line]
        assert published(bus) == []


def test_what_is_no_frame_is_not_sent_again(tmp_path: Path) -> None:
    with machine(tmp_path) as (door, bus):
        assert push(door, Message(b"hello", {"who": "a stranger"})).status == 200
        wait_for(lambda: bool(door.logged("dropped")))
        assert published(bus) == []


def test_the_answer_to_a_probe_is_told_in_the_log(tmp_path: Path) -> None:
    with machine(tmp_path) as (door, _):
        assert push(door, asked(0, features(1))).status == 200
        assert push(door, relabelled(asked(1, []), producer="probe")).status == 200
        wait_for(lambda: bool(door.logged("probed")))
        told = [(each["room"], each["epoch"]) for each in door.logged("probed")]
        assert told == [("predict", EPOCH)]  # of the probe alone


def test_an_event_about_something_else_is_refused_in_words(tmp_path: Path) -> None:
    with machine(tmp_path) as (door, _):
        body = json.dumps({"bucket": "b", "name": "n"}).encode()
        _, headers = binary(Message(b""))
        answer = urllib3.request("POST", door.url, body=body, headers=headers, retries=False)
        assert answer.status == 500
        assert b"holds no Pub/Sub message" in answer.data


def test_a_store_that_is_away_at_first_is_answered_with_500_and_later_all_is_well(
    tmp_path: Path,
) -> None:
    with machine(tmp_path) as (door, bus):
        models = tmp_path / "data" / "objects" / "models"
        models.parent.mkdir(parents=True)
        models.symlink_to(models)  # leads nowhere, and not even there
        for _ in range(2):
            answer = push(door, asked(0, features(2)))
            assert answer.status == 500
            assert b"check the objects' directory" in answer.data
        models.unlink()
        serve(objects_of(tmp_path), FIRST)
        assert push(door, asked(0, features(2))).status == 200
        assert [each.rows.num_rows for each in published(bus)] == [2]


def test_settings_that_are_refused_are_named_to_whoever_pushes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUOTEWATCH_BUS", "pigeon")
    door = importlib.reload(importlib.import_module("functions.predict"))
    with pytest.raises(InternalServerError, match="QUOTEWATCH_BUS='pigeon'"):
        door.predict(CloudEvent(_EVENT, envelope(asked(0, []))))
    assert list(tmp_path.iterdir()) == []


def test_the_door_starts_without_the_tables_and_without_what_learns() -> None:
    program = "import sys, functions.predict; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    rooms = {name.partition(".")[0] for name in done.stdout.split()}
    assert not rooms & {"pyiceberg", "sklearn", "scipy", "pandas", "duckdb", "sqlalchemy"}


# Pushed by the official emulator


@contextmanager
def emulated(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[dict[str, str], Resources]]:
    """Yield what a door has to be told, and what another process of the same run stands on."""
    project = f"pushed-{uuid.uuid4().hex[:8]}"
    data = tmp_path / "data"
    variables = {
        "QUOTEWATCH_BUS": "pubsub",
        "QUOTEWATCH_PROJECT": project,
        "QUOTEWATCH_DATA_DIR": str(data),
        "PUBSUB_EMULATOR_HOST": address,
    }
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", address)
    settings = load_settings(bus="pubsub", project=project, data_dir=data, write_budget_s=1.0)
    made = topology()
    with closing(Resources(settings)) as resources:
        wanted = [each for each in made.subscriptions if each.name == "predictions.write"]
        resources.bus.create(made.topics, wanted)
        yield variables, resources


def push_features(address: str, project: str | None, url: str) -> None:
    """Let the emulator push `features` to a door, as Terraform does in the cloud."""
    clients = make_clients(address)
    try:
        clients.subscriber.create_subscription(
            request=wire.Subscription(
                name=f"projects/{project}/subscriptions/features.predict",
                topic=f"projects/{project}/topics/features",
                push_config=wire.PushConfig(push_endpoint=url),
                ack_deadline_seconds=10,
            )
        )
    finally:
        clients.close()


def test_two_hundred_frames_that_the_emulator_pushes_are_all_answered(
    pubsub_emulator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = 200
    serve(objects_of(tmp_path), FIRST)
    with (
        emulated(pubsub_emulator, tmp_path, monkeypatch) as (variables, resources),
        serving("predict", tmp_path, **variables) as door,
    ):
        push_features(pubsub_emulator, resources.settings.project, door.url)
        rows = features(20)
        resources.bus.publish("features", [asked(seq, rows) for seq in range(frames)])
        found: dict[int, Frame] = {}

        def all_there() -> bool:
            deliveries = resources.bus.pull("predictions.write", wait_seconds=1.0)
            found.update((each.id.seq, each) for each in (decode(d.message) for d in deliveries))
            resources.bus.ack("predictions.write", [each.ack_id for each in deliveries])
            return len(found) == frames

        wait_for(all_there)
    wanted = without_time(expected(rows, [FIRST], 0))
    assert all(without_time(each.rows.to_pylist()) == wanted for each in found.values())


def test_killed_while_it_answers_every_frame_ends_with_its_rows_once(
    pubsub_emulator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, rows_each, kills = 150, 2_000, 3
    serve(objects_of(tmp_path), FIRST)
    with (
        emulated(pubsub_emulator, tmp_path, monkeypatch) as (variables, resources),
        serving("predict", tmp_path, **variables) as door,
    ):
        push_features(pubsub_emulator, resources.settings.project, door.url)
        first = asked(0, features(rows_each))
        resources.bus.publish("features", [relabelled(first, seq=str(n)) for n in range(frames)])
        killed: list[int] = []

        def is_at_work() -> bool:
            # It says which model it took in the middle of its first frame.
            return len(door.logged("in_use")) > len(killed)

        def kill() -> None:
            killed.append(newest_worker(door))
            os.kill(killed[-1], signal.SIGKILL)

        for _ in range(kills):
            wait_for(is_at_work)
            kill()
        write = build_write(resources)
        stored = 0

        def all_stored() -> bool:
            nonlocal stored
            stored += write.run_once().streams["predictions"].inserted
            if 0 < stored < frames * rows_each and len(killed) < 2 * kills and is_at_work():
                kill()  # among many frames, as likely before an answer is published as after
            return stored >= frames * rows_each

        wait_for(all_stored)
        found = resources.tables.load("predictions").scan().to_arrow()
    assert len(set(killed)) == len(killed) >= kills
    assert found.num_rows == frames * rows_each
    places = found.select(["seq", "row"]).group_by(["seq", "row"]).aggregate([])
    assert places.num_rows == found.num_rows
    assert found.column("epoch").unique().to_pylist() == [EPOCH]


def newest_worker(door: Served) -> int:
    """Return the process that answers now."""
    return int([found[1] for line in list(door.lines) if (found := _WORKER.search(line))][-1])


def test_a_model_that_is_stored_while_frames_are_pushed_is_used_without_a_failed_request(
    tmp_path: Path,
) -> None:
    serve(objects_of(tmp_path), FIRST)
    with machine(tmp_path) as (door, bus):
        seqs = iter(range(1_000_000))

        def version() -> str:
            seq = next(seqs)
            assert push(door, asked(seq, features(2))).status == 200
            [waiting] = bus.pull("predictions.write", max_messages=1)
            bus.ack("predictions.write", [waiting.ack_id])
            return str(decode(waiting.message).rows.column("model_version")[0])

        assert version() == FIRST.version
        serve(objects_of(tmp_path), SECOND)
        wait_for(lambda: version() == SECOND.version)
        wait_for(lambda: len(door.logged("in_use")) == 2)


# label


def committed(table: str | None) -> Message:
    """Return what `write` says of a table, or what somebody else says of none."""
    said = {"rows": "10", "snapshot": "7"} | ({"table": table} if table else {})
    return Message(json.dumps(said).encode(), said)


def post(door: Served, body: bytes | None, headers: dict[str, str]) -> dict[str, Any]:
    answer = urllib3.request(
        "POST", door.url, body=body, headers=headers, timeout=PATIENCE_SECONDS, retries=False
    )
    assert answer.status == 200, answer.data
    found: dict[str, Any] = json.loads(answer.data)
    return found


UNREADABLE = (
    b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"message": "features"}', b'{"data": "raw_trades"}',
    b'{"message": {"attributes": {"table": 7}}}', b'{"message": {"data": "not base64!"}}',
    b'{"message": {"attributes": null}}',
)  # fmt: skip


def all_calls() -> Iterator[tuple[bytes | None, dict[str, str]]]:
    """Yield everything that means: look."""
    yield None, {}  # Scheduler
    for table in ("features", "events", None):
        yield from (way(committed(table)) for way in WAYS)
    for body in UNREADABLE:
        yield body, {"Content-Type": "application/json"}


def test_label_looks_however_it_is_called(tmp_path: Path) -> None:
    data = tmp_path / "data"
    calls = list(all_calls())
    frames = steady(len(calls) + 4).feature_frames([10] * (len(calls) + 4))
    with (
        open_desk(data) as committer,
        serving("label", tmp_path, QUOTEWATCH_DATA_DIR=str(data)) as door,
    ):
        store_some(committer, frames[:4])
        assert labelled(post(door, None, {})) == 10
        for number, (body, headers) in enumerate(calls, 4):
            store_some(committer, frames[number : number + 1])
            assert labelled(post(door, body, headers)) == 10, (body, headers)
        assert len(door.logged("settings")) == 1


def labelled(report: dict[str, Any]) -> int:
    count: int = report["horizons"]["500"]["labelled"]
    return count


@pytest.mark.parametrize("way", WAYS)
def test_label_does_not_look_when_it_hears_of_other_tables(way: Way, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with (
        open_desk(data) as committer,
        serving("label", tmp_path, QUOTEWATCH_DATA_DIR=str(data)) as door,
    ):
        store_some(committer, steady(4).feature_frames([10] * 4))
        for table in ("raw_trades", "predictions", "labels"):
            assert post(door, *way(committed(table)))["looked"] is False
        assert door.logged("settings") == []  # nothing was even opened
        assert labelled(post(door, *way(committed("features")))) == 10


def test_label_that_fails_is_answered_with_500_and_its_report(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with open_desk(data) as committer:
        store_some(committer, steady(4).feature_frames([10] * 4))
    hide_ledger(data, "features")
    with serving("label", tmp_path, QUOTEWATCH_DATA_DIR=str(data)) as door:
        answer = door.call()
    assert answer.status == 500
    assert "repair-ledger features" in answer.body["error"]


# train


def test_train_answers_for_every_horizon(tmp_path: Path) -> None:
    data = tmp_path / "data"
    variables = {"QUOTEWATCH_DATA_DIR": str(data), "QUOTEWATCH_HORIZON_MS": "500,5000"}
    with serving("train", tmp_path, **variables) as door:
        answer = door.call()
    assert answer.status == 200
    assert list(answer.body["horizons"]) == ["500", "5000"]
