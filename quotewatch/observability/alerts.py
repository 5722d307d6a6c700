"""The alerts as data for Terraform, the same bytes whenever they are made.

The file is a template: `${environment}` and the thresholds are filled in where it is deployed.
"""

import json
import re
from typing import Any

from quotewatch.observability.policies.flow import FLOW
from quotewatch.observability.policies.gateway import GATEWAY
from quotewatch.observability.policies.proof import PROOF
from quotewatch.observability.policies.stages import STALLED
from quotewatch.observability.policy import Policy, check
from quotewatch.observability.queries import metrics_of, promql_name
from quotewatch.observability.thresholds import THRESHOLDS

PATH = "terraform/data/alert_policies.json"

_SELECTOR = re.compile("(" + promql_name("") + r'\w+)\{(.*?)"\}')
_JOB = re.compile(r'job="(\w+)')

POLICIES: tuple[Policy, ...] = (*GATEWAY, *STALLED, *FLOW, *PROOF)
check(POLICIES)


def files() -> dict[str, str]:
    """Return the text of the file by its path in the repository."""
    return {PATH: json.dumps(plain(), indent=2, ensure_ascii=False) + "\n"}


def plain() -> dict[str, Any]:
    """Return what the file says."""
    return {
        "thresholds": {each.name: each.value for each in THRESHOLDS.values()},
        "policies": {each.slug: each.plain() for each in POLICIES},
    }


def series_in(policy: Policy) -> set[tuple[str, str]]:
    """Return the metrics of ours that one alert looks at, each with the process, or "" for all."""
    found = _SELECTOR.findall(policy.query)
    return {
        (name, "".join(_JOB.findall(labels)))
        for written, labels in found
        for name in metrics_of({"promQLQuery": {"expr": written}})
    }


def used_metrics() -> set[str]:
    """Return the metrics that some alert looks at."""
    return {name for each in POLICIES for name, _ in series_in(each)}


def alerts_on(metric: str, owner: str) -> list[str]:
    """Return the slugs of the alerts that look at a metric of a process."""
    wanted = {(metric, owner), (metric, "")}
    return [each.slug for each in POLICIES if series_in(each) & wanted]
