"""Processes end with the run, however the run ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cloudlike.processes import PATIENCE_SECONDS, ROOT, CloudlikeError, Guard, Program
from tests.cloudlike.reaper import groups_left

# One that starts another and does not end with it.
_FAMILY = (
    "import subprocess, sys; c = subprocess.Popen([sys.executable, '-c', 'input()'],"
    " stdin=subprocess.PIPE); print(c.pid, flush=True); c.wait()"
)
# A run that starts such a family, says who it is, and waits for its end.
_RUN = f"""
import sys
from pathlib import Path
from tests.cloudlike.processes import Guard, Program
program = Program([sys.executable, "-c", {_FAMILY!r}], Guard(), log=Path(sys.argv[1]))
print(program.pid, program.hear(r"\\d+")[0], flush=True)
program.wait()
"""


@pytest.fixture
def guard() -> Iterator[Guard]:
    with Guard() as guard:
        yield guard


def python(program: str, guard: Guard, folder: Path) -> Program:
    return Program([sys.executable, "-c", program], guard, log=folder / "program.log")


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited for in vain"
        time.sleep(0.02)


def test_a_group_is_left_until_it_is_taken_back() -> None:
    assert groups_left(["+12\n", "+13\n", "-12\n", "+14\n"]) == {13, 14}


def test_what_was_started_dies_when_the_run_is_killed(tmp_path: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", _RUN, str(tmp_path / "log")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert run.stdout is not None
    with run.stdout:
        pids = [int(word) for word in run.stdout.readline().split()]
        assert all(map(is_alive, pids))
        run.kill()
        run.wait()
    wait_for(lambda: not any(map(is_alive, pids)))
    assert len(pids) == 2


def test_what_a_program_started_is_killed_with_it(guard: Guard, tmp_path: Path) -> None:
    program = python(_FAMILY, guard, tmp_path)
    child = int(program.hear(r"\d+")[0])
    program.kill()
    assert program.wait() == -signal.SIGKILL
    wait_for(lambda: not is_alive(child))


def test_one_that_does_not_obey_is_ended_the_hard_way(guard: Guard, tmp_path: Path) -> None:
    deaf = "import signal; signal.signal(15, signal.SIG_IGN); print('here', flush=True); input()"
    program = python(deaf, guard, tmp_path)
    program.hear("here")
    assert program.end(seconds=0.2) == -signal.SIGKILL


def test_an_early_end_is_an_error_with_the_end_of_the_log(guard: Guard, tmp_path: Path) -> None:
    program = python("raise SystemExit('no such bucket')", guard, tmp_path)
    with pytest.raises(CloudlikeError, match=r"(?s)never said 'ready'.*no such bucket"):
        program.hear("ready")
    assert program.wait() == 1


def test_all_that_is_said_stands_in_the_log(guard: Guard, tmp_path: Path) -> None:
    program = python("import os; os.write(2, b'one\\n'); print('two')", guard, tmp_path)
    assert program.wait() == os.EX_OK
    assert sorted(program.log.read_text().split()) == ["one", "two"]
