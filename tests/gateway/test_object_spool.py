"""Spools in an object store: one that does not answer, and neighbours."""

from pathlib import Path

import pytest

from ingest_gateway.spool import ObjectSpool
from quotewatch.errors import ObjectStoreUnavailableError, SpoolError
from quotewatch.objects.local import LocalObjects
from tests.gateway.spools import frame, identities


class SilentObjects(LocalObjects):
    """A store that can be told to fail, before or after it has done what was asked."""

    fails = ""

    def create(self, name: str, data: bytes) -> int:
        if self.fails == "before":
            raise ObjectStoreUnavailableError("no answer")
        generation = super().create(name, data)
        if self.fails == "after":
            raise ObjectStoreUnavailableError("no answer")
        return generation

    def delete(self, name: str) -> None:
        if self.fails:
            raise ObjectStoreUnavailableError("no answer")
        super().delete(name)


def test_a_store_that_is_down_is_a_spool_error_to_try_again(tmp_path: Path) -> None:
    store = SilentObjects(tmp_path)
    spool = ObjectSpool(store, "spool", "e1")
    store.fails = "before"
    with pytest.raises(SpoolError, match="not kept"):
        spool.add(frame(0))
    assert spool.pending_frames() == 0
    store.fails = ""
    spool.add(frame(0))
    assert spool.pending_frames() == 1
    store.fails = "before"
    with pytest.raises(SpoolError, match="not removed"):
        spool.remove("raw_trades", 0)
    assert spool.pending_frames() == 1


@pytest.mark.parametrize("again", [True, False])
def test_a_frame_stored_without_an_answer_is_kept_once_and_removable(
    tmp_path: Path, again: bool
) -> None:
    store = SilentObjects(tmp_path)
    spool = ObjectSpool(store, "", "e1")
    store.fails = "after"
    with pytest.raises(SpoolError):
        spool.add(frame(0))
    store.fails = ""
    other = ObjectSpool(store, "", "e2")
    assert list(other.leftovers()) == [frame(0)]
    if again:
        spool.add(frame(0))
        assert spool.pending_frames() == 1
    spool.remove("raw_trades", 0)
    assert list(other.leftovers()) == []
    assert spool.pending_frames() == 0


def test_removing_a_frame_that_was_never_added_asks_nobody(tmp_path: Path) -> None:
    store = SilentObjects(tmp_path)
    spool = ObjectSpool(store, "spool", "e1")
    store.fails = "before"
    spool.remove("raw_trades", 0)


def test_whoever_starts_gets_the_frames_of_a_living_neighbour_too(tmp_path: Path) -> None:
    one = ObjectSpool(LocalObjects(tmp_path), "spool", "e1")
    one.add(frame(0))
    two = ObjectSpool(LocalObjects(tmp_path), "spool", "e2")
    (left,) = two.leftovers()
    two.forget(left)
    one.remove("raw_trades", 0)  # gone already: nothing happens
    assert (one.pending_frames(), identities(two)) == (0, [])


def test_prefixes_keep_spools_apart(tmp_path: Path) -> None:
    one = ObjectSpool(LocalObjects(tmp_path), "spool", "e1")
    one.add(frame(0))
    assert identities(ObjectSpool(LocalObjects(tmp_path), "spoo", "e2")) == []
    assert identities(ObjectSpool(LocalObjects(tmp_path), "/spool/", "e2")) != []
