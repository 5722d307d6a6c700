import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from structlog.testing import capture_logs

from quotewatch.errors import ObjectStoreUnavailableError
from quotewatch.learning.document import Version, encode
from quotewatch.learning.model import Model
from quotewatch.learning.scoring import ScoreWindow
from quotewatch.learning.serving import Served
from quotewatch.learning.store import ModelStore
from quotewatch.objects.local import LocalObjects
from quotewatch.objects.port import ObjectStore, StoredObject
from tests.bus.clocks import HandClock
from tests.learning.rows import taught

PATIENCE_SECONDS = 20.0
FIRST = taught(500)
SECOND = replace(FIRST, position=FIRST.position + 1, intercept=FIRST.intercept + 0.5)
SLOW = taught(5_000, seed=9)


class Shelf(LocalObjects):
    """Objects in a folder whose reads are counted, and can be made to fail or to take long."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked: list[str] = []
        self.away = ""  # part of the names that cannot be read
        self.before_read: Callable[[], object] = lambda: None

    def read(self, name: str) -> StoredObject | None:
        self.asked.append(name)
        self.before_read()
        if self.away and self.away in name:
            raise ObjectStoreUnavailableError(f"object {name!r}: the line is cut; try again")
        return super().read(name)


def serve(objects: ObjectStore, *models: Model) -> None:
    """Store models and let each be the current one of its horizon."""
    for model in models:
        store = ModelStore(objects, model.horizon_ms)
        store.create(Version(model, {}, ScoreWindow.empty()))
        store.advance(model.version)


def point_at(objects: ObjectStore, version: str, horizon_ms: int = 500) -> None:
    """Let `current` say a version that need not even be there."""
    name = f"models/{horizon_ms}ms/current"
    stored = objects.read(name)
    data = json.dumps({"version": version, "pinned": False, "format": 1}).encode()
    if stored is None:
        objects.create(name, data)
    else:
        objects.replace(name, data, generation=stored.generation)


def put_version(objects: ObjectStore, data: bytes, version: str = SECOND.version) -> None:
    """Store bytes in a version's place, and point there."""
    objects.create(f"models/500ms/versions/{version}", data)
    point_at(objects, version)


def of_newer_format() -> bytes:
    document = json.loads(encode(Version(SECOND, {}, ScoreWindow.empty())))
    return json.dumps({**document, "format": document["format"] + 1}).encode()


def of_another_horizon() -> bytes:
    return encode(Version(replace(SECOND, horizon_ms=700), {}, ScoreWindow.empty()))


def of_other_features() -> bytes:
    others = ("moon_phase", *SECOND.features[1:])
    return encode(Version(replace(SECOND, features=others), {}, ScoreWindow.empty()))


def corrupt() -> bytes:
    return encode(Version(SECOND, {}, ScoreWindow.empty())).replace(b"intercept", b"interrupt")


BAD = [corrupt, of_newer_format, of_another_horizon, of_other_features]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield lines


def events(lines: list[Any]) -> list[str]:
    return [line["event"] for line in lines]


def test_models_come_by_ascending_horizon(shelf: Shelf, clock: HandClock) -> None:
    serve(shelf, SLOW, FIRST)
    assert Served(shelf, (5_000, 500), clock).models() == [FIRST, SLOW]


def test_where_nothing_was_learnt_nobody_answers(shelf: Shelf, clock: HandClock) -> None:
    serve(shelf, SLOW)
    served = Served(shelf, (500, 5_000, 60_000), clock)
    assert served.models() == [SLOW]
    assert served.refused == {}


def test_a_model_that_is_not_ready_is_there_and_says_so(shelf: Shelf, clock: HandClock) -> None:
    young = replace(FIRST, classes=(5_000, 99))
    serve(shelf, young)
    [model] = Served(shelf, (500,), clock).models()
    assert not model.ready


def test_the_store_is_asked_again_only_after_a_while(shelf: Shelf, clock: HandClock) -> None:
    serve(shelf, FIRST)
    served = Served(shelf, (500,), clock)
    shelf.asked.clear()
    served.models()
    assert len(shelf.asked) == 2  # where it is, and what it is
    clock.sleep(4.9)
    served.models()
    assert len(shelf.asked) == 2
    clock.sleep(0.1)
    for _ in range(3):
        served.models()
    assert shelf.asked[2:] == ["models/500ms/current"]  # it has not moved


