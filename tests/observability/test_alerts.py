"""Every alert fires when it should, ends when it is over, and is quiet when all is well."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from quotewatch.errors import MetricError
from quotewatch.metrics.catalogue import CATALOGUE
from quotewatch.observability import alerts
from quotewatch.observability.alerts import POLICIES
from quotewatch.observability.conditions import (
    grown,
    newest,
    not_shrinking,
    older,
    series,
    subscriptions,
)
from quotewatch.observability.policy import Policy, check
from quotewatch.observability.thresholds import THRESHOLDS
from tests.availability import cannot_run
from tests.fakes.monitoring.promql import answering_promql
from tests.metrics.desk import open_desk
from tests.observability import (
    flow_scenarios,
    gateway_scenarios,
    proof_scenarios,
    stage_scenarios,
)
from tests.observability.promtool import Scenario, check_rules, named, play, rendered

ROOT = Path(__file__).parents[2]
SCENARIOS = [
    *gateway_scenarios.SCENARIOS,
    *stage_scenarios.SCENARIOS,
    *flow_scenarios.SCENARIOS,
    *proof_scenarios.SCENARIOS,
]
BY_SLUG = {each.slug: each for each in POLICIES}

each_policy = pytest.mark.parametrize("policy", POLICIES, ids=lambda each: each.slug)


def test_prometheus_can_read_every_query(tmp_path: Path) -> None:
    assert not check_rules(POLICIES, tmp_path)


@pytest.mark.parametrize(
    "scenario", SCENARIOS, ids=lambda each: f"{each.policy}: {each.story}".replace(" ", "_")
)
def test_an_alert_fires_when_it_should_and_at_no_other_time(
    scenario: Scenario, tmp_path: Path
) -> None:
    differing = play(scenario, BY_SLUG[scenario.policy], tmp_path)
    assert not differing, differing


@each_policy
def test_every_alert_is_driven_into_firing_and_back_and_has_a_quiet_case(policy: Policy) -> None:
    told = [each for each in SCENARIOS if each.policy == policy.slug]
    assert any(each.heals for each in told)
    assert any(not each.fires for each in told)


def test_no_scenario_is_about_an_alert_that_is_gone() -> None:
    assert {each.policy for each in SCENARIOS} == set(BY_SLUG)


def test_a_scenario_cannot_make_up_series_that_nobody_exports() -> None:
    with pytest.raises(KeyError):
        named("gateway_mood")
    with pytest.raises(ValueError, match="table never says gaps"):
        named('iceberg_rows_written_total{job="write",table="gaps"}')
    with pytest.raises(ValueError, match="no label"):
        named('gateway_books_valid{product="BTC-USD"}')


def test_what_processes_export_is_what_alerts_ask_for() -> None:
    """Not only names in a test's head: exported, held by a strict fake, asked in PromQL."""
    wanted = [BY_SLUG[slug] for slug in ("gateway-silent", "publish-failing", "metrics-absent")]
    with open_desk() as desk:
        gateway = desk.recorder("gateway")
        exporter = desk.exporter(gateway)
        began = heard = desk.time.now()
        for minute in range(40):
            if minute < 15:
                heard = desk.time.now()
                gateway.inc("gateway_bytes_published_total", 900, stream="raw_trades")
            else:
                gateway.inc("gateway_publish_failures_total")
            gateway.set("gateway_connections_open", 1)
            gateway.set("last_update_timestamp_seconds", heard)
            desk.export(exporter)
        with answering_promql(desk.fake.held()) as prometheus:

            def holds(policy: Policy, minute: int) -> bool:
                query = rendered(policy.query, environment="test")
                return bool(prometheus.query(query, began + 60 * minute))

            found = {
                policy.slug: [minute for minute in range(5, 56) if holds(policy, minute)]
                for policy in wanted
            }
    # The newest message came at minute 14 and the newest bytes with the export of minute 15; the
    # newest export of all is that of minute 40.
    assert found == {
        "gateway-silent": list(range(19, 46)),
        "publish-failing": list(range(25, 50)),
        "metrics-absent": list(range(51, 56)),
    }


@each_policy
def test_an_alert_is_scoped_to_one_environment(policy: Policy) -> None:
    ours = re.findall(r'quotewatch_\w+\{(.*?"\})', policy.query)
    assert all('environment="${environment}"' in labels for labels in ours)
    assert ours or "subscription_id" in policy.query


