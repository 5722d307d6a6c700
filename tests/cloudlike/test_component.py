"""One instance always runs: who dies is replaced, who keeps dying is given up."""

import sys
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from tests.cloudlike.component import Component
from tests.cloudlike.processes import CloudlikeError, Guard, Program

_SECONDS = 60.0
_SERVES = "import sys; open('left', 'w'); print('port', 1000, file=sys.stderr, flush=True); input()"


class Life:
    """A component whose ups are told."""

    def __init__(self, folder: Path, guard: Guard, program: str) -> None:
        self.ups: SimpleQueue[tuple[int, int]] = SimpleQueue()

        def launch(_: int, place: Path, log: Path) -> Program:
            command = [sys.executable, "-c", program]
            return Program(command, guard, log=log, folder=place, voice="stderr")

        self.component = Component(
            "one", folder / "one", launch, r"port (\d+)",
            up=lambda number, port: self.ups.put((number, port)),
        )  # fmt: skip


@pytest.fixture
def guard() -> Iterator[Guard]:
    with Guard() as guard:
        yield guard


def test_one_that_is_killed_is_replaced_by_a_new_one_in_an_empty_folder(
    guard: Guard, tmp_path: Path
) -> None:
    life = Life(tmp_path, guard, _SERVES)
    component = life.component
    component.start()
    try:
        for number in (1, 2, 3):
            assert life.ups.get(timeout=_SECONDS) == (number, 1000)
            killed = component.kill()
            assert killed is not None
            assert killed.number == number
        assert life.ups.get(timeout=_SECONDS) == (4, 1000)
    finally:
        component.stop()
    assert [each.killed for each in component.instances] == [True, True, True, False]
    assert [path.name for path in component.stray_files()] == ["left"] * 4
    assert component.deaths == []
    assert component.kill() is None


def test_one_that_is_stopped_is_not_replaced(guard: Guard, tmp_path: Path) -> None:
    life = Life(tmp_path, guard, _SERVES)
    life.component.start()
    life.component.wait_until_up()
    assert life.component.stop() is not None
    assert len(life.component.instances) == 1
    assert life.component.current is None


def test_one_that_keeps_dying_is_given_up_with_words(guard: Guard, tmp_path: Path) -> None:
    life = Life(tmp_path, guard, "raise SystemExit(7)")
    life.component.start()
    with pytest.raises(CloudlikeError, match="one keeps dying: instance 1 ended with 7"):
        life.component.wait_until_up()
    life.component.stop()