def test_a_newer_version_is_taken_and_told_once(
    shelf: Shelf, clock: HandClock, logs: list[Any]
) -> None:
    serve(shelf, FIRST)
    served = Served(shelf, (500,), clock)
    assert served.models() == [FIRST]
    serve(shelf, SECOND)
    assert served.models() == [FIRST]
    for _ in range(3):
        clock.sleep(5)
        assert served.models() == [SECOND]
    assert [(line["event"], line["version"]) for line in logs] == [
        ("in_use", FIRST.version),
        ("in_use", SECOND.version),
    ]


def test_an_older_version_that_was_pinned_is_taken_too(shelf: Shelf, clock: HandClock) -> None:
    serve(shelf, FIRST, SECOND)
    served = Served(shelf, (500,), clock)
    assert served.models() == [SECOND]
    ModelStore(shelf, 500).pin(FIRST.version)
    clock.sleep(5)
    assert served.models() == [FIRST]


def test_a_model_that_was_taken_away_answers_no_more(shelf: Shelf, clock: HandClock) -> None:
    serve(shelf, FIRST)
    served = Served(shelf, (500,), clock)
    served.models()
    shelf.delete("models/500ms/current")
    clock.sleep(5)
    assert served.models() == []


# A store that is away


def test_a_store_that_is_away_leaves_the_models_in_use_and_is_told_once(
    shelf: Shelf, clock: HandClock, logs: list[Any]
) -> None:
    serve(shelf, FIRST)
    served = Served(shelf, (500,), clock)
    served.models()
    serve(shelf, SECOND)
    shelf.away = "models"
    for _ in range(4):
        clock.sleep(5)
        assert served.models() == [FIRST]
    shelf.away = ""
    for _ in range(2):
        clock.sleep(5)
        assert served.models() == [SECOND]
    assert events(logs) == ["in_use", "store_away", "in_use", "store_back"]
    assert "the line is cut" in logs[1]["error"]


def test_one_horizon_that_cannot_be_read_keeps_no_other_back(
    shelf: Shelf, clock: HandClock
) -> None:
    serve(shelf, FIRST, SLOW)
    served = Served(shelf, (500, 5_000), clock)
    served.models()
    newer = replace(SLOW, position=SLOW.position + 1)
    serve(shelf, SECOND, newer)
    shelf.away = "/500ms/"
    clock.sleep(5)
    assert served.models() == [FIRST, newer]


def test_a_store_that_is_away_at_first_is_raised_until_it_answers(
    shelf: Shelf, clock: HandClock
) -> None:
    serve(shelf, FIRST, SLOW)
    served = Served(shelf, (500, 5_000), clock)
    shelf.away = "/5000ms/"
    for _ in range(2):
        with pytest.raises(ObjectStoreUnavailableError, match="5000ms"):
            served.models()
    shelf.away = ""
    assert served.models() == [FIRST, SLOW]


def test_a_store_that_takes_long_to_say_so_is_asked_less_often(
    shelf: Shelf, clock: HandClock
) -> None:
    serve(shelf, FIRST)
    served = Served(shelf, (500,), clock)
    served.models()
    shelf.away = "models"
    shelf.before_read = lambda: clock.sleep(10)
    clock.sleep(5)
    served.models()
    asked = len(shelf.asked)
    clock.sleep(99)  # a tenth of the time, not all of it
    assert served.models() == [FIRST]
    assert len(shelf.asked) == asked
    clock.sleep(1)
    served.models()
    assert len(shelf.asked) == asked + 1


