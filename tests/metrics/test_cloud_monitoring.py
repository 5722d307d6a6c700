"""What is counted arrives in Cloud Monitoring, exactly, and a failure of it is noted, no more.

Cloud Monitoring is a strict fake over real gRPC: it refuses what the real one refuses.
"""

import itertools
import threading
import time as real_time
from collections.abc import Iterator
from typing import Any

import grpc  # type: ignore[import-untyped]  # grpcio carries no types
import pytest
from structlog.testing import capture_logs

from quotewatch.metrics.catalogue import CATALOGUE, metrics_of
from quotewatch.metrics.cloud_monitoring import LEAST_SPACING_SECONDS
from quotewatch.metrics.recorder import MOST_SERIES, Recorder
from quotewatch.metrics.sending import SERIES_A_CALL, connect
from quotewatch.metrics.series import descriptor_of, type_of
from tests.fakes.monitoring import Distribution
from tests.metrics.desk import PROJECT, Desk, open_desk
from tests.metrics.test_recorder import record_all

COUNTER, GAUGE, HISTOGRAM = (
    "gateway_publish_failures_total",
    "gateway_queue_bytes",
    "gateway_publish_seconds",
)
REFUSED = "metrics_export_failed"


@pytest.fixture
def desk() -> Iterator[Desk]:
    with open_desk() as opened:
        yield opened


def points(recorder: Recorder) -> int:
    return len(list(recorder.samples()))


def events(logs: list[Any]) -> list[str]:
    return [each["event"] for each in logs if each["event"].startswith("metrics_export")]


# What arrives


def test_counts_gauges_and_distributions_arrive_as_they_are(desk: Desk) -> None:
    recorder = desk.recorder()
    exporter = desk.exporter(recorder)
    recorder.inc(COUNTER, 3)
    recorder.set(GAUGE, 7.5)
    for seconds in (0.002, 0.002, 0.3, 99.0):
        recorder.observe(HISTOGRAM, seconds)
    desk.export(exporter)
    assert desk.fake.latest(COUNTER) == 3
    assert desk.fake.latest(GAUGE) == 7.5
    found = desk.fake.latest(HISTOGRAM)
    assert isinstance(found, Distribution)
    assert found.count == sum(found.counts) == 4
    assert found.mean == pytest.approx(99.304 / 4)
    assert found.counts[-1] == 1
    assert tuple(found.bounds) == CATALOGUE[HISTOGRAM].buckets
    assert desk.fake.refusals == []
    assert recorder.value("metrics_exports_total", result="ok") == 1


def test_counts_begin_with_the_process_and_gauges_have_no_beginning(desk: Desk) -> None:
    recorder = desk.recorder()
    exporter = desk.exporter(recorder)
    recorder.set(GAUGE, 1)
    began = desk.time.wall
    desk.export(exporter)
    recorder.inc(COUNTER)
    desk.export(exporter)
    (counter,) = desk.fake.series(COUNTER)
    assert [(each.start_ns, each.value) for each in counter.points] == [
        (began * 1e9, 0), (began * 1e9, 1),
    ]  # fmt: skip
    assert [each.end_ns for each in counter.points] == [(began + 60) * 1e9, (began + 120) * 1e9]
    (gauge,) = desk.fake.series(GAUGE)
    assert all(each.start_ns in {None, each.end_ns} for each in gauge.points)


def test_all_of_the_catalogue_is_taken(desk: Desk) -> None:
    recorder = Recorder("test", now=desk.time.now)
    exporter = desk.exporter(recorder, "all")
    record_all(recorder)
    desk.export(exporter)
    assert desk.fake.refusals == []
    for name in CATALOGUE.keys() - {"metrics_export_seconds"}:
        assert desk.fake.series(name), name


def test_a_process_exports_its_own_metrics_only(desk: Desk) -> None:
    recorder = desk.recorder("train")
    exporter = desk.exporter(recorder, "train")
    recorder.observe("ml_train_duration_seconds", 0.1)
    desk.export(exporter)
    types = {each.metric.type for request in desk.fake.writes for each in request.time_series}
    assert types <= {type_of(metric.name) for metric in metrics_of("train")}


