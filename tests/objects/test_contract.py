"""One page for every object store: what the port promises, whoever keeps it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import pytest

from quotewatch.errors import ObjectError, ObjectStoreUnavailableError, PreconditionFailedError
from quotewatch.objects.opening import open_objects
from quotewatch.objects.port import ObjectStore, StoredObject

ROOT = Path(__file__).parents[2]


def test_what_is_created_can_be_read(store: ObjectStore) -> None:
    generation = store.create("models/1", b"first")
    assert store.read("models/1") == StoredObject("models/1", b"first", generation)


@pytest.mark.parametrize("size", [0, 1, 9_000_000])  # above 8 MB the GCS client uploads otherwise
def test_objects_of_any_size_survive(store: ObjectStore, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"\r\n--"[: size % 256]
    generation = store.create("object", data)
    assert store.read("object") == StoredObject("object", data, generation)


def test_there_is_nothing_where_nothing_was_stored(store: ObjectStore) -> None:
    assert store.read("nothing") is None
    assert list(store.names("")) == []
    store.delete("nothing")


def test_a_name_is_created_once(store: ObjectStore) -> None:
    store.create("object", b"mine")
    with pytest.raises(PreconditionFailedError, match="object"):
        store.create("object", b"yours")
    found = store.read("object")
    assert found is not None
    assert found.data == b"mine"


def test_a_name_is_free_again_after_its_deletion(store: ObjectStore) -> None:
    first = store.create("object", b"first")
    store.delete("object")
    assert store.read("object") is None
    assert store.create("object", b"second") != first


def test_every_replacement_has_a_new_generation(store: ObjectStore) -> None:
    generations = [store.create("object", b"0")]
    for turn in range(50):
        generations.append(store.replace("object", b"%d" % turn, generation=generations[-1]))
        found = store.read("object")
        assert found == StoredObject("object", b"%d" % turn, generations[-1])
    assert len(set(generations)) == 51


def test_an_old_generation_replaces_nothing(store: ObjectStore) -> None:
    old = store.create("object", b"1")
    store.replace("object", b"2", generation=old)
    with pytest.raises(PreconditionFailedError, match="object"):
        store.replace("object", b"3", generation=old)
    found = store.read("object")
    assert found is not None
    assert found.data == b"2"


def test_what_is_gone_cannot_be_replaced(store: ObjectStore) -> None:
    generation = store.create("object", b"1")
    store.delete("object")
    with pytest.raises(PreconditionFailedError):
        store.replace("object", b"2", generation=generation)
    assert store.read("object") is None


def test_names_come_in_order_and_by_prefix(store: ObjectStore) -> None:
    names = ["a", "b-/x", "b/1", "b/10", "b/2", "b/deep/er/1", "b0", "bé/ü 1", "c/1"]
    for name in reversed(names):
        store.create(name, b"")
    assert list(store.names("")) == names
    assert list(store.names("b/")) == ["b/1", "b/10", "b/2", "b/deep/er/1"]
    assert list(store.names("b/1")) == ["b/1", "b/10"]
    assert list(store.names("b/deep/")) == ["b/deep/er/1"]
    assert list(store.names("d/")) == []


def test_a_folder_is_no_object(store: ObjectStore) -> None:
    store.create("folder/object", b"")
    assert store.read("folder") is None
    assert store.read("folder/object/below") is None
    store.delete("folder")
    assert list(store.names("")) == ["folder/object"]


def test_two_prefixes_share_nothing(store: ObjectStore, store_url: str) -> None:
    store.create("object", b"here")
    other = open_objects(f"{store_url}-other")
    assert other.read("object") is None
    assert list(other.names("")) == []
    other.close()


BAD_NAMES = ["", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../../b", "a/./b", ".objects/lock"]


@pytest.mark.parametrize("name", [*BAD_NAMES, "a\nb", "a\0b", "a" * 1025, "é" * 513])
def test_a_bad_name_is_refused_by_name(store: ObjectStore, name: str) -> None:
    with pytest.raises(ObjectError) as refused:
        store.create(name, b"")
    assert repr(name) in str(refused.value)
    assert not isinstance(refused.value, ObjectStoreUnavailableError)
    with pytest.raises(ObjectError):
        store.read(name)
    with pytest.raises(ObjectError):
        store.replace(name, b"", generation=1)
    with pytest.raises(ObjectError):
        store.delete(name)


@pytest.mark.parametrize("prefix", ["../", "/", "a//", "a/../b"])
def test_a_bad_prefix_is_refused_by_name(store: ObjectStore, prefix: str) -> None:
    with pytest.raises(ObjectError, match="prefix"):
        list(store.names(prefix))


def test_a_closed_store_opens_again(store: ObjectStore) -> None:
    store.create("object", b"")
    store.close()
    store.close()
    assert store.read("object") is not None


# Several processes


class Racer:
    """A process that is ready to race."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self.stdin: IO[str] = process.stdin
        self.stdout: IO[str] = process.stdout

    def go(self) -> None:
        self.stdin.write("go\n")
        self.stdin.flush()


@contextmanager
def racers(url: str, role: str, *arguments: str) -> Iterator[list[Racer]]:
    """Start one process per argument and wait until all are ready."""
    with ExitStack() as stack:
        started = []
        for argument in arguments:
            command = [sys.executable, "-m", "tests.objects.racer", url, role, argument]
            process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            started.append(Racer(process))
        for racer in started:
            assert racer.stdout.readline() == "ready\n"
        yield started


def test_of_many_processes_one_creates(store: ObjectStore, store_url: str) -> None:
    with racers(store_url, "create", "a", "b", "c", "d", "e") as ready:
        for racer in ready:
            racer.go()
        results = [racer.stdout.readline().strip() for racer in ready]
    assert sorted(results) == ["lost"] * 4 + ["won"]
    found = store.read("race")
    assert found is not None
    assert found.data == b"abcde"[results.index("won") :][:1]


def test_processes_count_together_by_compare_and_set(store: ObjectStore, store_url: str) -> None:
    store.create("counter", b"0")
    with racers(store_url, "count", "25", "25", "25", "25") as ready:
        for racer in ready:
            racer.go()
        assert [racer.stdout.readline() for racer in ready] == ["counted 25\n"] * 4
    found = store.read("counter")
    assert found is not None
    assert found.data == b"100"
    assert list(store.names("")) == ["counter"]


def assert_whole(found: StoredObject | None) -> None:
    assert found is not None
    assert len(found.data) == 300 * 1024
    assert len(set(found.data)) == 1


def test_kill_9_while_writing_never_leaves_half_an_object(
    store: ObjectStore, store_url: str
) -> None:
    for turns in (1, 3, 6):
        with racers(store_url, "write", "300") as (writer,):
            writer.go()
            for _ in range(turns):
                assert writer.stdout.readline()
                assert_whole(store.read("big"))  # beside a writer at work
            writer.process.kill()
            writer.process.wait()
        names = list(store.names(""))
        assert names[0] == "big"
        for name in names:
            assert_whole(store.read(name))
            store.delete(name)
