"""The demo as people run it: what is sent is in the tables, or the faults say why it is not."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
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
    return 0 if table is None else table.scan().to_arrow().num_rows


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def assert_learnt(tables: Tables, run: Demo) -> None:
    """Say that each features row was the same wherever it was met, and its label is right."""
    stored = Counter(run.summary["stored"])
    assert assert_copied(tables) == stored["labels"]
    assert assert_labelled(tables, 500) == stored["labels"]
    store = ModelStore(LocalObjects(run.data / "objects"), 500)
    assert assert_answered(tables, store) == stored["predictions"]
    model = run.summary["model"]
    assert model["labels"] == stored["labels"]
    current = store.current()
    assert (model["version"] if model["ready"] else None) == (current.version if current else None)


def test_nothing_is_missing_and_nothing_doubled(tmp_path: Path) -> None:
    assert any(is_lossless_and_labelled(tmp_path / each, each) for each in ("12", "60"))


def is_lossless_and_labelled(folder: Path, seconds: str) -> bool:
    """Judge a run; say whether it was long enough for labels on a machine as busy as this.

    The market does not wait for a gateway that starts slowly, and labels take 2.5 s of it.
    """
    with demos(folder, "--seconds", seconds) as started:
        for each in started.values():
            screen = each.end()
            assert each.process.returncode == 0, screen
            summary = each.summary
            assert summary["missing"] == dict.fromkeys(STREAMS, 0), screen
            assert summary["duplicates"] == dict.fromkeys((*STREAMS, "labels"), 0), screen
            assert summary["gaps"]["injected"] == 0, screen
            assert "unexpected" not in summary
            assert "loss" not in summary
            assert set(summary["frames"]) == set(STREAMS)
            if summary["frames"]["features"]["rows"]:
                assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p99"]
            for place in (each.data, each.data / "warehouse", each.truth, each.summary_file):
                assert str(place) in screen.replace("\n", "").replace(" ", "")
            assert f"python -m quotewatch sql --data {each.data}" in screen
            # Everything that was on the bus is in the tables, for another look.
            tables = Tables(catalog_properties("", "", each.data))
            for stream, known in summary["frames"].items():
                assert known["rows"] == count_rows(tables, stream)
                assert known["rows"] == summary["stored"].get(stream, 0)
            assert audit(TableFrames(tables), each.truth).is_lossless
            assert assert_recomputed(tables) == summary["stored"].get("features", 0)
            assert_learnt(tables, each)
            tables.close()
    sent = {name: Counter(each.summary["sent"]) for name, each in started.items()}
    return (
        sent["exchange"]["l2update"] > 100
        and sent["advanced"]["l2_data"] > 100
        and all(each.summary["stored"].get("labels") for each in started.values())
    )


def test_every_fault_is_explained(tmp_path: Path) -> None:
    assert any(is_explained(tmp_path / each, each) for each in ("15", "60"))


def is_explained(folder: Path, seconds: str) -> bool:
    """Judge a run; say whether its gateway was there in time for the faults to happen."""
    with demos(folder, "--seconds", seconds, "--faults", "all", "--seed", "7") as started:
        for each in started.values():
            screen = each.end()
            assert each.process.returncode == 0, screen
            summary = each.summary
            assert summary["missing"] == dict.fromkeys(STREAMS, 0), screen
            assert summary["duplicates"] == dict.fromkeys((*STREAMS, "labels"), 0), screen
            assert "unexpected" not in summary
            assert "loss" not in summary
            # Whatever trade anybody could know of was fetched.
            gaps = summary["gaps"]
            assert gaps["healed"] == gaps["detected"]
            assert gaps["open"] == gaps.get("too_early", 0) + gaps.get("too_late", 0)
            tables = Tables(catalog_properties("", "", each.data))
            assert_learnt(tables, each)
            tables.close()
    return all(
        all(each.summary["injected"].get(name) for name in ("silence", "restart", "malformed"))
        and sum(each.summary["rejected"].values()) > 0
        and each.summary["gaps"]["detected"] > 0
        for each in started.values()
    )


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
