import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from google.protobuf.json_format import ParseDict  # type: ignore[import-untyped]

from quotewatch.metrics.catalogue import CATALOGUE, OWNERS, metrics_of
from quotewatch.metrics.metric import Metric
from quotewatch.metrics.series import descriptor_of
from quotewatch.observability import alerts, billing, dashboards, metrics_page
from quotewatch.observability.alerts import POLICIES
from quotewatch.observability.thresholds import THRESHOLDS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / metrics_page.PAGE).read_text()

each_metric = pytest.mark.parametrize("metric", CATALOGUE.values(), ids=lambda each: each.name)


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def row(text: str, first: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_files_are_what_the_code_says() -> None:
    for path, text in metrics_page.files().items():
        assert (ROOT / path).read_text() == text


def test_making_it_twice_makes_the_same() -> None:
    assert metrics_page.files() == metrics_page.files()


@each_metric
def test_a_metric_is_looked_at_somewhere_or_says_that_it_is_forensic(metric: Metric) -> None:
    looked_at = dashboards.used_metrics() | alerts.used_metrics()
    assert (metric.name in looked_at) != metric.forensic


@pytest.mark.parametrize("owner", OWNERS)
def test_each_process_has_a_table_of_what_it_records(owner: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \|", section(owner), re.MULTILINE)
    assert rows == [metric.name for metric in metrics_of(owner)]


def test_a_row_says_all_about_a_metric() -> None:
    assert row(section("write"), "`iceberg_flush_rows`") == [
        "`iceberg_flush_rows`", "histogram", "1",
        "`table`: events, features, predictions, raw_orderbook, raw_trades", "10, 1 to 250000",
        "Rows that a commit added.", "Flush Batch Size",
    ]  # fmt: skip
    events = row(section("gateway"), "`gateway_events_total`")
    assert re.search(r"`kind`: .*, 4 more; `reason`: .* more", events[3])
    assert events[6].endswith("[rows-dropped](runbook.md#rows-dropped)")
    assert row(section("gateway"), "`coinbase_match_sequence`")[3:] == [
        "`product`", "", CATALOGUE["coinbase_match_sequence"].meaning, "*forensic*",
    ]  # fmt: skip


def test_a_process_is_shown_its_own_alerts_alone() -> None:
    shown = row(section("train"), "`stage_last_success_timestamp_seconds`")[6]
    assert re.findall(r"\[([\w-]+)\]", shown) == ["train-stalled"]


def test_cells_hold_nothing_that_would_break_the_table() -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith("|")]
    heads = [line for line, below in pairwise(lines) if below.startswith("| --- ")]
    assert len(heads) == len(OWNERS) + 3
    widths = {head.count("|") for head in heads}
    assert {line.count("|") for line in lines} == widths


def test_every_alert_threshold_and_bill_is_on_the_page() -> None:
    told = re.findall(r"^\| \[([\w-]+)\]\(runbook\.md#\1\) \|", section("Alerts"), re.MULTILINE)
    assert told == [each.slug for each in POLICIES]
    assert re.findall(r"^\| `(\w+)` \|", section("Thresholds"), re.MULTILINE) == list(THRESHOLDS)
    bills = section("Bytes billed")
    assert all(row(bills, owner) for owner in billing.EXPORT_SECONDS)
    assert row(bills, "all")[2] == f"{billing.bill(1).mib:.1f} MiB"


def test_terraform_declares_the_descriptors_that_the_exporter_would_make() -> None:
    declared = json.loads((ROOT / metrics_page.DESCRIPTORS).read_text())
    assert [each["name"] for each in declared] == list(CATALOGUE)
    for given in declared:
        metric = CATALOGUE[given.pop("name")]
        wanted = descriptor_of(metric)
        assert ParseDict(given, type(wanted)()) == wanted
        assert given["labels"][0]["key"] == "environment"
