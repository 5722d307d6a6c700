"""PromQL over what the fake holds, by a real Prometheus; and that server itself."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.monitoring.desk import BACKLOG, NOW, five_minutes, open_desk
from tests.fakes.monitoring.promql import answering_promql, open_metrics, prometheus_name
from tests.fakes.monitoring.samples import PREFIX, TASK, series
from tests.servers.prometheus import (
    Prometheus,
    PromQlError,
    check_metrics,
    create_blocks,
    find_program,
    scraping_prometheus,
)

ROWS, TOOK = "custom_googleapis_com:quotewatch_rows", "custom_googleapis_com:quotewatch_took"
QUEUE = "custom_googleapis_com:quotewatch_queue"


@pytest.fixture(scope="module")
def prometheus() -> Iterator[Prometheus]:
    with open_desk() as desk:
        five_minutes(desk)
        with answering_promql(desk.fake.held()) as running:
            yield running


def test_names_are_those_of_cloud_monitoring() -> None:
    assert prometheus_name(f"{PREFIX}rows") == ROWS
    assert prometheus_name(BACKLOG) == (
        "pubsub_googleapis_com:subscription_num_undelivered_messages"
    )


def test_labels_are_those_of_metric_and_resource(prometheus: Prometheus) -> None:
    (rows,) = prometheus.query(f'{ROWS}{{table="trades"}}', NOW + 300)

    metric = {"__name__": ROWS, "table": "trades"}
    assert rows.labels == {**TASK, **metric, "monitored_resource": "generic_task"}
    assert rows.value == 300


def test_a_metric_label_gives_way_to_a_resource_label(prometheus: Prometheus) -> None:
    (queue,) = prometheus.query(QUEUE, NOW + 300)

    assert (queue.labels["job"], queue.labels["metric_job"]) == ("write", "inner")


def test_built_in_metrics_are_there_too(prometheus: Prometheus) -> None:
    name = prometheus_name(BACKLOG)

    (line,) = prometheus.query_range(f'{name}{{subscription_id="write"}}', NOW, NOW + 120, 60)
    assert line.points == ((NOW, 0.0), (NOW + 60, 1.0), (NOW + 120, 2.0))


def test_a_reset_that_only_its_start_shows_is_counted_from_zero(prometheus: Prometheus) -> None:
    task = f'{ROWS}{{task_id="instance-2"}}'

    (resets,) = prometheus.query(f"resets({task}[4m])", NOW + 200)
    assert resets.value == 1
    (grown,) = prometheus.query(f"increase({task}[1m])", NOW + 140)
    assert grown.value == pytest.approx(3_600, rel=0.2)


def test_histograms_have_buckets_count_and_sum(prometheus: Prometheus) -> None:
    counts = prometheus.query(f"{TOOK}_bucket", NOW + 300)

    assert {line.labels["le"]: line.value for line in counts} == {
        "1": 60, "2": 180, "4": 300, "+Inf": 300,
    }  # fmt: skip
    assert prometheus.query(f"{TOOK}_sum / {TOOK}_count", NOW + 300)[0].value == 1.5


@pytest.mark.parametrize(("part", "value"), [("0.95", 3.75), ("0.50", 1.75), ("0.05", 0.25)])
def test_prometheus_finds_the_same_quantiles(
    prometheus: Prometheus, part: str, value: float
) -> None:
    expression = f"histogram_quantile({part}, sum by (le) (rate({TOOK}_bucket[2m])))"

    assert prometheus.query(expression, NOW + 300)[0].value == pytest.approx(value)


def test_a_scalar_and_an_absence_are_answers(prometheus: Prometheus) -> None:
    assert prometheus.query("1 + 1")[0].value == 2
    assert prometheus.query("absent(nothing)", NOW)[0].value == 1


def test_a_query_that_makes_no_sense_is_refused(prometheus: Prometheus) -> None:
    with pytest.raises(PromQlError, match="parse error"):
        prometheus.query("rate(")


def test_deltas_are_counters_to_promql() -> None:
    with open_desk() as desk:
        points = [(NOW, NOW + 60, 3), (NOW + 60, NOW + 120, 4)]
        desk.fake.put(f"{PREFIX}acks", {}, "global", {"project_id": "test"}, "DELTA", "INT64",
                      points)  # fmt: skip
        written = open_metrics(desk.fake.series("acks"))

    assert re.findall(r"} (\S+) ", written) == ["3.0", "7.0"]


def test_over_nothing_there_is_a_server_too() -> None:
    with open_desk() as desk, answering_promql(desk.fake.held()) as empty:
        assert empty.query("absent(up)", NOW)[0].value == 1


def test_samples_that_promtool_cannot_read_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="promtool refused the samples"):
        create_blocks("nonsense\n# EOF\n", tmp_path)


def test_label_values_may_hold_anything() -> None:
    strange = 'a "quoted" \\ line\nand another'
    with open_desk() as desk:
        desk.declare("strange", labels=["text"])
        desk.write(series("strange", 1, NOW, labels={"text": strange}))
        with answering_promql(desk.fake.held()) as running:
            (found,) = running.query("custom_googleapis_com:quotewatch_strange", NOW)

    assert found.labels["text"] == strange


def test_promtool_finds_nothing_wrong_with_good_metrics() -> None:
    good = b"# HELP rows_total Rows.\n# TYPE rows_total counter\nrows_total 1\n"

    assert check_metrics(good) == []


@pytest.mark.parametrize("bad", [b"rows_total\n", b"# TYPE rows counter\nrows 1\n"])
def test_promtool_tells_what_is_wrong_with_bad_ones(bad: bytes) -> None:
    assert check_metrics(bad) != []


def test_a_scraped_server_is_seen_and_one_that_is_gone_too(
    prometheus: Prometheus, tmp_path: Path
) -> None:
    gone = "http://127.0.0.1:1/metrics"
    with scraping_prometheus(tmp_path, [f"{prometheus.url}/metrics", gone]) as scraping:
        (up,) = scraping.eventually("up == 1")
        (down,) = scraping.eventually("up == 0")
        scraping.eventually("prometheus_build_info")
        with pytest.raises(TimeoutError, match="no answer within"):
            scraping.eventually("up == 2", seconds=0.1)

    assert (up.labels["instance"], down.labels["instance"]) == (
        prometheus.url.removeprefix("http://"),
        "127.0.0.1:1",
    )


def test_a_server_ends_with_its_block_also_when_the_block_fails(tmp_path: Path) -> None:
    def fail_inside() -> None:
        with scraping_prometheus(tmp_path, []) as running:
            servers.append(running)
            raise LookupError

    servers: list[Prometheus] = []
    with pytest.raises(LookupError):
        fail_inside()
    with pytest.raises(ConnectionRefusedError):
        servers[0].query("1")


def test_a_machine_without_it_skips_with_the_package_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CI", "")
    with pytest.raises(pytest.skip.Exception, match="apt-get install prometheus"):
        find_program("prometheus")

    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install prometheus"):
        find_program("prometheus")
