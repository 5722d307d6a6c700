"""Stages from the command line: one JSON report a run, and an exit code that tells."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from quotewatch.__main__ import main
from quotewatch.bus.port import Message
from quotewatch.bus.sqlite import SqliteBus
from quotewatch.bus.topology import COMMITTED, topology
from quotewatch.frames import FrameEncoder, decode
from quotewatch.local.stage_runner import NAMES
from quotewatch.tables.catalog import Tables, catalog_properties
from tests.emulator import free_port
from tests.fakes.rest import HANG, Reply, TradesOverRest, trades_over_rest
from tests.functions.serving import DOORS
from tests.tables.desk import frame, open_desk, store
from tests.tables.labelled import steady, store_some

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 60.0  # far beyond what is needed: only a failure waits so long


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("QUOTEWATCH_")]:
        monkeypatch.delenv(name)


@dataclass
class Asked(TradesOverRest):
    """Says when the first request is there."""

    asked: Event = field(default_factory=Event)

    def answer(self, path: str) -> Reply:
        self.asked.set()
        return super().answer(path)


@contextmanager
def started(*arguments: str, **variables: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a stage until it is stopped."""
    process = subprocess.Popen(
        [sys.executable, "-m", "quotewatch", "stage", *arguments],
        cwd=ROOT,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def report(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None
    line: dict[str, Any] = json.loads(process.stdout.readline())
    return line


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """Run a command here; return its exit code and what it said, line by line."""
    code = main(arguments)
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def make_a_hole(data: Path) -> None:
    with open_desk(data) as committer:
        first = frame("raw_trades", 0, rows=1, first_id=5)
        store(committer, [first, frame("raw_trades", 1, rows=1, first_id=9)])


def test_every_door_is_a_stage_here() -> None:
    assert sorted(NAMES) == sorted(path.stem for path in DOORS.glob("[a-z]*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_a_stage_runs_once_on_a_directory_where_nothing_is(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "new"
    code, lines = run(capsys, "stage", name, "--once", "--data", str(data))
    assert (code, len(lines)) == (0, 1)
    assert data.is_dir()


def test_what_failed_is_in_the_report_and_in_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_a_hole(tmp_path)
    tables = Tables(catalog_properties("", "", tmp_path))
    table = tables.load("raw_trades")
    table.append(table.scan().to_arrow())  # a stranger: it hides the ledger
    tables.close()
    code, lines = run(capsys, "stage", "reconcile", "--once", "--data", str(tmp_path))
    assert code == 1
    assert "repair-ledger raw_trades" in lines[0]["error"]
    code, lines = run(capsys, "repair-ledger", "raw_trades", "--data", str(tmp_path))
    assert (code, lines[0]["rows"]) == (0, 4)
    code, lines = run(capsys, "stage", "reconcile", "--once", "--data", str(tmp_path))
    assert (code, lines[0]["missing"]["raw_trades"]) == (0, 3)


def test_a_stage_that_nobody_has_is_refused_with_those_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["stage", "wirte", "--once"]) == 2
    assert "no such stage: wirte; there are write, label, train, " in capsys.readouterr().err


def test_settings_that_are_refused_end_it_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUOTEWATCH_REST_URL", "ftp://example")
    assert main(["stage", "write", "--once", "--data", str(tmp_path / "new")]) == 2
    assert "QUOTEWATCH_REST_URL" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_sigterm_between_two_runs_ends_it_well(tmp_path: Path) -> None:
    with started("write", "--every", "3600", "--data", str(tmp_path)) as process:
        assert report(process)["streams"]["events"]["error"] is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0


def test_sigterm_during_a_run_waits_for_its_end(tmp_path: Path) -> None:
    make_a_hole(tmp_path)
    with trades_over_rest(Asked(range(1, 20))) as exchange:
        assert isinstance(exchange, Asked)
        exchange.first_replies.append(HANG)
        variables = {"QUOTEWATCH_SETTLE_S": "0", "QUOTEWATCH_REST_URL": exchange.url}
        arguments = ("reconcile", "--every", "0.01", "--data", str(tmp_path))
        with started(*arguments, **variables) as process:
            assert exchange.asked.wait(PATIENCE_SECONDS)
            process.send_signal(signal.SIGTERM)
            exchange.released.set()  # the answer that never came is one that failed: again
            assert report(process)["healed"] == 1
            assert process.wait(PATIENCE_SECONDS) == 0
            assert process.stdout is not None
            assert process.stdout.read() == ""


def test_a_run_that_failed_last_is_the_exit_code_of_a_loop(tmp_path: Path) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    arguments = ("write", "--every", "3600", "--data", str(tmp_path))
    with started(*arguments, QUOTEWATCH_CATALOG=gone) as process:
        assert "did not answer" in report(process)["streams"]["events"]["error"]
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) == 1


def test_label_does_not_wait_for_its_time_when_features_are_committed(tmp_path: Path) -> None:
    frames = steady(6).feature_frames([10] * 6)
    with open_desk(tmp_path) as committer, closing(SqliteBus(tmp_path / "bus.db")) as bus:
        store_some(committer, frames[:2])
        with started("label", "--every", "3600", "--data", str(tmp_path)) as process:
            assert report(process)["horizons"]["500"]["labelled"] == 0
            made = topology()
            bus.create(made.topics, made.subscriptions)
            store_some(committer, frames[2:])
            bus.publish(COMMITTED, [Message(b"news", {"table": "raw_orderbook"})])
            bus.publish(COMMITTED, [Message(b"news", {"table": "features"})])
            assert report(process)["horizons"]["500"]["labelled"] == 30
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_SECONDS) == 0


def test_what_waits_is_pushed_to_predict(tmp_path: Path) -> None:
    frames = steady(1).feature_frames([5, 5])
    with closing(SqliteBus(tmp_path / "bus.db")) as bus:
        made = topology()
        bus.create(made.topics, made.subscriptions)
        with started("predict", "--every", "0.1", "--data", str(tmp_path)) as process:
            bus.publish("features", [FrameEncoder().encode(each) for each in frames])
            answered = 0
            while answered < len(frames):
                answered += report(process).get("frames", 0)
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_SECONDS) == 0
        waiting = bus.peek("predictions.write")
    answers = [decode(each.message) for each in waiting]
    assert [(each.id.epoch, each.id.seq) for each in answers] == [
        (each.id.epoch, each.id.seq) for each in frames
    ]
    assert all(each.rows.num_rows == 0 for each in answers)  # nobody has learnt anything


@pytest.mark.parametrize("command", [["redrive"], ["repair-ledger", "events"], ["tables"]])
def test_a_directory_without_a_run_is_refused_and_stays_empty(
    command: list[str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "quotewatch", *command, "--data", str(tmp_path / "typo")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "name the data directory of a run with --data" in done.stderr
    assert not (tmp_path / "typo").exists()
