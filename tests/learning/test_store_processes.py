"""Several processes share a model store: one creates, `current` never goes back, pins hold."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from quotewatch.learning.store import ModelStore
from tests.learning.racer import numbered

ROOT = Path(__file__).parents[2]


class Racer:
    """A process that is ready to race."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout

    def line(self) -> str:
        return self._stdout.readline().strip()

    def go(self) -> None:
        self._stdin.write("go\n")
        self._stdin.flush()


@contextmanager
def racers(url: str, *roles: tuple[str, str]) -> Iterator[list[Racer]]:
    """Start one process per role, wait until all are ready, and let them go."""
    with ExitStack() as stack:
        ready = []
        for role, argument in roles:
            command = [sys.executable, "-m", "tests.learning.racer", url, role, argument]
            process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            ready.append(Racer(process))
        for racer in ready:
            assert racer.line() == "ready"
        for racer in ready:
            racer.go()
        yield ready


def test_of_many_processes_one_stores_a_version(store: ModelStore, objects_url: str) -> None:
    with racers(objects_url, *[("create", "7")] * 4) as ready:
        results = [racer.line() for racer in ready]
    assert sorted(results) == ["first", "second", "second", "second"]
    assert store.load("001-000000007") == numbered(7)


def test_current_never_goes_backwards_whoever_advances_it(
    store: ModelStore, objects_url: str
) -> None:
    # Some versions are one process's own, some two's.
    spans = ("1,2,40", "2,2,41", "1,3,40")
    with racers(objects_url, *(("advance", span) for span in spans)) as ready:
        assert [racer.line() for racer in ready] == ["backwards 0"] * 3
    current = store.current()
    assert current is not None
    assert current.version == store.versions()[-1] == "001-000000040"


def test_a_version_that_was_pinned_loads_whoever_prunes(
    store: ModelStore, objects_url: str
) -> None:
    for position in range(1, 25):
        store.create(numbered(position))
    roles = (("pin", "1,22"), ("prune", "2"), ("pin", "21,0,-1"), ("prune", "2"))
    with racers(objects_url, *roles) as ready:
        results = [racer.line() for racer in ready]
    current = store.current()
    assert current is not None
    assert store.load(current.version).model.version == current.version
    assert results[1] == results[3] == "pruned"
    assert store.versions()[-2:] == ["001-000000023", "001-000000024"]
