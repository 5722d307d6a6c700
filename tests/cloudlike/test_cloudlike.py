"""A minute as in the cloud, each component killed once at its work: nothing missing or doubled."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quotewatch.streams import STREAMS
from tests.cloudlike.accounts import dump_grants
from tests.cloudlike.plan import MORTALS
from tests.cloudlike.processes import ROOT
from tests.cloudlike.test_processes import is_alive, wait_for
from tests.emulator import find_emulator
from tests.local.demos import processes
from tests.terraform.grants import grants_of, member_of
from tests.terraform.planning import Workspace

_LONGEST_SECONDS = 600.0  # a busy machine is slow, not wrong


def start(*flags: str) -> subprocess.Popen[str]:
    find_emulator()  # or say why not
    return subprocess.Popen(
        [sys.executable, "-m", "tests.cloudlike", *flags],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def grants(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write down what Terraform grants each component."""
    folder = tmp_path_factory.mktemp("grants")
    plan = Workspace(folder).test("everything.tftest.hcl")["everything"]
    dump_grants({name: grants_of(plan, member_of(name)) for name in MORTALS}, folder / "grants")
    return folder / "grants"


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory, grants: Path) -> dict[str, Any]:
    """Run it with a kill -9 of each, and nobody allowed more than Terraform grants."""
    data = tmp_path_factory.mktemp("cloudlike") / "run"
    flags = ["--seconds", "60", "--kill", "all", "--seed", "1", "--data", str(data)]
    run = start(*flags, "--grants", str(grants))
    try:
        screen, _ = run.communicate(timeout=_LONGEST_SECONDS)
    finally:
        run.kill()
        run.wait()
    assert run.returncode == 0, screen
    found: dict[str, Any] = json.loads((data / "summary.json").read_text())
    return found


def test_nothing_is_missing_and_nothing_is_doubled(summary: dict[str, Any]) -> None:
    assert summary["loss"] == []
    for counts in (summary["missing"], summary["duplicates"]):
        assert counts.keys() >= {*STREAMS, "labels"}
        assert not any(counts.values())
    assert not any(summary["unnamed_holes"].values())
    assert summary["stored"].keys() >= {*STREAMS, "labels", "gaps"}
    assert summary["model"]["labels"] == summary["stored"]["labels"] > 0


def test_each_was_killed_at_its_work_and_came_back(summary: dict[str, Any]) -> None:
    at_work = {kill["component"] for kill in summary["kills"] if kill["at_work"]}
    assert at_work == set(MORTALS)
    for name in MORTALS:
        killed = [kill["instance"] for kill in summary["kills"] if kill["component"] == name]
        assert summary["instances"][name] == 1 + len(killed)
    assert summary["exit_codes"].keys() >= set(MORTALS)
    assert not any(summary["exit_codes"].values())


def test_what_the_gateway_took_along_came_back_or_is_told_of(summary: dict[str, Any]) -> None:
    gaps = summary["gaps"]
    assert gaps["injected"] == gaps["detected"] == gaps["healed"] > 0
    assert summary["lost_books"]["changes"] > 0
    assert summary["lost_books"]["unnamed"] == 0
    assert summary["gaps_by_state"]["book permanent"] >= 2  # one of each product


def test_every_grant_was_needed(summary: dict[str, Any]) -> None:
    """That none was lacking is among the losses."""
    unused = {grant for grants in summary["unused_grants"].values() for grant in grants}
    assert unused == {
        # No emulator knows these three.
        "roles/monitoring.metricWriter on project",
        "roles/quotewatchBilledCaller on project",
        "roles/secretmanager.secretAccessor on secret quotewatch-catalog",
        # Nothing was published that is no frame.
        "roles/storage.objectUser on folder quarantine/",
    }


def test_no_message_was_given_up(summary: dict[str, Any]) -> None:
    assert not any(summary["dead_letters"].values())
    assert summary["quarantined"] == 0
    assert summary["rejected"] == {}


def test_cloud_monitoring_refused_nothing_and_knows_each_component(
    summary: dict[str, Any],
) -> None:
    exports = summary["exports"]
    assert (exports["refused"], exports["losses"]) == (0, [])
    assert all(exports["tasks"][name] >= 1 for name in MORTALS)
    assert exports["exact"] > 0


def test_no_instance_left_anything_on_its_disk(summary: dict[str, Any]) -> None:
    assert summary["stray_files"] == []


def descendants(pid: int) -> list[int]:
    """Return all that a process has started, and they."""
    children: dict[int, list[int]] = {}
    for each, parent, _ in processes():
        children.setdefault(parent, []).append(each)

    def below(parent: int) -> Iterator[int]:
        for child in children.get(parent, ()):
            yield child
            yield from below(child)

    return list(below(pid))


def test_nothing_outlives_a_run_that_is_killed(tmp_path: Path) -> None:
    run = start("--seconds", "60", "--data", str(tmp_path / "run"))
    assert run.stdout is not None
    with run.stdout:
        running = next((line for line in run.stdout if "6 of 6 functions" in line), "")
        started = descendants(run.pid)
        run.kill()
        run.wait()
    assert running
    assert len(started) > 2 * len(MORTALS)
    wait_for(lambda: not any(map(is_alive, started)))