# Models that cannot be taken


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_model_leaves_the_one_before_in_use(
    shelf: Shelf, clock: HandClock, logs: list[Any], bad: Callable[[], bytes]
) -> None:
    serve(shelf, FIRST)
    served = Served(shelf, (500,), clock)
    served.models()
    put_version(shelf, bad())
    for _ in range(3):
        clock.sleep(5)
        assert served.models() == [FIRST]
    assert events(logs) == ["in_use", "refused"]
    assert served.refused == {500: logs[1]["error"]}
    assert SECOND.version in served.refused[500]


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_model_that_is_the_first_answers_nothing(
    shelf: Shelf, clock: HandClock, bad: Callable[[], bytes]
) -> None:
    put_version(shelf, bad())
    serve(shelf, SLOW)
    served = Served(shelf, (500, 5_000), clock)
    assert served.models() == [SLOW]
    assert list(served.refused) == [500]


def test_after_a_bad_model_the_next_good_one_is_taken(
    shelf: Shelf, clock: HandClock, logs: list[Any]
) -> None:
    put_version(shelf, corrupt())
    served = Served(shelf, (500,), clock)
    assert served.models() == []
    third = replace(SECOND, position=SECOND.position + 1)
    serve(shelf, third)
    clock.sleep(5)
    assert served.models() == [third]
    assert served.refused == {}
    assert events(logs) == ["refused", "in_use"]


def test_each_bad_version_is_told(shelf: Shelf, clock: HandClock, logs: list[Any]) -> None:
    put_version(shelf, corrupt())
    served = Served(shelf, (500,), clock)
    served.models()
    put_version(shelf, b"{}", "001-000000009")
    clock.sleep(5)
    served.models()
    assert [line["version"] for line in logs] == [SECOND.version, "001-000000009"]


def test_a_model_that_is_repaired_in_its_place_is_taken(shelf: Shelf, clock: HandClock) -> None:
    point_at(shelf, SECOND.version)  # nothing is there
    served = Served(shelf, (500,), clock)
    assert served.models() == []
    assert "does not exist" in served.refused[500]
    serve(shelf, SECOND)
    clock.sleep(5)
    assert served.models() == [SECOND]


def test_a_pointer_that_cannot_be_read_is_a_model_that_is_refused(
    shelf: Shelf, clock: HandClock, logs: list[Any]
) -> None:
    serve(shelf, FIRST)
    served = Served(shelf, (500,), clock)
    served.models()
    stored = shelf.read("models/500ms/current")
    assert stored is not None
    shelf.replace(stored.name, b"what?", generation=stored.generation)
    for _ in range(2):
        clock.sleep(5)
        assert served.models() == [FIRST]
    assert "names no version" in served.refused[500]
    assert events(logs) == ["in_use", "refused"]


# Several threads


def test_while_one_looks_the_others_go_on_with_what_there_is(
    shelf: Shelf, clock: HandClock
) -> None:
    serve(shelf, FIRST)
    served = Served(shelf, (500,), clock)
    served.models()
    serve(shelf, SECOND)
    clock.sleep(5)
    inside, answer = Event(), Event()

    def hesitate() -> None:
        inside.set()
        assert answer.wait(PATIENCE_SECONDS)

    shelf.before_read = hesitate
    with ThreadPoolExecutor(1) as others:
        looking = others.submit(served.models)
        assert inside.wait(PATIENCE_SECONDS)
        clock.sleep(60)  # long due again, and yet nobody else asks or waits
        asked = len(shelf.asked)
        assert served.models() == [FIRST]
        assert len(shelf.asked) == asked
        answer.set()
        assert looking.result(PATIENCE_SECONDS) == [SECOND]


def test_for_the_very_first_look_all_wait_and_one_asks(shelf: Shelf, clock: HandClock) -> None:
    serve(shelf, FIRST)
    served = Served(shelf, (500,), clock)
    shelf.asked.clear()
    inside, answer = Event(), Event()

    def hesitate() -> None:
        inside.set()
        assert answer.wait(PATIENCE_SECONDS)

    shelf.before_read = hesitate
    with ThreadPoolExecutor(8) as others:
        waiting = [others.submit(served.models) for _ in range(8)]
        assert inside.wait(PATIENCE_SECONDS)
        assert not any(each.done() for each in waiting)
        answer.set()
        assert all(each.result(PATIENCE_SECONDS) == [FIRST] for each in waiting)
    assert len(shelf.asked) == 2
