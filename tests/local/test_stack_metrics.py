"""One page for all processes of a run: whose a series is, and nothing of an earlier run."""

from pathlib import Path

from quotewatch.local.stack_metrics import StackMetrics, forget_pages, merged, metrics_file
from quotewatch.metrics.recorder import Recorder
from tests.emulator import free_port
from tests.servers.prometheus import check_metrics

ACKS = "processor_acks_total"


def page(count: int, owner: str = "write") -> bytes:
    recorder = Recorder("test", (owner,))
    recorder.inc("stage_runs_total", count, stage=owner, outcome="ok")
    return recorder.exposition()


def test_the_same_series_of_two_processes_stay_two() -> None:
    text = merged({"write": page(3), "settling": page(4)}).decode()
    labels = 'environment="test",outcome="ok",process="{}",stage="write"'
    assert f"stage_runs_total{{{labels.format('write')}}} 3.0" in text
    assert f"stage_runs_total{{{labels.format('settling')}}} 4.0" in text
    assert check_metrics(text.encode()) == []


def test_pages_that_were_left_and_what_is_recorded_here_stand_together(tmp_path: Path) -> None:
    recorder = Recorder("test", ("console",))
    stage = Recorder("test", ("write",))
    stage.inc(ACKS, 5)
    stage.leave(str(metrics_file(tmp_path, "write")))
    shown = StackMetrics(tmp_path, lambda: None, {"console": recorder}).exposition().decode()
    assert f'{ACKS}{{environment="test",process="write"}} 5.0' in shown
    assert 'dashboard_callbacks_total{environment="test",process="console"} 0.0' in shown


def test_an_earlier_run_is_forgotten(tmp_path: Path) -> None:
    Recorder("test", ("write",)).leave(str(metrics_file(tmp_path, "settling")))
    forget_pages(tmp_path)
    assert StackMetrics(tmp_path, lambda: None, {}).exposition() == b""


def test_a_gateway_that_does_not_answer_is_left_out(tmp_path: Path) -> None:
    stage = Recorder("test", ("write",))
    stage.leave(str(metrics_file(tmp_path, "write")))
    assert ACKS in StackMetrics(tmp_path, free_port, {}).exposition().decode()


def test_a_page_that_cannot_be_written_fails_nothing(tmp_path: Path) -> None:
    (tmp_path / "full").write_text("a file where a folder should be")
    Recorder("test", ("write",)).leave(str(tmp_path / "full" / "write.prom"))
