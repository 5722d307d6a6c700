"""What a function counts reaches Cloud Monitoring, however short it lives."""

import signal
from pathlib import Path

import grpc  # type: ignore[import-untyped]  # grpcio carries no types
import pytest

from tests.emulator import running_emulator
from tests.fakes.monitoring import MonitoringFake
from tests.functions.serving import serving
from tests.functions.test_push_doors import machine, objects_of, push
from tests.learning.test_serving import serve
from tests.stages.test_predict import FIRST, asked, features

RUNS = "stage_runs_total"


def places(data: Path, fake: MonitoringFake) -> dict[str, str]:
    return {
        "QUOTEWATCH_DATA_DIR": str(data),
        "QUOTEWATCH_MONITORING": f"grpc://{fake.address}",
    }


def test_what_one_call_counted_is_there_with_its_answer(tmp_path: Path) -> None:
    with MonitoringFake() as fake, serving("write", tmp_path, **places(tmp_path, fake)) as door:
        assert door.call().status == 200
        assert fake.latest(RUNS, stage="write", outcome="ok") == 1  # it may be killed now
        assert fake.latest("processor_consumer_reads_total", result="empty") == 5
        assert {each.resource_labels["job"] for each in fake.held()} == {"write"}
        assert fake.refusals == []


def test_what_the_last_calls_counted_is_sent_when_the_instance_goes(tmp_path: Path) -> None:
    with MonitoringFake() as fake, serving("write", tmp_path, **places(tmp_path, fake)) as door:
        for _ in range(3):  # too close to each other for an export each
            assert door.call().status == 200
        assert fake.latest(RUNS, stage="write", outcome="ok") == 1
        door.end(signal.SIGTERM)
        assert fake.latest(RUNS, stage="write", outcome="ok") == 3
        assert fake.refusals == []


@pytest.mark.parametrize("bad_day", ["down", "denied", "gone"])
def test_a_function_does_not_notice_that_monitoring_fails(tmp_path: Path, bad_day: str) -> None:
    with MonitoringFake() as fake, serving("write", tmp_path, **places(tmp_path, fake)) as door:
        if bad_day == "down":
            fake.always_fail(grpc.StatusCode.UNAVAILABLE)
        elif bad_day == "denied":
            fake.deny()
        else:
            fake.stop()
        assert door.call().status == 200
        assert fake.series(RUNS) == []
    said = [line for line in door.lines if "metrics_export_failed" in line]
    assert len(said) == 1, "".join(door.lines)


def test_a_call_whose_stage_cannot_be_made_is_counted_as_failed(tmp_path: Path) -> None:
    (tmp_path / "bus.db").mkdir()  # no bus can be opened there
    with MonitoringFake() as fake, serving("write", tmp_path, **places(tmp_path, fake)) as door:
        assert door.call().status == 500
        assert fake.latest(RUNS, stage="write", outcome="failed") == 1
        assert fake.series("stage_last_success_timestamp_seconds") == []


def test_a_pushed_function_exports_now_and_then_and_at_its_end(tmp_path: Path) -> None:
    serve(objects_of(tmp_path), FIRST)
    with (
        MonitoringFake() as fake,
        machine(tmp_path, QUOTEWATCH_MONITORING=f"grpc://{fake.address}") as (door, _),
    ):
        for seq in range(4):
            assert push(door, asked(seq, features(3))).status == 200
        assert fake.latest(RUNS, stage="predict", outcome="ok") == 1
        door.end(signal.SIGTERM)
        assert fake.latest(RUNS, stage="predict", outcome="ok") == 4
        assert sum(each.newest.value for each in fake.series("ml_predictions_total")) == 12  # type: ignore[misc]


def test_on_pubsub_the_last_counts_are_exported_too(tmp_path: Path) -> None:
    with running_emulator(tmp_path / "emulator.log") as emulator, MonitoringFake() as fake:
        places = {
            "QUOTEWATCH_BUS": "pubsub",
            "QUOTEWATCH_PROJECT": "p",
            "PUBSUB_EMULATOR_HOST": emulator,
            "QUOTEWATCH_DATA_DIR": str(tmp_path),
            "QUOTEWATCH_MONITORING": f"grpc://{fake.address}",
        }
        with serving("write", tmp_path, **places) as door:
            for _ in range(2):
                assert door.call().status == 200
            door.end(signal.SIGTERM)
            assert fake.latest(RUNS, stage="write", outcome="ok") == 2