def test_alerts_look_at_nothing_forensic_and_at_nothing_unknown() -> None:
    assert alerts.used_metrics() <= {
        name for name, metric in CATALOGUE.items() if not metric.forensic
    }


def test_an_alert_belongs_to_the_process_it_looks_at() -> None:
    stamp = "stage_last_success_timestamp_seconds"
    assert alerts.alerts_on(stamp, "write") == ["write-stalled"]
    assert alerts.alerts_on("metrics_exports_total", "train") == ["export-failing"]


def test_every_threshold_is_compared_with() -> None:
    assert {name for each in POLICIES for name in each.thresholds} == set(THRESHOLDS)


def test_the_file_is_what_the_code_says() -> None:
    for path, text in alerts.files().items():
        assert (ROOT / path).read_text() == text


def test_terraform_fills_in_environment_and_thresholds(tmp_path: Path) -> None:
    program = shutil.which("terraform")
    if program is None:
        cannot_run("terraform is missing")
    source = ROOT / alerts.PATH
    numbers = f'jsondecode(file("{source}")).thresholds'
    set_here = '{environment = "production", gap_open_seconds = 60}'
    filled = f'templatefile("{source}", merge({numbers}, {set_here}))'
    done = subprocess.run(
        [program, "console"],
        cwd=tmp_path, input=f"jsonencode(jsondecode({filled}).policies)\n",
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    filled_in = json.loads(json.loads(done.stdout))
    assert filled_in.keys() == set(BY_SLUG)
    for slug, policy in BY_SLUG.items():
        expected = rendered(policy.query, gap_open_seconds=60)
        assert filled_in[slug]["query"] == expected
        assert "${" not in json.dumps(filled_in[slug])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"slug": "Gateway_silent"}, "lower letters and dashes"),
        ({"every_seconds": 45}, "every 30 s"),
        ({"close_seconds": 60}, "1800 s to 7 days"),
        ({"query": 'a{environment="${environment}"}[5m] > ${mood}'}, "no threshold is called mood"),
        ({"for_seconds": 3_601}, "looks back less than the 3601 s"),
        ({"query": "absent_over_time(up[5m])"}, "it mixes environments"),
        ({"query": 'up{environment="${environment}"}'}, "looks back less"),
    ],
)  # fmt: skip
def test_a_policy_that_is_wrong_is_refused(change: dict[str, object], why: str) -> None:
    good = BY_SLUG["gateway-gone"]
    check([good])
    with pytest.raises(MetricError, match=why):
        check([replace(good, **change)])  # type: ignore[arg-type]  # wrong on purpose


def test_two_policies_of_one_name_are_refused() -> None:
    with pytest.raises(MetricError, match="gateway-gone: is there twice"):
        check([BY_SLUG["gateway-gone"], BY_SLUG["gateway-gone"]])


def test_what_the_catalogue_does_not_declare_cannot_be_asked() -> None:
    with pytest.raises(MetricError, match="'gateway_mood' is not in the catalogue"):
        series("gateway_mood")
    with pytest.raises(MetricError, match="coinbase_match_sequence is forensic"):
        series("coinbase_match_sequence")
    with pytest.raises(MetricError, match="not by train"):
        series("ml_samples_total", owner="train")
    with pytest.raises(MetricError, match="no label 'product'"):
        series("ml_samples_total", product="BTC-USD")
    with pytest.raises(MetricError, match=r"table never says \['gaps'\]"):
        series("iceberg_rows_written_total", owner="write", table="gaps")
    with pytest.raises(MetricError, match="label never says nothing"):
        series("ml_samples_total", label=())


def test_what_makes_no_sense_cannot_be_asked() -> None:
    gauge, counter = series("gateway_books_valid"), series("ml_samples_total")
    with pytest.raises(MetricError, match="is a gauge; counter or histogram is needed"):
        grown(gauge, 5)
    with pytest.raises(MetricError, match="is a counter; gauge is needed"):
        not_shrinking(counter, "waiting_frames", 5)
    with pytest.raises(MetricError, match="is a counter; gauge is needed"):
        newest(counter, gauge, 5)
    with pytest.raises(MetricError, match="has no label table"):
        grown(counter, 5, ["table"])
    with pytest.raises(MetricError, match="has no label table"):
        subscriptions("num_undelivered_messages", ".*").by(["table"])
    with pytest.raises(MetricError, match="nothing older than 5 min is looked at"):
        older(gauge, "gap_open_seconds", 5)
