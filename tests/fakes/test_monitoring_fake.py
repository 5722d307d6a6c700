"""The fake of Cloud Monitoring as a server: faults, partial failures, what it remembers."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc  # type: ignore[import-untyped]  # grpcio carries no types
import pytest
from google.api_core.exceptions import (
    DeadlineExceeded,
    GoogleAPICallError,
    InternalServerError,
    InvalidArgument,
    PermissionDenied,
    ServiceUnavailable,
)
from google.cloud.monitoring_v3 import types as wire

from tests.fakes.monitoring import Distribution, MonitoringFake
from tests.fakes.monitoring.client import connected
from tests.fakes.monitoring.desk import NOW, Desk, open_desk
from tests.fakes.monitoring.samples import PREFIX, TASK, descriptor, distribution, request, series

ROOT = Path(__file__).parents[2]


@pytest.fixture
def desk() -> Iterator[Desk]:
    with open_desk() as desk:
        desk.declare("queue", "GAUGE", "INT64")
        desk.declare("rows", "CUMULATIVE", "INT64", ["table"])
        desk.declare("took", "CUMULATIVE", "DISTRIBUTION")
        yield desk


def rows(value: int, table: str, end: float = NOW, begin: float = NOW - 60) -> wire.TimeSeries:
    return series("rows", value, end, begin, {"table": table})


def summary_of(error: GoogleAPICallError) -> wire.CreateTimeSeriesSummary:
    """Unpack what came in the trailing grpc-status-details-bin."""
    summary = wire.CreateTimeSeriesSummary.pb(wire.CreateTimeSeriesSummary())
    assert error.details[0].Unpack(summary)
    return wire.CreateTimeSeriesSummary(summary)


def test_of_a_request_the_good_series_are_stored_and_the_bad_are_summed_up(desk: Desk) -> None:
    desk.write(rows(5, "trades"))
    mixed = [
        rows(6, "trades", NOW + 1),
        series("queue", 3, NOW + 10),
        rows(1, "bars", NOW + 10),
        series("queue_length", 3, NOW + 10),
        rows(4, "trades", NOW + 20),
    ]

    with pytest.raises(InvalidArgument, match="One or more TimeSeries could not be") as caught:
        desk.write(*mixed)

    summary = summary_of(caught.value)
    assert (summary.total_point_count, summary.success_point_count) == (5, 2)
    assert {error.status.code: error.point_count for error in summary.errors} == {3: 2, 9: 1}
    assert "maximum sampling period configured for the metric.: timeSeries[0]" in str(caught.value)
    assert desk.fake.writes[1:] == [request(*mixed[1:3])]
    assert [text.split(": ")[0] for text in desk.fake.refusals] == [
        f"{PREFIX}rows {{'table'",
        f"{PREFIX}queue_length {{}}",
        f"{PREFIX}rows {{'table'",
    ]
    assert desk.fake.latest("rows", table="trades") == 5


def test_one_reason_for_many_series_is_said_once(desk: Desk) -> None:
    many = [series(f"unknown{at}", 1, NOW) for at in range(200)]
    many[150] = series("queue", 1, NOW)

    said = desk.why_refused(*many)
    assert said.endswith("is not allowed).: timeSeries[0-149,151-199]")
    assert len(desk.fake.refusals) == 199


def test_the_longest_answer_still_fits_into_headers(desk: Desk) -> None:
    many = [series("queue", 1, NOW, labels={f"label{at}" + "x" * 90: ""}) for at in range(200)]

    assert "could not be written" in desk.why_refused(*many)


def test_queued_failures_spoil_as_many_calls_and_nothing_is_stored(desk: Desk) -> None:
    desk.fake.fail(grpc.StatusCode.INTERNAL, times=2)

    for _ in range(2):
        with pytest.raises(InternalServerError):
            desk.write(series("queue", 1, NOW))
    assert desk.fake.writes == []
    desk.write(series("queue", 2, NOW))
    assert desk.fake.latest("queue") == 2
    assert desk.fake.calls["CreateTimeSeries"] == 3


def test_queued_failures_are_for_one_method(desk: Desk) -> None:
    desk.fake.fail(grpc.StatusCode.INTERNAL, method="GetMetricDescriptor")

    desk.write(series("queue", 1, NOW))
    with pytest.raises(InternalServerError):
        desk.client.get_metric_descriptor(name=f"projects/test/metricDescriptors/{PREFIX}queue")


def test_an_outage_lasts_until_it_is_healed(desk: Desk) -> None:
    desk.fake.always_fail(grpc.StatusCode.UNAVAILABLE)
    for _ in range(3):
        with pytest.raises(ServiceUnavailable):
            desk.write(series("queue", 1, NOW))

    desk.fake.heal()
    desk.write(series("queue", 1, NOW))


def test_without_a_role_every_call_is_denied(desk: Desk) -> None:
    desk.fake.deny()

    with pytest.raises(PermissionDenied, match=r"monitoring\.timeSeries\.create denied"):
        desk.write(series("queue", 1, NOW))
    with pytest.raises(PermissionDenied):
        desk.client.create_metric_descriptor(
            name="projects/test", metric_descriptor=descriptor("new")
        )


def test_unlucky_series_are_refused_beside_the_others_until_it_is_healed(desk: Desk) -> None:
    desk.fake.refuse("que")

    assert "Internal error" in desk.why_refused(series("queue", 1, NOW), rows(1, "trades"))
    assert desk.fake.latest("rows", table="trades") == 1
    assert desk.fake.series("queue") == []
    desk.fake.heal()
    desk.write(series("queue", 1, NOW))


def test_a_slow_answer_comes_too_late_for_what_was_stored_in_time(desk: Desk) -> None:
    desk.fake.slow(600)

    with pytest.raises(DeadlineExceeded):
        desk.client.create_time_series(
            request=request(series("queue", 1, NOW)), timeout=0.2, retry=None
        )
    assert desk.fake.latest("queue") == 1


def test_a_slow_answer_ends_with_the_server(desk: Desk) -> None:
    desk.fake.slow(60)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(desk.why_refused, series("queue", 1, NOW))
        wait_until(lambda: desk.fake.calls["CreateTimeSeries"] == 1)
        begun = time.monotonic()
        desk.fake.stop()
        assert call.result(30) != ""

    assert time.monotonic() - begun < 10


def test_stopped_and_started_again_it_keeps_port_and_data(desk: Desk) -> None:
    desk.write(series("queue", 1, NOW))
    address = desk.fake.address
    desk.fake.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(address.rsplit(":")[1])), 5).close()

    assert desk.fake.start() == address
    with connected(address) as client:
        client.create_time_series(request=request(series("queue", 2, NOW + 10)))
    assert [point.value for point in desk.fake.series("queue")[0].points] == [1, 2]


def test_the_latest_value_is_of_exactly_one_series(desk: Desk) -> None:
    desk.write(rows(1, "trades"), rows(2, "bars"))

    assert desk.fake.latest("rows", table="bars") == 2
    assert desk.fake.latest(f"{PREFIX}rows", table="trades") == 1
    with pytest.raises(LookupError, match="2 series, not one"):
        desk.fake.latest("rows")
    with pytest.raises(LookupError, match="0 series, not one"):
        desk.fake.latest("rows", table="books")


def test_what_is_put_needs_no_rules(desk: Desk) -> None:
    backlog = "pubsub.googleapis.com/subscription/num_undelivered_messages"
    labels = {"project_id": "test", "subscription_id": "write"}
    for points in ([(NOW, 7), (NOW + 60, 9)], [(NOW - 60, 5)]):
        desk.fake.put(backlog, {}, "pubsub_subscription", labels, "GAUGE", "INT64", points)

    assert desk.fake.latest(backlog) == 9
    assert [point.value for point in desk.fake.series(backlog)[0].points] == [5, 7, 9]
    with pytest.raises(ValueError, match="GUAGE"):
        desk.fake.put(backlog, {}, "pubsub_subscription", labels, "GUAGE", "INT64", [])


def test_what_it_held_is_there_again_after_dump_and_load(desk: Desk, tmp_path: Path) -> None:
    desk.write(rows(1, "trades"))
    desk.write(series("took", distribution([1, 2], mean=1.5), NOW, NOW - 60))
    desk.why_refused(series("queue", 1.5, NOW))
    desk.fake.dump(tmp_path / "held.jsonl")

    loaded = MonitoringFake.load(tmp_path / "held.jsonl")
    assert loaded.series("rows") == desk.fake.series("rows")
    assert loaded.latest("took") == Distribution((1.0, 2.0, 4.0), (1, 2, 0, 0), 4.5, 6.75)
    assert loaded.store.descriptors == desk.fake.store.descriptors
    assert loaded.refusals == desk.fake.refusals
    assert loaded.calls == desk.fake.calls


def test_as_a_process_it_serves_until_it_is_told_to_end_and_writes_down(tmp_path: Path) -> None:
    held = tmp_path / "held.jsonl"
    command = [sys.executable, "-m", "tests.fakes.monitoring", "--port", "0", "--dump", str(held)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            with connected(json.loads(process.stdout.readline())["address"]) as client:
                client.create_metric_descriptor(
                    name="projects/test", metric_descriptor=descriptor("queue")
                )
                written = series("queue", 3, time.time(), resource=TASK)
                client.create_time_series(request=request(written))
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == os.EX_OK
        finally:
            process.kill()

    assert MonitoringFake.load(held).latest("queue") == 3


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
