"""The demo as people run it: what is sent is in the tables, or the faults say why it is not."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from quotewatch.learning.store import ModelStore
from quotewatch.local.proof.audit import audit
from quotewatch.local.proof.sources import TableFrames
from quotewatch.objects.local import LocalObjects
from quotewatch.tables.catalog import Tables, catalog_properties
from tests.availability import cannot_run
from tests.tables.parity import (
    assert_answered,
    assert_copied,
    assert_labelled,
    assert_recomputed,
)

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 120.0  # a busy machine is slow, not wrong
DIALECTS = ("exchange", "advanced")
STREAMS = ("raw_orderbook", "raw_trades", "features", "events", "predictions")
STAGES = ("write", "predict", "label", "train", "reconcile", "maintain")
CHILDREN = ("ingest_gateway", "simulate", *(f"stage {name}" for name in STAGES))


class Demo:
    """One demo in a process of its own."""

    def __init__(self, folder: Path, *flags: str) -> None:
        folder.mkdir()
        self.data = folder / "data"
        self.truth = folder / "truth.jsonl"
        self.summary_file = folder / "summary.json"
        places = {"--data": self.data, "--truth": self.truth, "--summary": self.summary_file}
        named = [str(part) for place in places.items() for part in place]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "quotewatch", "demo", *named, *flags],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def end(self) -> str:
        """Wait for the end and return the screen."""
        screen, _ = self.process.communicate(timeout=PATIENCE_SECONDS)
        return screen

    @property
    def summary(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self.summary_file.read_text())
        return read

    def log(self) -> str:
        file = self.data / "gateway.log"
        return file.read_text() if file.exists() else ""

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, self.log()
            assert self.process.poll() is None, self.end()
            time.sleep(0.02)

    def wait_until_it_captures(self) -> None:
        self.wait_until(lambda: '"snapshot"' in self.log())

    def wait_until_all_run(self) -> dict[str, int]:
        self.wait_until_it_captures()
        self.wait_until(lambda: self.children().keys() == set(CHILDREN))
        return self.children()

    def children(self) -> dict[str, int]:
        """Return the processes it started, by what they run."""
        own = [(pid, command) for pid, parent, command in processes() if parent == self.process.pid]
        return {name: pid for pid, command in own for name in CHILDREN if f" {name}" in command}


@contextlib.contextmanager
def demos(folder: Path, *flags: str) -> Iterator[dict[str, Demo]]:
    """Run both dialects beside each other: a demo mostly waits for its market."""
    started = {name: Demo(folder / name, "--dialect", name, *flags) for name in DIALECTS}
    try:
        yield started
    finally:
        for each in started.values():
            each.process.kill()
            each.process.communicate()


@contextlib.contextmanager
def demo(folder: Path, *flags: str) -> Iterator[Demo]:
    started = Demo(folder / "demo", *flags)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.communicate()


def processes() -> Iterator[tuple[int, int, str]]:
    """List every process, its parent and its command."""
    if not Path("/proc/self/stat").exists():
        listed = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
        ).stdout
        for line in listed.splitlines():
            pid, parent, command = line.split(maxsplit=2)
            yield int(pid), int(parent), command
        return
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended since
            after_name = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_text().replace("\0", " ")
            yield int(folder.name), int(after_name[1]), command


def count_rows(tables: Tables, name: str) -> int:
    table = tables.find(name)
    assert table is not None
    return table.scan().to_arrow().num_rows


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def assert_learnt(tables: Tables, run: Demo) -> None:
    """Say that each features row was the same wherever it was met, and its label is right."""
    assert assert_copied(tables) == run.summary["stored"]["labels"]
    assert assert_labelled(tables, 500) == run.summary["stored"]["labels"]
    store = ModelStore(LocalObjects(run.data / "objects"), 500)
    assert assert_answered(tables, store) == run.summary["stored"]["predictions"]
    model = run.summary["model"]
    assert model["labels"] == run.summary["stored"]["labels"]
    current = store.current()
    assert (model["version"] if model["ready"] else None) == (current.version if current else None)


def test_nothing_is_missing_and_nothing_doubled(tmp_path: Path) -> None:
    # The market does not wait for a gateway that starts slowly, and labels take 2.5 s of it.
    with demos(tmp_path, "--seconds", "12") as started:
        for dialect, each in started.items():
            screen = each.end()
            assert each.process.returncode == 0, screen
            summary = each.summary
            assert summary["missing"] == dict.fromkeys(STREAMS, 0), screen
            assert summary["duplicates"] == dict.fromkeys((*STREAMS, "labels"), 0), screen
            assert summary["gaps"]["injected"] == 0, screen
            assert "unexpected" not in summary
            assert "loss" not in summary
            assert set(summary["frames"]) == set(STREAMS)
            assert summary["frames"]["features"]["rows"] > 0
            assert summary["sent"]["l2update" if dialect == "exchange" else "l2_data"] > 100
            assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p99"]
            for place in (each.data, each.data / "warehouse", each.truth, each.summary_file):
                assert str(place) in screen.replace("\n", "").replace(" ", "")
            assert f"python -m quotewatch sql --data {each.data}" in screen
            # Everything that was on the bus is in the tables, for another look.
            tables = Tables(catalog_properties("", "", each.data))
            for stream, known in summary["frames"].items():
                assert known["rows"] == summary["stored"][stream] == count_rows(tables, stream)
            assert audit(TableFrames(tables), each.truth).is_lossless
            assert assert_recomputed(tables) == summary["stored"]["features"]
            assert summary["stored"]["labels"] > 0
            assert_learnt(tables, each)
            tables.close()


def test_every_fault_is_explained(tmp_path: Path) -> None:
    with demos(tmp_path, "--seconds", "15", "--faults", "all", "--seed", "7") as started:
        for each in started.values():
            screen = each.end()
            assert each.process.returncode == 0, screen
            summary = each.summary
            assert summary["missing"] == dict.fromkeys(STREAMS, 0), screen
            assert summary["duplicates"] == dict.fromkeys((*STREAMS, "labels"), 0), screen
            assert sum(summary["rejected"].values()) > 0, screen
            assert summary["gaps"]["injected"] > 0
            assert summary["gaps"]["detected"] > 0
            # Whatever trade anybody could know of was fetched.
            assert summary["gaps"]["healed"] == summary["gaps"]["detected"]
            assert summary["gaps"]["open"] == summary["gaps"].get("too_late", 0)
            tables = Tables(catalog_properties("", "", each.data))
            assert_learnt(tables, each)
            tables.close()
            assert summary["injected"]["silence"] > 0
            assert summary["injected"]["restart"] == 1


def test_ctrl_c_ends_in_peace_and_tells(tmp_path: Path) -> None:
    with demo(tmp_path, "--seconds", "300") as started:
        children = started.wait_until_all_run()
        started.process.send_signal(signal.SIGINT)
        screen = started.end()
        assert started.process.returncode == 0, screen
        assert not any(map(is_alive, children.values()))
        assert started.summary["missing"] == dict.fromkeys(STREAMS, 0), screen
        assert "Traceback" not in screen
        assert started.summary["seconds"] < 300


def test_a_gateway_that_dies_ends_the_demo_with_its_log(tmp_path: Path) -> None:
    with demo(tmp_path, "--seconds", "300") as started:
        children = started.wait_until_all_run()
        os.kill(children["ingest_gateway"], signal.SIGKILL)
        screen = started.end()
        assert started.process.returncode == 1
        assert "the gateway ended early (killed by SIGKILL)" in screen
        assert '"listening"' in screen
        assert "Traceback" not in screen
        assert not any(map(is_alive, children.values()))


def test_children_end_when_the_demo_is_killed(tmp_path: Path) -> None:
    if sys.platform != "linux":
        cannot_run("only Linux tells a child that its parent was killed")
    with demo(tmp_path, "--seconds", "300") as started:
        started.wait_until_it_captures()
        started.process.kill()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while '"stopped"' not in started.log():
            assert time.monotonic() < deadline, started.log()
            time.sleep(0.02)


@pytest.mark.parametrize("flag", ["--summary", "--truth"])
def test_what_cannot_be_written_is_refused_before_the_run(flag: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "quotewatch", "demo", "--data", str(tmp_path / "data"), flag,
         str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert flag in done.stderr
    assert not (tmp_path / "data").exists()
