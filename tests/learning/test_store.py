"""Versions are written once; `current` moves forwards by itself and elsewhere by hand only."""

from dataclasses import replace

import pytest

from quotewatch.errors import ModelError, ModelMismatchError, NewerModelError
from quotewatch.learning.document import Version, encode
from quotewatch.learning.model import Model
from quotewatch.learning.scoring import ScoreWindow
from quotewatch.learning.store import Current, ModelStore
from quotewatch.objects.port import ObjectStore
from tests.learning.racer import numbered
from tests.learning.rows import taught
from tests.learning.shelf import CURRENT, VERSIONS, name_of, served, stored

# Versions


def test_a_version_comes_back_whole(store: ModelStore) -> None:
    version = Version(taught(), {"said": 1}, ScoreWindow.empty())
    assert store.create(version)
    assert store.load("001-000000003") == version


def test_versions_are_listed_oldest_first(store: ModelStore, objects: ObjectStore) -> None:
    assert store.versions() == []
    stored(store, 10, 9, 100)
    objects.create(f"{VERSIONS}notes.txt", b"by hand")
    objects.create("models/500ms/versions-of-old/001-000000001", b"")
    ModelStore(objects, 5_000).create(
        Version(Model.fresh(5_000, 1), {}, ScoreWindow.empty())
    )  # another horizon's
    assert store.versions() == [name_of(9), name_of(10), name_of(100)]


def test_who_comes_second_with_the_same_model_is_told_so(store: ModelStore) -> None:
    version = numbered(1)
    assert store.create(version)
    other = replace(version.model, libraries=("numpy 99",))
    assert not store.create(replace(version, model=other, report={"later": True}))
    assert store.load(name_of(1)) == version


def test_another_model_under_the_same_name_is_an_error(store: ModelStore) -> None:
    stored(store, 1)
    with pytest.raises(ModelError, match="learnt something else from the same batches"):
        store.create(numbered(1, intercept=0.25))
    assert store.load(name_of(1)) == numbered(1)


def test_a_model_of_another_horizon_does_not_belong_here(store: ModelStore) -> None:
    with pytest.raises(ModelMismatchError, match="5000 ms does not belong"):
        store.create(Version(Model.fresh(5_000, 1), {}, ScoreWindow.empty()))
    assert store.versions() == []


@pytest.mark.parametrize("version", ["001-000000009", "", "../current", "1-2", "001-000000001\n"])
def test_a_version_that_is_not_there_is_named_beside_those_that_are(
    store: ModelStore, version: str
) -> None:
    stored(store, *range(1, 8))
    for ask in (store.load, store.pin):
        with pytest.raises(ModelError, match="does not exist; the newest are") as told:
            ask(version)
        assert f"{VERSIONS}{version} " in str(told.value)
        assert name_of(7) in str(told.value)
        assert name_of(2) not in str(told.value)
    assert store.current() is None


def test_the_newest_that_loads_is_found_and_the_others_are_reported(
    store: ModelStore, objects: ObjectStore
) -> None:
    assert store.newest().version is None
    stored(store, 1, 2)
    objects.create(VERSIONS + name_of(3), b"half a mod")
    foreign = replace(numbered(4).model, features=("a",) * 8)
    objects.create(VERSIONS + name_of(4), encode(replace(numbered(4), model=foreign)))
    found = store.newest()
    assert found.version == numbered(2)
    assert list(found.refused) == [name_of(4), name_of(3)]
    assert "was learnt from ['a'" in found.refused[name_of(4)]
    assert VERSIONS + name_of(3) in found.refused[name_of(3)]


def test_a_newer_format_is_not_passed_over(store: ModelStore, objects: ObjectStore) -> None:
    stored(store, 1)
    objects.create(VERSIONS + name_of(2), b'{"format": 2}')
    for ask in (store.newest, store.follow, lambda: store.pin(name_of(2))):
        with pytest.raises(NewerModelError, match="deploy this process again"):
            ask()
    assert store.current() is None


# Which one is served


def test_current_moves_forwards_only(store: ModelStore) -> None:
    assert served(store) is None
    assert store.advance(name_of(2))
    assert not store.advance(name_of(1))
    assert not store.advance(name_of(2))
    assert served(store) == (name_of(2), False)
    assert store.advance("002-000000001")
    assert served(store) == ("002-000000001", False)


def test_a_pin_goes_back_and_stays_until_follow(store: ModelStore) -> None:
    stored(store, 1, 2, 3)
    store.advance(name_of(3))
    store.pin(name_of(1))
    assert served(store) == (name_of(1), True)
    stored(store, 4)
    assert not store.advance(name_of(4))
    assert served(store) == (name_of(1), True)
    store.pin(name_of(2))
    assert served(store) == (name_of(2), True)
    assert store.follow() == name_of(4)
    assert served(store) == (name_of(4), False)
    stored(store, 5)
    assert store.advance(name_of(5))


def test_a_pin_needs_no_current_before_it(store: ModelStore) -> None:
    stored(store, 1)
    store.pin(name_of(1))
    assert served(store) == (name_of(1), True)


def test_what_does_not_load_is_not_pinned(store: ModelStore, objects: ObjectStore) -> None:
    stored(store, 1)
    store.advance(name_of(1))
    objects.create(VERSIONS + name_of(2), b"half a mod")
    with pytest.raises(ModelError, match=f"no sound model.*the newest are .*{name_of(1)}"):
        store.pin(name_of(2))
    assert served(store) == (name_of(1), False)


def test_follow_passes_over_what_does_not_load(store: ModelStore, objects: ObjectStore) -> None:
    with pytest.raises(ModelError, match="no version that loads"):
        store.follow()
    stored(store, 1, 2)
    objects.create(VERSIONS + name_of(3), b"half a mod")
    assert store.follow() == name_of(2)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"\xff",
        b'{"version": 1, "pinned": false}',
        b'{"version": "\xe4", "pinned": true}',
    ],
)
def test_a_current_that_cannot_be_read_is_repaired_by_hand(
    store: ModelStore, objects: ObjectStore, data: bytes
) -> None:
    stored(store, 1, 2, 3)
    objects.create(CURRENT, data)
    for ask in (store.current, lambda: store.advance(name_of(3)), lambda: store.prune(1)):
        with pytest.raises(ModelError, match=f"{CURRENT} names no version .*pin one, or follow"):
            ask()
    assert len(store.versions()) == 3
    store.follow()
    assert served(store) == (name_of(3), False)


def test_a_current_of_a_newer_format_asks_for_a_deployment(
    store: ModelStore, objects: ObjectStore
) -> None:
    objects.create(CURRENT, b'{"version": "001-000000001", "pinned": false, "format": 2}')
    with pytest.raises(NewerModelError, match=f"{CURRENT} is of format 2"):
        store.current()


def test_pruning_removes_the_oldest_but_never_the_current_one(store: ModelStore) -> None:
    stored(store, *range(1, 8))
    store.pin(name_of(2))
    assert store.prune(keep=3) == [name_of(1), name_of(3), name_of(4)]
    assert store.versions() == [name_of(position) for position in (2, 5, 6, 7)]
    assert store.prune(keep=3) == []
    with pytest.raises(ValueError, match="keep 1 or more"):
        store.prune(keep=0)


def test_a_current_has_the_generation_it_was_read_at(
    store: ModelStore, objects: ObjectStore
) -> None:
    store.advance(name_of(1))
    found = objects.read(CURRENT)
    assert found is not None
    assert store.current() == Current(name_of(1), pinned=False, generation=found.generation)