def test_every_series_says_where_it_comes_from(desk: Desk) -> None:
    recorder = desk.recorder("write")
    exporter = desk.exporter(recorder, "write")
    desk.export(exporter)
    for each in desk.fake.series("processor_acks_total"):
        assert each.resource_type == "generic_task"
        labels = dict(each.resource_labels)
        assert labels.pop("task_id")
        assert labels == {
            "project_id": PROJECT, "location": "global", "namespace": "quotewatch",
            "job": "write",
        }  # fmt: skip
        assert dict(each.labels) == {"environment": "test"}


def test_many_series_go_in_calls_of_two_hundred(desk: Desk) -> None:
    recorder = desk.recorder()
    exporter = desk.exporter(recorder)
    for number in range(450):
        recorder.set("coinbase_last_trade_id", number, product=f"C{number}-USD")
    desk.export(exporter)
    sizes = [len(request.time_series) for request in desk.fake.writes]
    assert max(sizes) == SERIES_A_CALL
    assert len(sizes) == -(-sum(sizes) // SERIES_A_CALL)
    assert len(desk.fake.series("coinbase_last_trade_id")) == 450


# Descriptors


def test_descriptors_are_made_before_the_first_point_and_once(desk: Desk) -> None:
    for _ in range(2):
        recorder = desk.recorder()
        exporter = desk.exporter(recorder)
        desk.export(exporter)
        desk.export(exporter)
    assert desk.fake.calls["CreateMetricDescriptor"] == len(metrics_of("gateway"))
    assert desk.fake.calls["ListMetricDescriptors"] == 2
    assert desk.fake.refusals == []


def test_a_metric_whose_descriptor_is_another_is_left_out_and_told_of_once(desk: Desk) -> None:
    client = connect(desk.fake.address)
    other = descriptor_of(CATALOGUE[GAUGE])
    other.type = type_of(COUNTER)
    client.create_metric_descriptor(name=f"projects/{PROJECT}", metric_descriptor=other)
    client.transport.close()  # type: ignore[no-untyped-call]
    recorder = desk.recorder()
    exporter = desk.exporter(recorder)
    recorder.set(GAUGE, 4)
    with capture_logs() as logs:
        desk.export(exporter)
        desk.export(exporter)
    assert desk.fake.latest(GAUGE) == 4
    assert desk.fake.series(COUNTER) == []
    assert desk.lost(recorder) == {"descriptor": 2}
    refused = [each for each in logs if each["event"] == "metric_descriptor_refused"]
    assert [each["metric"] for each in refused] == [type_of(COUNTER)]
    assert events(logs) == [REFUSED]
    client = connect(desk.fake.address)
    client.delete_metric_descriptor(name=f"projects/{PROJECT}/metricDescriptors/{type_of(COUNTER)}")
    client.transport.close()  # type: ignore[no-untyped-call]
    desk.time.pass_by(3_600)  # as long as it does not look again
    desk.export(exporter)
    assert desk.fake.latest(COUNTER) == 0


def test_a_descriptor_that_another_instance_makes_at_the_same_time_is_no_failure(
    desk: Desk,
) -> None:
    recorder = desk.recorder()
    exporter = desk.exporter(recorder)
    desk.fake.fail(grpc.StatusCode.ABORTED, method="CreateMetricDescriptor")
    desk.export(exporter)
    desk.export(exporter)
    assert recorder.value("metrics_exports_total", result="failed") == 0
    assert len({each.metric_type for each in desk.fake.held()}) > 10


@pytest.mark.parametrize("answer", ["PERMISSION_DENIED", "UNIMPLEMENTED"])
def test_descriptors_that_may_not_be_listed_are_made_all_the_same(desk: Desk, answer: str) -> None:
    recorder = desk.recorder()
    exporter = desk.exporter(recorder)
    desk.fake.fail(getattr(grpc.StatusCode, answer), method="ListMetricDescriptors")
    recorder.inc(COUNTER, 2)
    desk.export(exporter)
    assert desk.fake.latest(COUNTER) == 2
    assert desk.fake.refusals == []


def test_an_account_that_may_only_write_points_writes_points(desk: Desk) -> None:
    desk.export(desk.exporter(desk.recorder()))  # as Terraform: all descriptors are there
    recorder = desk.recorder()
    exporter = desk.exporter(recorder)
    for method in ("ListMetricDescriptors", "CreateMetricDescriptor"):
        desk.fake.fail(grpc.StatusCode.PERMISSION_DENIED, times=100, method=method)
    recorder.inc(COUNTER, 2)
    desk.export(exporter)
    assert recorder.value("metrics_exports_total", result="ok") == 1
    assert desk.fake.refusals == []


# Many processes


def test_two_instances_of_one_function_never_mix_their_counts(desk: Desk) -> None:
    recorders = [desk.recorder("write") for _ in range(2)]
    exporters = [desk.exporter(each, "write") for each in recorders]
    for count in (2, 3):
        for recorder, exporter in zip(recorders, exporters, strict=True):
            recorder.inc("processor_acks_total", count)
            desk.export(exporter)
    assert desk.fake.refusals == []
    assert len(desk.fake.series("processor_acks_total")) == 2
    assert desk.total("processor_acks_total") == 10


def test_an_instance_that_starts_again_is_a_reset_and_not_a_dip(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The cloud gives the same name again.
    monkeypatch.setattr("quotewatch.metrics.place.secrets.token_hex", lambda _: "the-same")
    for counted in (100, 5):
        recorder = desk.recorder()
        exporter = desk.exporter(recorder)
        recorder.inc(COUNTER, counted)
        desk.export(exporter)
        exporter.close(0.5)
        desk.time.pass_by(1)
    (series,) = desk.fake.series(COUNTER)
    assert desk.fake.refusals == []
    values = [(each.start_ns, each.value) for each in series.points]
    assert (values[0][1], values[-1][1]) == (100, 5)
    assert values[-1][0] > series.points[-2].end_ns  # a new beginning, so a rate never falls


# The last values


@pytest.mark.parametrize("gap", [0.0, 0.3, 0.49, 1.0, 4.9, 5.1, 60.0])
def test_the_last_export_waits_until_it_may(desk: Desk, gap: float) -> None:
    recorder = desk.recorder()
    exporter = desk.exporter(recorder)
    desk.export(exporter)
    recorder.inc(COUNTER, 2)
    desk.time.pass_by(gap)
    before = desk.time.running
    exporter.close(within_seconds=8)
    waited = desk.time.running - before
    assert waited == pytest.approx(max(0.0, LEAST_SPACING_SECONDS + 0.2 - gap))
    assert desk.fake.latest(COUNTER) == 2
    assert desk.fake.refusals == []


def test_an_export_that_is_on_its_way_is_waited_for(desk: Desk) -> None:
    recorder = desk.recorder()
    desk.time.wall = real_time.time()
    recorder.started = real_time.time() - 60
    asked = threading.Event()

    def now() -> float:
        asked.set()  # it has looked at the values, and now at the clock
        return real_time.time()

    exporter = desk.exporter(
        recorder, monotonic=real_time.monotonic, now=now, sleep=real_time.sleep
    )
    desk.fake.slow(0.03)  # each of thirty calls
    first = threading.Thread(target=exporter.flush)
    first.start()
    asked.wait()
    recorder.inc(COUNTER, 7)
    desk.time.wall += 60  # what the fake holds for now
    exporter.close(within_seconds=8)
    first.join()
    assert desk.fake.latest(COUNTER) == 7


def test_exports_are_no_closer_than_asked_and_nothing_is_lost_by_that(desk: Desk) -> None:
    recorder = desk.recorder()
    exporter = desk.exporter(recorder)
    desk.export(exporter)
    recorder.inc(COUNTER)
    desk.time.pass_by(9)
    assert not exporter.flush()
    desk.time.pass_by(1)
    assert exporter.flush()
    assert desk.fake.latest(COUNTER) == 1
    assert not exporter.flush(60)


def test_in_the_background_it_exports_by_itself_until_told_to_hold(desk: Desk) -> None:
    recorder = desk.recorder()
    exporter = desk.exporter(recorder, every_seconds=0.01, monotonic=real_time.monotonic)
    desk.time.pass_by(60)
    exporter.start()
    deadline = real_time.monotonic() + 30
    while not desk.fake.series(COUNTER) and real_time.monotonic() < deadline:
        threading.Event().wait(0.01)
    exporter.hold()
    assert desk.fake.latest(COUNTER) == 0


# Bad days


def test_monitoring_that_is_down_loses_no_count(desk: Desk) -> None:
    recorder = desk.recorder()
    exporter = desk.exporter(recorder)
    desk.export(exporter)
    desk.fake.always_fail(grpc.StatusCode.UNAVAILABLE)
    with capture_logs() as logs:
        for _ in range(3):
            recorder.inc(COUNTER, 2)
            desk.export(exporter)
        desk.fake.heal()
        desk.time.pass_by(20)
        desk.export(exporter)
        desk.export(exporter)
    assert desk.fake.latest(COUNTER) == 6
    assert recorder.value("metrics_exports_total", result="failed") == 3
    assert recorder.value("metrics_exports_total", result="ok") == 3
    assert desk.lost(recorder)["unavailable"] >= 3 * (points(recorder) - 3)
    assert events(logs) == [REFUSED, "metrics_export_recovered"]  # once per change of state


def test_one_refused_call_is_tried_again_at_once(desk: Desk) -> None:
    recorder = desk.recorder()
    exporter = desk.exporter(recorder)
    desk.fake.fail(grpc.StatusCode.UNAVAILABLE, times=2)
    desk.export(exporter)
    assert recorder.value("metrics_exports_total", result="ok") == 1
    assert desk.lost(recorder) == {}


def test_a_server_that_is_not_there_costs_its_time_and_no_more(desk: Desk) -> None:
    desk.fake.stop()
    recorder = desk.recorder()
    exporter = desk.exporter(recorder)
    desk.export(exporter)
    assert desk.lost(recorder).keys() <= {"unavailable", "timeout"}
    desk.fake.start()
    desk.time.pass_by(60)
    recorder.inc(COUNTER)
    deadline = real_time.monotonic() + 60
    while not desk.fake.series(COUNTER) and real_time.monotonic() < deadline:
        desk.time.pass_by(600)  # asked less and less often, but asked
        exporter.flush()
        threading.Event().wait(0.05)  # the channel looks again by itself, after a while
    assert desk.fake.latest(COUNTER) == 1


def test_a_slow_answer_is_given_up_and_counted(desk: Desk) -> None:
    recorder = desk.recorder()
    exporter = desk.exporter(recorder)
    desk.export(exporter)
    desk.fake.slow(60)
    recorder.inc(COUNTER)
    desk.time.pass_by(60)
    assert exporter.flush(timeout_seconds=0.2)
    assert set(desk.lost(recorder)) == {"timeout"}
    desk.fake.heal()
    desk.export(exporter)
    assert desk.fake.latest(COUNTER) == 1


def test_series_that_are_refused_take_no_others_along(desk: Desk) -> None:
    recorder = desk.recorder()
    exporter = desk.exporter(recorder)
    desk.fake.refuse(GAUGE)
    recorder.set(GAUGE, 1)
    recorder.inc(COUNTER, 4)
    with capture_logs() as logs:
        desk.export(exporter)
        desk.export(exporter)
    assert desk.fake.latest(COUNTER) == 4
    assert desk.fake.series(GAUGE) == []
    assert desk.lost(recorder) == {"refused": 2}
    assert recorder.value("metrics_exports_total", result="partial") == 2
    assert events(logs) == [REFUSED]


def test_an_account_that_may_not_is_counted_as_such(desk: Desk) -> None:
    recorder = desk.recorder()
    exporter = desk.exporter(recorder)
    desk.fake.deny()
    with capture_logs() as logs:
        desk.export(exporter)
        desk.export(exporter)
    assert set(desk.lost(recorder)) == {"denied"}
    assert events(logs) == [REFUSED]
    assert len(logs) == len({each["event"] for each in logs})
    desk.fake.heal()
    desk.export(exporter)
    assert recorder.value("metrics_exports_total", result="ok") == 1


def test_a_clock_that_went_back_is_waited_for(desk: Desk) -> None:
    recorder = desk.recorder()
    exporter = desk.exporter(recorder)
    desk.export(exporter)
    recorder.inc(COUNTER, 9)
    desk.time.wall -= 200
    desk.export(exporter)
    assert set(desk.lost(recorder)) == {"clock"}
    desk.time.pass_by(120)
    desk.export(exporter)
    assert desk.fake.latest(COUNTER) == 9
    assert desk.fake.refusals == []


def test_a_clock_that_was_ahead_is_forgotten_once_it_is_right(desk: Desk) -> None:
    recorder = desk.recorder()
    ahead = 0.0
    exporter = desk.exporter(recorder, now=lambda: desk.time.wall + ahead)
    desk.export(exporter)
    ahead = 3_600.0
    desk.export(exporter)  # refused: an hour to come
    assert set(desk.lost(recorder)) == {"refused"}
    ahead = 0.0
    recorder.inc(COUNTER)
    desk.export(exporter)
    assert desk.fake.latest(COUNTER) == 1


def test_a_process_that_began_with_its_clock_ahead_exports_once_it_is_right(desk: Desk) -> None:
    desk.time.wall += 3_600
    recorder = desk.recorder()
    desk.time.wall -= 3_600
    exporter = desk.exporter(recorder)
    recorder.inc(COUNTER, 3)
    desk.export(exporter)
    desk.export(exporter)
    assert desk.fake.latest(COUNTER) == 3
    assert desk.fake.refusals == []


def test_who_does_not_answer_is_asked_less_and_less_often(desk: Desk) -> None:
    recorder = desk.recorder()
    exporter = desk.exporter(recorder)
    desk.fake.always_fail(grpc.StatusCode.UNAVAILABLE)
    asked = []
    for second in range(1, 2_001):
        desk.time.pass_by(1)
        if exporter.flush():
            asked.append(second)
    gaps = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert gaps[:4] == [20, 40, 80, 160]
    assert max(gaps) <= 603  # ten minutes and the tries themselves
    exporter._silent = 10_000  # days of it
    assert not exporter.flush()
    desk.fake.heal()
    desk.time.pass_by(601)
    assert exporter.flush()
    desk.time.pass_by(10)
    assert exporter.flush()


def test_products_without_end_become_one_series(desk: Desk) -> None:
    recorder = desk.recorder()
    for number in range(MOST_SERIES + 500):
        recorder.set("coinbase_last_trade_id", number, product=f"C{number}-USD")
    recorder.set("coinbase_match_sequence", 1, product="P" * 5_000)
    exporter = desk.exporter(recorder)
    desk.export(exporter)
    assert len(desk.fake.series("coinbase_last_trade_id")) == MOST_SERIES + 1
    assert desk.fake.latest("coinbase_match_sequence", product="other") == 1
    assert desk.fake.refusals == []


def test_what_is_no_number_is_left_out(desk: Desk) -> None:
    recorder = desk.recorder()
    exporter = desk.exporter(recorder)
    recorder.set(GAUGE, float("nan"))
    desk.export(exporter)
    assert desk.fake.series(GAUGE) == []
    assert desk.fake.refusals == []


def test_a_mistake_of_ours_is_logged_and_goes_no_further(desk: Desk) -> None:
    exporter = desk.exporter(desk.recorder(), now=lambda: 1 / 0)
    with capture_logs() as logs:
        desk.export(exporter)
    assert [each["event"] for each in logs] == ["metrics_export_broke"]
