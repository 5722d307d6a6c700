"""The evaluator that the smoke tests lean on reads filters as Cloud Logging documents them."""

import pytest

from tests.deploy.log_query import matches

ENTRY = {
    "timestamp": "2026-11-21T12:00:00.000000Z",
    "severity": "WARNING",
    "textPayload": "Memory limit of 512 MiB exceeded",
    "httpRequest": {"status": 503},
    "resource": {"type": "cloud_run_revision", "labels": {"service_name": "write"}},
}


@pytest.mark.parametrize(
    "text",
    [
        'timestamp>="2026-11-21T11:59:59.999999Z"',
        "severity>=INFO AND severity<ERROR",
        'resource.type="cloud_run_revision"',
        'resource.labels.service_name=("label" OR "write")',
        'textPayload:"memory LIMIT"',
        'textPayload:("exit" OR "exceeded")',
        "httpRequest.status>=400",
        'severity>=ERROR OR (httpRequest.status=503 AND resource.type!="job")',
        "NOT severity>=ERROR",
        'jsonPayload.event!="called"',
    ],
)
def test_lets_through(text: str) -> None:
    assert matches(text, ENTRY)


@pytest.mark.parametrize(
    "text",
    [
        'timestamp>="2026-11-21T12:00:01.000000Z"',
        "severity>=ERROR",
        'resource.labels.service_name=("label" OR "train")',
        'textPayload:"exit"',
        "httpRequest.status>=504",
        'jsonPayload.event="called"',
        'severity=WARNING AND textPayload="Memory limit"',
    ],
)
def test_keeps_out(text: str) -> None:
    assert not matches(text, ENTRY)


@pytest.mark.parametrize(
    "text", ["severity>=", '(severity="INFO"', "severity INFO", 'a="b" XOR c="d"', 'a="b")']
)
def test_refuses_what_is_no_filter(text: str) -> None:
    with pytest.raises(AssertionError):
        matches(text, ENTRY)
