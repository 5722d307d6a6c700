"""What is not healthy is named, with the reason, and the deploy fails: each illness once."""

from collections.abc import Mapping
from typing import Any

import pytest

from deploy.health import Verdict, judge
from tests.deploy.clouds import FakeCloud, Outcome
from tests.deploy.fake_gcloud import ALL, PROJECT, REGION

HEAD = "1" * 40


def smoke(cloud: FakeCloud, *options: str, seconds: float = 0) -> Outcome:
    """Test what is there; without patience, since nobody in here is slow."""
    return cloud.deploy("--smoke-only", f"--smoke-seconds={seconds}", *options)


def ill(outcome: Outcome) -> dict[str, list[str]]:
    """Return what is said of those that are not healthy."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in outcome.said.partition("smoke test:")[2].splitlines():
        if line.endswith("NOT HEALTHY"):
            name = line.split()[0]
            found[name] = []
        elif line.startswith("    ") and name:
            found[name].append(line.strip())
    return found


def only_ill(outcome: Outcome, name: str) -> str:
    """Return the one reason why the one is not healthy."""
    assert outcome.code == 1, outcome.said
    found = ill(outcome)
    assert list(found) == [name], outcome.said
    [reason] = found[name]
    return reason


def test_what_is_deployed_already_can_be_tested_at_any_time(cloud: FakeCloud) -> None:
    outcome = smoke(cloud)

    assert outcome.code == 0, outcome.said
    assert ill(outcome) == {}


def test_nothing_is_called_from_outside(cloud: FakeCloud) -> None:
    smoke(cloud)

    changing = cloud.changing()
    assert sorted(call.words[3] for call in changing) == [
        f"quotewatch-{name}" for name in ALL if name != "predict"
    ]
    assert [call for call in cloud.apis.calls if "test" not in call] == [
        f"POST /pubsub/v1/projects/{PROJECT}/topics/features:publish"
    ]


@pytest.mark.parametrize("name", ["train", "predict"])
def test_silence_is_not_health(cloud: FakeCloud, name: str) -> None:
    cloud.world.silent = (name,)

    reason = only_ill(smoke(cloud), name)

    assert reason.startswith("said nothing within 0 s of being called; look: gcloud logging read")
    assert f"resource.labels.service_name={name}" in reason


def test_a_gateway_that_never_came_up_is_named(cloud: FakeCloud) -> None:
    cloud.world.silent = ("gateway",)

    reason = only_ill(smoke(cloud), "gateway")

    assert reason.startswith("nothing says that it came up; look: gcloud logging read")


def test_a_gateway_that_came_up_before_any_log_was_kept_is_believed_to_be_ready(
    cloud: FakeCloud,
) -> None:
    cloud.world.silent = ("gateway",)
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}
    latest = dict.fromkeys(("latestCreatedRevisionName", "latestReadyRevisionName"), "gateway-1")
    cloud.world.gateway = {"status": {"conditions": [ready], **latest}}

    assert smoke(cloud).code == 0


def test_a_report_of_a_failure_is_one(cloud: FakeCloud) -> None:
    cloud.world.failed = ("reconcile",)

    assert only_ill(smoke(cloud), "reconcile") == "reported a failure: {'error': 'x'}"


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (
            {"textPayload": "Memory limit of 512 MiB exceeded with 530 MiB used."},
            "Memory limit of 512 MiB exceeded with 530 MiB used.",
        ),
        ({"textPayload": "Container called exit(1)."}, "Container called exit(1)."),
        ({"httpRequest": {"status": 500}, "severity": "ERROR"}, "answered 500"),
        ({"httpRequest": {"status": 403}, "revision": ""}, "answered 403"),
        (
            {"severity": "ERROR", "textPayload": "Traceback (most recent call last):"},
            "logged an error: Traceback (most recent call last):",
        ),
        (
            {"severity": "ERROR", "jsonPayload": {"event": "call_failed", "error": "no catalog"}},
            "logged an error: event=call_failed error=no catalog",
        ),
        (
            {
                "httpRequest": {"status": 429},
                "textPayload": "Memory limit of 512 MiB exceeded with 530 MiB used.",
            },
            "Memory limit of 512 MiB exceeded with 530 MiB used.",
        ),
    ],
)
def test_what_goes_wrong_beside_a_report_counts(
    cloud: FakeCloud, entry: Mapping[str, Any], reason: str
) -> None:
    cloud.world.entries = [{"of": "write", "timestamp": "2999-01-01T00:00:00Z", **entry}]

    assert only_ill(smoke(cloud), "write") == reason


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            {"jsonPayload": {"status": "PERMISSION_DENIED"}},
            "Scheduler could not call it: status=PERMISSION_DENIED",
        ),
        (
            {"httpRequest": {"status": 503}, "jsonPayload": {"status": "UNAVAILABLE"}},
            "answered 503: status=UNAVAILABLE",
        ),
    ],
)
def test_what_scheduler_says_of_a_call_counts_where_none_reports(
    cloud: FakeCloud, said: Mapping[str, Any], reason: str
) -> None:
    entry = {"of": "write", "kind": "job", "severity": "ERROR", "revision": "", **said}
    cloud.world.entries = [{**entry, "timestamp": AFTERWARDS}]
    # A call that was begun before the deploy fails on the revision that was replaced.
    assert smoke(cloud).code == 0

    cloud.world.silent = ("write",)

    assert only_ill(smoke(cloud), "write") == reason


def test_an_answer_to_the_probe_that_tells_of_an_error_is_a_failure(cloud: FakeCloud) -> None:
    cloud.world.failed = ("predict",)

    assert only_ill(smoke(cloud), "predict") == "reported a failure: {'error': 'x'}"


NO_INSTANCE = "The request was aborted because there was no available instance."
AFTERWARDS = "2999-01-01T00:00:00Z"
# A call that found the only instance answering another: what Cloud Run logs, what Scheduler logs.
BUSY: tuple[Mapping[str, Any], ...] = (
    {"httpRequest": {"status": 429}, "severity": "WARNING", "textPayload": NO_INSTANCE},
    {"httpRequest": {"status": 429}, "severity": "ERROR", "revision": ""},
)
BUSY_JOB: tuple[Mapping[str, Any], ...] = (
    {"httpRequest": {"status": 429}, "jsonPayload": {"status": "RESOURCE_EXHAUSTED"}},
    {"jsonPayload": {"status": "RESOURCE_EXHAUSTED"}},
    {
        "jsonPayload": {
            "status": "UNKNOWN",
            "debugInfo": "URL_ERROR-ERROR_OTHER. Original HTTP response code number = 429",
        }
    },
)
REFUSALS: tuple[Mapping[str, Any], ...] = (
    *BUSY,
    *({"kind": "job", "severity": "ERROR", "revision": "", **each} for each in BUSY_JOB),
)


@pytest.mark.parametrize("entry", REFUSALS)
@pytest.mark.parametrize("name", ["write", "predict"])
def test_who_was_busy_and_reported_is_healthy(
    cloud: FakeCloud, name: str, entry: Mapping[str, Any]
) -> None:
    cloud.world.entries = [{"of": name, "timestamp": AFTERWARDS, **entry}]

    outcome = smoke(cloud)

    assert outcome.code == 0, outcome.said


def test_who_was_busy_is_waited_for_until_the_next_call_reports(
    cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.world.entries = [{"of": "write", "timestamp": AFTERWARDS, **each} for each in REFUSALS]
    cloud.world.silent = ("write",)
    looks: list[bool] = []

    def judged(*what: Any) -> list[Verdict]:
        verdicts = judge(*what)
        looks.append(all(verdict.settled for verdict in verdicts))
        if len(looks) > 2:  # nothing is read before the first, and the second shows a refusal
            cloud.world.silent = ()
        return verdicts

    monkeypatch.setattr("deploy.smoke.BETWEEN_SECONDS", 0.0)
    monkeypatch.setattr("deploy.smoke.judge", judged)

    outcome = smoke(cloud, seconds=60)

    assert outcome.code == 0, outcome.said
    assert looks == [False, False, False, True]


@pytest.mark.parametrize("entry", REFUSALS)
def test_who_was_busy_and_never_reported_is_named_with_that(
    cloud: FakeCloud, entry: Mapping[str, Any]
) -> None:
    cloud.world.entries = [{"of": "write", "timestamp": AFTERWARDS, **entry}]
    cloud.world.silent = ("write",)

    reason = only_ill(smoke(cloud), "write")

    assert reason.startswith("said nothing within 0 s of being called, and a call found no free")
    assert "instance (429)" in reason
    assert "; look: gcloud logging read" in reason


def test_what_went_wrong_before_or_elsewhere_does_not_count(cloud: FakeCloud) -> None:
    error = {"severity": "ERROR", "textPayload": "Traceback", "timestamp": "2999-01-01T00:00:00Z"}
    cloud.world.entries = [
        {"of": "write", **error, "timestamp": "2020-01-01T00:00:00Z"},
        {"of": "write", **error, "revision": "write-00000-older"},
        {"of": "somebody-else", **error},
    ]

    assert smoke(cloud).code == 0


def test_a_report_of_an_older_revision_is_none(cloud: FakeCloud) -> None:
    said = {"event": "called", "failed": False, "report": {}}
    cloud.world.silent = ("write",)
    cloud.world.entries = [
        {
            "of": "write",
            "timestamp": "2999-01-01T00:00:00Z",
            "revision": "write-00000-older",
            "jsonPayload": said,
        }
    ]

    assert only_ill(smoke(cloud), "write").startswith("said nothing")


def test_an_answer_to_another_probe_is_none(cloud: FakeCloud) -> None:
    said = {"event": "probed", "epoch": "0018c0ffee000000-00000001"}
    cloud.world.silent = ("predict",)
    cloud.world.entries = [
        {"of": "predict", "timestamp": "2999-01-01T00:00:00Z", "jsonPayload": said}
    ]

    assert only_ill(smoke(cloud), "predict").startswith("said nothing")


def test_a_gateway_that_crashes_is_named(cloud: FakeCloud) -> None:
    cloud.world.entries = [
        {
            "of": "gateway",
            "timestamp": "2999-01-01T00:00:00Z",
            "textPayload": "Container called exit(137).",
        }
    ]

    assert only_ill(smoke(cloud), "gateway") == "Container called exit(137)."


def test_a_function_whose_deployment_failed_is_named_with_why(cloud: FakeCloud) -> None:
    cloud.world.functions["label"] = {
        "state": "FAILED",
        "stateMessages": [{"message": "Container failed to start."}],
    }

    assert only_ill(smoke(cloud), "label") == "its state is FAILED Container failed to start."


def test_a_function_that_runs_another_commit_is_named(cloud: FakeCloud) -> None:
    outcome = smoke(cloud, f"--commit={HEAD}")

    found = ill(outcome)
    assert found["write"] == [f"it runs commit before, not {HEAD}"]
    assert found["gateway"][0].startswith("it runs placeholder, not us-east4-docker.pkg.dev/")


def test_a_gateway_that_did_not_become_ready_is_named(cloud: FakeCloud) -> None:
    cloud.world.gateway = {
        "status": {
            "conditions": [{"type": "Ready", "status": "False", "message": "Image not found."}],
            "latestCreatedRevisionName": "gateway-00001-old",
            "latestReadyRevisionName": "gateway-00000-older",
        }
    }

    outcome = smoke(cloud)

    assert ill(outcome)["gateway"] == [
        "it is not ready: Image not found.",
        "its revision gateway-00001-old did not become ready; gateway-00000-older runs on",
    ]


def test_a_schedule_that_cannot_be_run_is_named(cloud: FakeCloud) -> None:
    cloud.world.failing = {"scheduler jobs run quotewatch-maintain": "FAILED_PRECONDITION"}

    reason = only_ill(smoke(cloud), "maintain")

    assert reason == "its schedule could not be run: ERROR: (gcloud) FAILED_PRECONDITION"


def test_everybody_who_is_ill_is_named_with_the_way_back(cloud: FakeCloud) -> None:
    cloud.world.silent = ("train",)
    cloud.world.failed = ("write",)

    outcome = smoke(cloud)

    assert list(ill(outcome)) == ["train", "write"]
    assert "2 NOT HEALTHY: train,write. To go back to an older commit: make deploy" in outcome.said
    options = '"--commit=COMMIT --only=train,write"'
    assert f"PROJECT={PROJECT} REGION={REGION} ARGS={options}" in outcome.said


def test_a_report_that_takes_its_time_is_waited_for(
    cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.smoke.BETWEEN_SECONDS", 0.0)
    cloud.world.unread = 3

    outcome = smoke(cloud, seconds=60)

    assert outcome.code == 0, outcome.said
    assert cloud.world.unread == 0


def test_a_log_that_cannot_be_read_is_no_health(cloud: FakeCloud) -> None:
    cloud.world.unread = 99

    outcome = smoke(cloud)

    assert outcome.code == 1
    assert "RESOURCE_EXHAUSTED: Quota exceeded for read requests" in outcome.said


def test_a_probe_that_cannot_be_published_ends_the_test(cloud: FakeCloud) -> None:
    cloud.apis.absent.append(":publish")

    outcome = smoke(cloud)

    assert outcome.code == 1
    assert ":publish: 404: The specified resource does not exist." in outcome.said
    assert f'PROJECT={PROJECT} REGION={REGION} ARGS="--smoke-only"' in outcome.said
