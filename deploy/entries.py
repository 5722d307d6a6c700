"""What Cloud Logging says of a deployed system: the question as one filter, the answers typed."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from deploy.names import GATEWAY, Target, job, scheduled

CALLED = "called"  # a function that Scheduler called says its report
PROBED = "probed"  # a function that was pushed a probe says what it answered
LISTENING = "listening"  # the gateway has come up
MOST = 1_000  # entries of one answer; a system that says more in minutes has shown what is wrong

# The gateway came up when it was deployed, maybe long ago; no log is kept for longer than this.
LOOK_BACK = timedelta(days=30)
_LOST = ("Memory limit", "Container called exit", "Uncaught signal")
_BAD_STATUS = 400
# One instance takes one call at a time: what meets another call (cron's meets the smoke test's) is
# answered so, and Scheduler, like Pub/Sub, tries again.
_BUSY = 429
# Scheduler names the status it got in httpRequest, in debugInfo, or only as the code it stands for.
_BUSY_CODE = "RESOURCE_EXHAUSTED"
_BUSY_INFO = re.compile(rf"\b{_BUSY}\b")
_BAD_SEVERITIES = ("ERROR", "CRITICAL", "ALERT", "EMERGENCY")
_LONGEST = 300  # characters of an entry in a message


@dataclass(frozen=True, slots=True)
class Entry:
    """One log entry. `of` is the function, or the gateway, it says something about."""

    of: str
    revision: str  # empty where a call was refused before it reached one
    kind: str  # of resource
    severity: str
    status: int | None
    text: str
    payload: Mapping[str, Any]

    @property
    def event(self) -> str:
        """The event of one of our own lines."""
        return str(self.payload.get("event", ""))

    @property
    def from_scheduler(self) -> bool:
        """Whether Scheduler says it of a call, and not who was called."""
        return self.kind == "cloud_scheduler_job"

    def trouble(self) -> str:
        """Say what is wrong according to this entry; nothing if nothing is."""
        if self._lost:
            return self.text[:_LONGEST]
        if self.refusal():
            return ""
        if self.status is not None and self.status >= _BAD_STATUS:
            return f"answered {self.status}" + (f": {self._said}" if self._said else "")
        if self.from_scheduler:
            return f"Scheduler could not call it: {self._said or self.severity}"
        if self.severity in _BAD_SEVERITIES:
            return f"logged an error: {self._said or self.severity}"
        return ""

    def refusal(self) -> str:
        """Say that a call found no free instance; nothing if this is something else.

        No trouble in itself: whoever is busy is alive, and is called again.
        """
        if self._lost or not self._is_busy:
            return ""
        return f"found no free instance ({_BUSY})" + (f": {self._said}" if self._said else "")

    @property
    def _lost(self) -> bool:
        return any(word in self.text for word in _LOST)

    @property
    def _is_busy(self) -> bool:
        if self.status is not None or not self.from_scheduler:
            return self.status == _BUSY
        info = str(self.payload.get("debugInfo", ""))
        return self.payload.get("status") == _BUSY_CODE or bool(_BUSY_INFO.search(info))

    @property
    def _said(self) -> str:
        named = ("event", "error", "status", "message", "debugInfo", "exception", "report")
        words = [f"{name}={self.payload[name]}" for name in named if self.payload.get(name)]
        return (self.text or " ".join(words))[:_LONGEST]


def parse(record: Mapping[str, Any]) -> Entry:
    """Read an entry as gcloud prints it."""
    resource = record.get("resource", {})
    labels = resource.get("labels", {})
    called = str(labels.get("job_id", "")).removeprefix(job(""))
    status = record.get("httpRequest", {}).get("status")
    return Entry(
        str(labels.get("service_name") or called),
        str(labels.get("revision_name", "")),
        str(resource.get("type", "")),
        str(record.get("severity", "DEFAULT")),
        int(status) if status is not None else None,
        str(record.get("textPayload", "")),
        record.get("jsonPayload", {}),
    )


def log_filter(target: Target, functions: tuple[str, ...], since: datetime) -> str:
    """Return the filter that finds all reports since a moment, and all that went wrong."""
    bad = " OR ".join(
        [
            "severity>=ERROR",
            f"httpRequest.status>={_BAD_STATUS}",
            f"textPayload:{_any_of(_LOST)}",
        ]
    )
    reports = f"jsonPayload.event={_any_of((CALLED, PROBED))}"
    began = f'timestamp>="{_spelt(since)}"'
    up = f'jsonPayload.event="{LISTENING}" AND timestamp>="{_spelt(since - LOOK_BACK)}"'
    jobs = [job(name) for name in scheduled(functions)]
    return " OR ".join(
        [
            _of("cloud_run_revision", "service_name", (*functions, GATEWAY), target)
            + f" AND {began} AND ({reports} OR {bad}))",
            _of("cloud_run_revision", "service_name", [GATEWAY], target) + f" AND {up})",
            _of("cloud_scheduler_job", "job_id", jobs, target)
            + f" AND {began} AND severity>=ERROR)",
        ]
    )


def reading(target: Target, functions: tuple[str, ...], since: datetime) -> tuple[str, ...]:
    """Return the command that reads the entries."""
    return (
        "gcloud", "logging", "read", log_filter(target, functions, since),
        f"--project={target.project}",
        f"--limit={MOST}",
        "--format=json",
    )  # fmt: skip


def _of(kind: str, label: str, names: Sequence[str], target: Target) -> str:
    return (
        f'(resource.type="{kind}" AND resource.labels.location="{target.region}"'
        f" AND resource.labels.{label}={_any_of(names)}"
    )


def _any_of(values: Iterable[str]) -> str:
    return "(" + " OR ".join(f'"{value}"' for value in values) + ")"


def _spelt(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}"
