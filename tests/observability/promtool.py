"""Alerts under a real Prometheus: `promtool test rules` over series that a test makes up."""

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

from quotewatch.metrics.catalogue import CATALOGUE
from quotewatch.observability.policy import Policy
from quotewatch.observability.queries import RESOURCE, promql_name
from quotewatch.observability.thresholds import THRESHOLDS
from tests.servers.prometheus import find_program

ENVIRONMENT = "production"
SECONDS = 60.0

_KEY = re.compile(r"(?P<name>\w+)(?:\{(?P<labels>.*)\})?")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_OURS = {"environment": ENVIRONMENT, "monitored_resource": RESOURCE}
_PUBSUB = "pubsub_googleapis_com:subscription_"

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Scenario:
    """A timeline of series, one value a minute in promtool's notation, and when an alert fires.

    A key is `name` or `name{label="value"}`; what is not said is the same for all: the environment,
    the process where only one records it, task `1`. `firing` says at which minutes the alert is
    asked for and with which labels it fires then: once without any, several times, or not at all.
    """

    policy: str
    story: str
    series: Mapping[str, str]
    firing: Mapping[int, Sequence[Labels]] = field(default_factory=dict)

    @property
    def fires(self) -> bool:
        return any(self.firing.values())

    @property
    def heals(self) -> bool:
        return self.fires and not self.firing[max(self.firing)]


def rendered(query: str, environment: str = ENVIRONMENT, **numbers: float) -> str:
    """Fill in what Terraform fills in."""
    known = {each.name: each.value for each in THRESHOLDS.values()}
    return Template(query).substitute({**known, **numbers, "environment": environment})


def rules_of(policies: Sequence[Policy]) -> dict[str, Any]:
    """Return the policies as a file of Prometheus' rules."""
    rules = [
        {"alert": each.rule, "expr": rendered(each.query), "for": f"{each.for_seconds}s"}
        for each in policies
    ]
    return {"groups": [{"name": "quotewatch", "interval": "1m", "rules": rules}]}


def check_rules(policies: Sequence[Policy], home: Path) -> str:
    """Let promtool read the rules; return what it has against them."""
    rules = home / "rules.yml"
    rules.write_text(json.dumps(rules_of(policies)))  # JSON is YAML
    return _run(["check", "rules", "--lint-fatal", str(rules)], home)


def play(scenario: Scenario, policy: Policy, home: Path) -> str:
    """Play a scenario; return how what fired differs from what should have."""
    (home / "rules.yml").write_text(json.dumps(rules_of([policy])))
    test = {
        "interval": "1m",
        "input_series": [
            {"series": named(key), "values": values} for key, values in scenario.series.items()
        ],
        "alert_rule_test": [
            {
                "eval_time": f"{minute}m",
                "alertname": policy.rule,
                "exp_alerts": [{"exp_labels": dict(labels)} for labels in alerts],
            }
            for minute, alerts in scenario.firing.items()
        ],
    }
    document = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [test]}
    (home / "test.yml").write_text(json.dumps(document))
    return _run(["test", "rules", "test.yml"], home)


def named(key: str) -> str:
    """Complete the name of a series; one that nobody records is refused."""
    found = _KEY.fullmatch(key)
    if found is None:
        raise ValueError(f'{key}: expected name or name{{label="value"}}')
    name, given = found["name"], dict(_LABEL.findall(found["labels"] or ""))
    if "subscription_id" in given:
        return _written(f"{_PUBSUB}{name}", {"monitored_resource": "pubsub_subscription", **given})
    metric = CATALOGUE[name.removesuffix("_count")]
    jobs = list(metric.owners)
    labels = {**_OURS, "task_id": "1", **({"job": jobs[0]} if len(jobs) == 1 else {}), **given}
    if "stage" in metric.labels:
        labels.setdefault("stage", labels["job"])
    said = metric.owners[labels["job"]]
    for label in metric.labels:
        if labels[label] not in said[label]:
            raise ValueError(f"{key}: {label} never says {labels[label]}")
    if stray := labels.keys() - {*_OURS, "task_id", "job", *metric.labels}:
        raise ValueError(f"{key}: no label {stray}")
    return _written(promql_name(name), labels)


def _written(name: str, labels: Labels) -> str:
    inner = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return f"{name}{{{inner}}}"


def _run(arguments: Sequence[str], home: Path) -> str:
    done = subprocess.run(
        [find_program("promtool"), *arguments],
        cwd=home, capture_output=True, text=True, check=False, timeout=SECONDS,
    )  # fmt: skip
    said = (done.stdout + done.stderr).strip()
    return said if done.returncode else ""
