"""The demo as people run it: what is sent is in the tables, or the faults say why it is not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quotewatch.learning.store import ModelStore
from quotewatch.local.proof.audit import audit
from quotewatch.local.proof.sources import TableFrames
from quotewatch.objects.local import LocalObjects
from quotewatch.tables.catalog import Tables, catalog_properties
from tests.availability import cannot_run
from tests.local.demos import PATIENCE_SECONDS, ROOT, Demo, demo, demos
from tests.tables.parity import (
    assert_answered,
    assert_copied,
    assert_labelled,
    assert_recomputed,
)

STREAMS = ("raw_orderbook", "raw_trades", "features", "events", "predictions")


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
