"""Another process acts right before a write, or the answer to a write never comes."""

from contextlib import closing

import pytest

from quotewatch.errors import ObjectStoreUnavailableError
from quotewatch.learning.store import ModelStore
from quotewatch.objects.gcs import GcsObjects
from quotewatch.objects.port import ObjectStore
from tests.fakes.gcs import FakeGcs
from tests.learning.racer import HORIZON_MS, numbered
from tests.learning.shelf import CURRENT, VERSIONS, name_of, served, stored


class Meanwhile:
    """An object store in which another process acts right before one call."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self.before: dict[tuple[str, str], list[str]] = {}

    def act(self, call: str, name: str, role: str) -> None:
        """Do `role` right before that call."""
        self.before[call, name] = [role]

    def _others(self, call: str, name: str) -> None:
        for role in self.before.pop((call, name), []):
            method, _, position = role.partition(" ")
            other = ModelStore(self._objects, HORIZON_MS)
            {"advance": other.advance, "pin": other.pin, "delete": self._delete}[method](
                name_of(int(position))
            )

    def _delete(self, version: str) -> None:
        self._objects.delete(VERSIONS + version)

    def create(self, name: str, data: bytes) -> int:
        self._others("create", name)
        return self._objects.create(name, data)

    def replace(self, name: str, data: bytes, *, generation: int) -> int:
        self._others("replace", name)
        return self._objects.replace(name, data, generation=generation)

    def delete(self, name: str) -> None:
        self._others("delete", name)
        self._objects.delete(name)

    def __getattr__(self, name: str) -> object:
        return getattr(self._objects, name)


@pytest.fixture
def meanwhile(objects: ObjectStore) -> Meanwhile:
    return Meanwhile(objects)


@pytest.fixture
def raced(meanwhile: Meanwhile) -> ModelStore:
    return ModelStore(meanwhile, HORIZON_MS)  # type: ignore[arg-type]  # the rest is passed on


def test_the_newer_of_two_that_advance_at_once_stays(
    raced: ModelStore, meanwhile: Meanwhile
) -> None:
    meanwhile.act("create", CURRENT, "advance 5")
    assert not raced.advance(name_of(4))
    assert served(raced) == (name_of(5), False)
    meanwhile.act("replace", CURRENT, "advance 6")
    assert raced.advance(name_of(7))
    assert served(raced) == (name_of(7), False)


def test_a_pin_made_while_advancing_stays(raced: ModelStore, meanwhile: Meanwhile) -> None:
    stored(raced, 1)
    raced.advance(name_of(2))
    meanwhile.act("replace", CURRENT, "pin 1")
    assert not raced.advance(name_of(3))
    assert served(raced) == (name_of(1), True)


def test_a_pin_wins_over_who_advances_at_the_same_moment(
    raced: ModelStore, meanwhile: Meanwhile
) -> None:
    stored(raced, 1)
    meanwhile.act("create", CURRENT, "advance 5")
    raced.pin(name_of(1))
    assert served(raced) == (name_of(1), True)


def test_follow_looks_again_when_another_moved_current(
    raced: ModelStore, meanwhile: Meanwhile
) -> None:
    stored(raced, 1, 2)
    raced.pin(name_of(1))
    meanwhile.act("replace", CURRENT, "pin 2")
    assert raced.follow() == name_of(2)
    assert served(raced) == (name_of(2), False)


def test_what_is_pinned_while_it_is_pruned_is_still_there(
    raced: ModelStore, meanwhile: Meanwhile
) -> None:
    stored(raced, 1, 2, 3)
    meanwhile.act("delete", VERSIONS + name_of(1), "pin 1")
    assert raced.prune(keep=1) == [name_of(2)]
    assert raced.load(name_of(1)) == numbered(1)


def test_what_is_pruned_while_it_is_pinned_is_still_there(
    raced: ModelStore, meanwhile: Meanwhile
) -> None:
    stored(raced, 1, 2)
    meanwhile.act("create", CURRENT, "delete 1")
    raced.pin(name_of(1))
    assert raced.load(name_of(1)) == numbered(1)


# Answers that never came


def test_a_create_without_an_answer_is_found_again(gcs: FakeGcs) -> None:
    with closing(GcsObjects("bucket", "", timeout_seconds=5)) as objects:
        store = ModelStore(objects, HORIZON_MS)
        gcs.fail("POST", 503, when="after")
        with pytest.raises(ObjectStoreUnavailableError):
            store.create(numbered(1))
        assert not store.create(numbered(1))


def test_a_move_without_an_answer_is_found_again(gcs: FakeGcs) -> None:
    with closing(GcsObjects("bucket", "", timeout_seconds=5)) as objects:
        store = ModelStore(objects, HORIZON_MS)
        for position, moved in ((1, False), (2, False)):
            gcs.fail("POST", 503, when="after")
            with pytest.raises(ObjectStoreUnavailableError):
                store.advance(name_of(position))
            assert store.advance(name_of(position)) is moved
            assert served(store) == (name_of(position), False)
        gcs.fail("POST", 503, when="before")
        with pytest.raises(ObjectStoreUnavailableError):
            store.advance(name_of(3))
        assert store.advance(name_of(3))
