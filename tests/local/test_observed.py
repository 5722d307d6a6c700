"""A demo that is watched: one /metrics for all of it, exports of all of it, panels that show it."""

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from quotewatch.metrics.catalogue import CATALOGUE
from quotewatch.observability.dashboards import built_all, targets_in
from tests.fakes.monitoring import MonitoringFake, grafana_query
from tests.fakes.monitoring.promql import answering_promql
from tests.local.demos import PATIENCE_SECONDS, Demo, demo
from tests.servers.prometheus import Line, Prometheus, check_metrics, scraping_prometheus

SECONDS = "40"  # of market: three exports of each process, and predictions
PROCESSES = {
    "console", "gateway", "write", "label", "predict", "train", "reconcile", "maintain",
}  # fmt: skip
VARIABLES = {"project": "local", "environment": ".+", "product": ".+", "datasource": "any"}
DASHBOARDS = built_all()
PANELS = [
    (name, panel["title"]) for name, built in DASHBOARDS.items() for panel in built["panels"]
    if panel.get("targets")
]  # fmt: skip


@dataclass(frozen=True)
class Watched:
    """What was seen of one run."""

    fake: MonitoringFake
    began: float
    ended: float
    summary: dict[str, Any]
    scraped: dict[str, list[Line]]  # by query, while it ran
    pages: list[bytes]  # of /metrics, until nobody answered any more
    left: bytes  # metrics.prom


def url_of(run: Demo) -> str:
    assert run.process.stdout is not None
    for line in run.process.stdout:
        if found := re.search(r"Metrics at (\S+)", line):
            return found[1]
    raise AssertionError(run.log())


def ask(url: str) -> bytes | None:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - on loopback
            page: bytes = answer.read()
            return page
    except urllib.error.HTTPError:
        raise
    except OSError:
        return None


def pages_to_the_end(run: Demo, url: str) -> Iterator[bytes]:
    """Scrape as long as somebody answers, shutdown included."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while run.process.poll() is None and time.monotonic() < deadline:
        page = ask(url)
        if page is not None:
            yield page


REFUSED = "gateway_queue_bytes"
SCRAPED = {
    "up": 'count(up{job="quotewatch"} == 1)',
    "received": "sum(coinbase_messages_received_total) > 500",
    "processes": 'count(count by (process) ({__name__=~".+_total", process!=""})) > 7',
    "written": "sum(iceberg_rows_written_total) > 500",
    "latency": "histogram_quantile(0.5, sum by (le)"
    ' (rate(pipeline_message_latency_seconds_bucket{stamp="committed"}[10s]))) > 0',
    "fresh": "(time() - max(last_update_timestamp_seconds)) < 5",
}


@contextmanager
def watched(folder: Path) -> Iterator[Watched]:
    with MonitoringFake() as fake:
        environment = {
            "QUOTEWATCH_MONITORING": f"grpc://{fake.address}",
            "QUOTEWATCH_METRICS_EXPORT_SECONDS": "10",
        }
        flags = ("--seconds", SECONDS, "--rate", "200", "--faults", "drop_trades")
        began = time.time()
        with demo(folder, *flags, environment=environment) as run:
            fake.refuse(REFUSED)  # for a while: a bad day that the run does not notice
            url = url_of(run)
            with scraping_prometheus(folder, [url]) as prometheus:
                scraped = {name: prometheus.eventually(query) for name, query in SCRAPED.items()}
            fake.heal()
            pages = list(pages_to_the_end(run, url))
            screen = run.end()
            assert run.process.returncode == 0, screen
            left = (run.data / "metrics.prom").read_bytes()
            yield Watched(fake, began, time.time(), run.summary, scraped, pages, left)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watched(tmp_path_factory.mktemp("watched")) as seen:
        yield seen


def samples(page: bytes) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Return what a page says, by metric."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def total(page: bytes, name: str, **labels: str) -> float:
    return sum(
        value for have, value in samples(page).get(name, []) if labels.items() <= have.items()
    )


# /metrics


def test_prometheus_scrapes_all_processes_of_a_run(run: Watched) -> None:
    assert run.scraped.keys() == SCRAPED.keys()
    assert all(lines for lines in run.scraped.values())


def test_promtool_has_nothing_against_the_page(run: Watched) -> None:
    assert check_metrics(run.left) == []
    assert check_metrics(run.pages[0]) == []


def test_a_scrape_during_shutdown_is_answered_whole_or_not_at_all(run: Watched) -> None:
    assert len(run.pages) > 3
    for page in run.pages:
        found = samples(page)  # parses to its end
        assert "dashboard_callbacks_total" in found


def test_every_metric_is_on_the_page_and_says_whose_it_is(run: Watched) -> None:
    found = samples(run.left)
    suffixes = {"counter": "", "gauge": "", "histogram": "_count"}
    silent = {
        name for name, metric in CATALOGUE.items() if name + suffixes[metric.kind] not in found
    }
    assert silent == set()
    every = [labels for each in found.values() for labels, _ in each]
    assert {labels["process"] for labels in every} == PROCESSES | {"settling"}
    assert {labels["environment"] for labels in every} == {"local"}


def test_counts_are_those_of_the_truth(run: Watched) -> None:
    sent, stored = run.summary["sent"], run.summary["stored"]
    received = "coinbase_messages_received_total"
    for kind in ("l2update", "match", "snapshot", "heartbeat"):
        assert total(run.left, received, type=kind) == sent[kind], kind
    for table in ("raw_orderbook", "raw_trades", "features", "events", "predictions", "labels"):
        assert total(run.left, "iceberg_rows_written_total", table=table) == stored[table], table
    assert total(run.left, "coinbase_trades_missed_total") == run.summary["gaps"]["detected"]
    assert total(run.left, "reconcile_trades_fetched_total") == run.summary["gaps"]["healed"]
    assert total(run.left, "ml_samples_total") == stored["labels"]
    assert total(run.left, "ml_predictions_total") == stored["predictions"]
    for stamp in ("received", "published", "pulled", "committed"):
        name = "pipeline_message_latency_seconds_count"
        assert total(run.left, name, stamp=stamp) == sent["l2update"] + sent["match"], stamp


# Exports


def test_cloud_monitoring_was_told_the_same(run: Watched) -> None:
    assert all(REFUSED in each for each in run.fake.refusals)
    jobs = {each.resource_labels["job"] for each in run.fake.held()}
    assert jobs == PROCESSES | {"settling"}
    for name, metric in CATALOGUE.items():
        if metric.kind != "counter" or name.startswith(("metrics_", "dashboard_")):
            continue
        exported = sum(each.newest.value for each in run.fake.series(name))  # type: ignore[misc]
        assert exported == total(run.left, name), name


# Dashboards


@pytest.fixture(scope="module")
def prometheus(run: Watched) -> Iterator[Prometheus]:
    with answering_promql(run.fake.held()) as server:
        yield server


@pytest.mark.parametrize(("dashboard", "title"), PANELS)
def test_no_panel_is_empty(
    run: Watched, prometheus: Prometheus, dashboard: str, title: str
) -> None:
    panels = [each for each in DASHBOARDS[dashboard]["panels"] if each["title"] == title]
    for target in (target for panel in panels for target in targets_in({"panels": [panel]})):
        found = grafana_query(
            run.fake, target, run.began - 60, run.ended + 60,
            variables=VARIABLES, prometheus=prometheus,
        )  # fmt: skip
        assert found, json.dumps(target, indent=1)
        assert all(each.points for each in found)
