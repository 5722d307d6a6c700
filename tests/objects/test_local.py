"""What only a directory of objects does."""

import fcntl
import os
import resource
import subprocess
import sys
from pathlib import Path
from queue import Queue
from threading import Event, Thread, current_thread
from typing import IO

import pytest

from quotewatch.errors import ObjectError, ObjectStoreUnavailableError, PreconditionFailedError
from quotewatch.objects import local
from quotewatch.objects.local import LocalObjects
from quotewatch.objects.opening import open_objects

ROOT = Path(__file__).parents[2]


def test_an_object_is_a_plain_file(tmp_path: Path) -> None:
    LocalObjects(tmp_path).create("results/last.json", b"{}")
    assert (tmp_path / "results" / "last.json").read_bytes() == b"{}"


def test_leftovers_of_killed_writers_are_no_objects_and_go_away(tmp_path: Path) -> None:
    store = LocalObjects(tmp_path)
    store.create("object", b"1")
    young, old = (tmp_path / ".objects" / name for name in ("young.tmp", "old.tmp"))
    young.write_bytes(b"ha")
    old.write_bytes(b"lf")
    os.utime(old, ns=(0, 0))
    assert list(store.names("")) == ["object"]
    LocalObjects(tmp_path).create("other", b"2")
    assert (young.exists(), old.exists()) == (True, False)


def test_a_clock_that_stands_still_or_steps_back_still_moves_generations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalObjects(tmp_path)
    generation = store.create("object", b"0")
    for now in (generation, generation, 5):
        monkeypatch.setattr("time.time_ns", lambda now=now: now)
        generation, old = store.replace("object", b"1", generation=generation), generation
        assert generation > old


def test_between_looking_and_replacing_nobody_else_replaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalObjects(tmp_path)
    generation = store.create("object", b"0")
    first_has_looked, second_waits, results = Event(), Event(), Queue[str]()
    look, lock = local._generation, fcntl.flock

    def slow_look(path: Path) -> int | None:
        found = look(path)
        if current_thread().name == "first":
            first_has_looked.set()
            second_waits.wait(5)  # without the lock nobody would ever wait
        return found

    def told_lock(file: IO[bytes], operation: int) -> None:
        if current_thread().name == "second":
            second_waits.set()
        lock(file, operation)

    def replace() -> None:
        try:
            store.replace("object", current_thread().name.encode(), generation=generation)
        except PreconditionFailedError:
            results.put(f"{current_thread().name} was late")

    monkeypatch.setattr(local, "_generation", slow_look)
    monkeypatch.setattr(fcntl, "flock", told_lock)
    first, second = (Thread(target=replace, name=name) for name in ("first", "second"))
    first.start()
    assert first_has_looked.wait(60)
    second.start()
    first.join()
    second.join()
    assert results.get_nowait() == "second was late"
    found = store.read("object")
    assert found is not None
    assert found.data == b"first"


def test_reading_an_empty_place_makes_no_directory(tmp_path: Path) -> None:
    store = LocalObjects(tmp_path / "objects")
    assert store.read("object") is None
    assert list(store.names("")) == []
    store.delete("object")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["folder", "folder/object/below"])
def test_a_name_cannot_be_a_folder_and_an_object(tmp_path: Path, name: str) -> None:
    store = LocalObjects(tmp_path)
    store.create("folder/object", b"")
    with pytest.raises(ObjectError, match=name) as refused:
        store.create(name, b"")
    assert type(refused.value) is ObjectError


def test_a_symlink_below_the_root_is_followed_by_nobody_listing(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").touch()
    store = LocalObjects(tmp_path / "objects")
    store.create("object", b"")
    (tmp_path / "objects" / "link").symlink_to(tmp_path / "outside")
    assert list(store.names("")) == ["object"]


def write_beyond_the_limit(root: str) -> None:
    """Run in a child: the kernel stops a write half-way, as on a full disk."""
    store = LocalObjects(Path(root))
    generation = store.create("object", b"old")
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    with pytest.raises(ObjectStoreUnavailableError, match=r"'object'.*free space"):
        store.replace("object", b"x" * 100_000, generation=generation)
    with pytest.raises(ObjectStoreUnavailableError, match="'new'"):
        store.create("new", b"x" * 100_000)
    assert list(Path(root).rglob("*.tmp")) == []
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    store.replace("object", b"new" * 40_000, generation=generation)


def test_a_full_disk_changes_nothing_and_is_worth_another_try(tmp_path: Path) -> None:
    call = f"from tests.objects import test_local; test_local.write_beyond_the_limit('{tmp_path}')"
    subprocess.run([sys.executable, "-c", call], cwd=ROOT, check=True)
    store = LocalObjects(tmp_path)
    assert list(store.names("")) == ["object"]
    found = store.read("object")
    assert found is not None
    assert len(found.data) == 120_000


def test_a_place_that_cannot_be_written_needs_an_operator(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ObjectError, match="check the objects' directory") as refused:
        LocalObjects(tmp_path / "file").create("object", b"")
    assert type(refused.value) is ObjectError


def test_a_place_opens_by_its_url(tmp_path: Path) -> None:
    open_objects(f"file://{tmp_path}/with%20space").create("object", b"")
    open_objects(f"file://localhost{tmp_path}/host").create("object", b"")
    open_objects(str(tmp_path / "plain")).create("object", b"")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["host", "plain", "with space"]


@pytest.mark.parametrize("url", ["", "s3://bucket/x", "file://relative/x", "gs://", "gs:///x"])
def test_a_place_of_another_kind_is_refused_by_name(url: str) -> None:
    with pytest.raises(ObjectError, match="gs://"):
        open_objects(url)
