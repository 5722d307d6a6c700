"""What one alert is, and what Cloud Monitoring and sense demand of it. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from quotewatch.errors import MetricError
from quotewatch.observability.thresholds import THRESHOLDS

Severity = Literal["CRITICAL", "ERROR", "WARNING"]

RUNBOOK = "docs/runbook.md"
ENVIRONMENT = "environment"

_STEP_SECONDS = 30  # Cloud Monitoring evaluates in multiples of it
_LEAST_CLOSE_SECONDS, _MOST_CLOSE_SECONDS = 1_800, 604_800
_PLACEHOLDER = re.compile(r"\$\{(\w+)\}")
_WINDOW = re.compile(r"\[(\d+)([mh])\]")
_SECONDS = {"m": 60, "h": 3_600}
_SLUG = re.compile(r"[a-z]+(-[a-z]+)*")


@dataclass(frozen=True)
class Policy:
    """One alert. It fires when the query has had a result for so many seconds without a break."""

    slug: str  # names it everywhere, its section in the runbook included
    title: str
    severity: Severity
    meaning: str
    query: str
    for_seconds: int = 0
    every_seconds: int = 60  # how often it is looked at
    close_seconds: int = _LEAST_CLOSE_SECONDS  # without any data an incident ends after that

    @property
    def rule(self) -> str:
        """Its name where a name may have no dashes."""
        return self.slug.replace("-", "_")

    @property
    def thresholds(self) -> list[str]:
        """The thresholds it compares with."""
        return sorted(set(_PLACEHOLDER.findall(self.query)) - {ENVIRONMENT})

    def problems(self) -> Iterator[str]:
        """Say what would be refused, or would never fire."""
        if not _SLUG.fullmatch(self.slug):
            yield "a slug has lower letters and dashes"
        if self.every_seconds <= 0 or self.every_seconds % _STEP_SECONDS:
            yield f"it can be looked at every {_STEP_SECONDS} s or multiples of it"
        if not _LEAST_CLOSE_SECONDS <= self.close_seconds <= _MOST_CLOSE_SECONDS:
            yield f"it can close after {_LEAST_CLOSE_SECONDS} s to 7 days"
        yield from (
            f"no threshold is called {name}" for name in self.thresholds if name not in THRESHOLDS
        )
        windows = [int(number) * _SECONDS[unit] for number, unit in _WINDOW.findall(self.query)]
        # Else what was seen is forgotten before it has been seen for long enough.
        if not windows or min(windows) < self.for_seconds:
            yield f"it looks back less than the {self.for_seconds} s it must hold"
        if 'environment="${environment}"' not in self.query and "pubsub_" not in self.query:
            yield "it mixes environments"

    def plain(self) -> dict[str, Any]:
        """Return what Terraform makes a google_monitoring_alert_policy of."""
        return {
            "alert_rule": self.rule,
            "auto_close": f"{self.close_seconds}s",
            "disable_metric_validation": True,  # it may be deployed before the first point
            "display_name": f"QuoteWatch: {self.title}",
            "documentation": {
                "content": f"{self.meaning}\n\nWhat to do: {RUNBOOK}#{self.slug}",
                "mime_type": "text/markdown",
                "subject": f"QuoteWatch (${{{ENVIRONMENT}}}): {self.title}",
            },
            "duration": f"{self.for_seconds}s",
            "evaluation_interval": f"{self.every_seconds}s",
            "query": self.query,
            "rule_group": "quotewatch",
            "severity": self.severity,
        }


def check(policies: Sequence[Policy]) -> None:
    """Refuse policies that are wrong in themselves; MetricError names every reason."""
    slugs = [each.slug for each in policies]
    problems = [f"{slug}: is there twice" for slug in sorted(set(slugs)) if slugs.count(slug) > 1]
    problems += [f"{each.slug}: {problem}" for each in policies for problem in each.problems()]
    if problems:
        raise MetricError("\n".join(problems))
