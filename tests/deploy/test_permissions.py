"""A permission that does not exist is granted silently and allows nothing: all are known ones.

And one that is left out stops the first real deploy: what each line needs stands here once more.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from deploy.names import Target, functions
from deploy.permissions import APIS, NEEDED, resources
from deploy.provisioned import LOOKS, REGIONS, Look
from tests.deploy.clouds import FakeCloud
from tests.deploy.fake_gcloud import COMMANDS

TARGET = Target("my-project-123", "us-east4", "1" * 40)
# Google's predefined roles with those of their permissions that are needed here, as published by
# iann0036/iam-dataset on GitHub, read on 2026-11-21.
KNOWN: dict[str, list[str]] = json.loads(
    Path(__file__).with_name("known_permissions.json").read_text(encoding="utf-8")
)


def test_every_permission_is_one_that_google_grants_somewhere() -> None:
    known = {name for names in KNOWN.values() for name in names}

    assert {name for names in NEEDED.values() for name in names} - known == set()


def test_none_makes_or_deletes_anything_deployed_or_changes_who_may() -> None:
    verbs = {name.rpartition(".")[2] for name in NEEDED["project"]}

    assert verbs & {"delete", "setIamPolicy", "getIamPolicy", "actAs"} == set()
    assert [name for name in NEEDED["project"] if name.endswith(".create")] == [
        "cloudbuild.builds.create"
    ]


@pytest.mark.parametrize("resource", resources(TARGET, functions()), ids=lambda each: each.name)
def test_what_is_offered_as_a_cure_grants_what_is_missing(resource: object) -> None:
    [found] = [each for each in resources(TARGET, functions()) if each == resource]
    [role] = [each.removeprefix("--role=") for each in found.grant if each.startswith("--role=")]
    if role in KNOWN:
        assert set(found.permissions) <= set(KNOWN[role])
    else:
        # Terraform gives these exactly what stands in NEEDED.
        own = {"project": "quotewatchDeploy", "bucket": "quotewatchUpload"}
        assert role == f"projects/my-project-123/roles/{own[found.kind]}"


def test_one_acts_as_everything_that_is_deployed_and_as_who_builds_it() -> None:
    acted = [each.name for each in resources(TARGET, functions()) if each.kind == "account"]

    assert [name.partition("@")[0] for name in acted] == [
        f"quotewatch-{name}" for name in (*functions(), "gateway", "build")
    ]


def test_every_api_that_is_asked_is_looked_for() -> None:
    asked = {
        f"{name.partition('.')[0]}.googleapis.com" for names in NEEDED.values() for name in names
    }
    asked -= {"resourcemanager.googleapis.com", "serviceusage.googleapis.com"}  # spelt otherwise

    assert asked | {"cloudresourcemanager.googleapis.com"} == set(APIS)


# Complete. By the beginning of a gcloud line, or the form of a REST call: on what it needs what.

Needs = Mapping[str, frozenset[str]]


def needs(**on: str) -> Needs:
    return {kind: frozenset(names.split()) for kind, names in on.items()}


LINES: Mapping[str, Needs] = {
    "version": {},
    "auth print-access-token": {},
    "auth list": {},
    "projects describe": needs(project="resourcemanager.projects.get"),
    "services list": needs(project="serviceusage.services.list"),
    "functions regions list": needs(project="cloudfunctions.locations.list"),
    "functions list": needs(project="cloudfunctions.functions.list"),
    # Asks for the runtime, looks whether APIs are enabled and what the project's number is, uploads
    # the source to an address that sourceCodeSet yields, and waits for the operation.
    "functions deploy": needs(
        project="cloudfunctions.functions.get cloudfunctions.functions.sourceCodeSet"
        " cloudfunctions.functions.update cloudfunctions.operations.get"
        " cloudfunctions.runtimes.list resourcemanager.projects.get serviceusage.services.get",
        account="iam.serviceAccounts.actAs",
    ),
    "scheduler jobs list": needs(project="cloudscheduler.jobs.list"),
    "scheduler jobs run": needs(project="cloudscheduler.jobs.run"),
    # Logs go to Cloud Logging only, so it waits with builds.get and reads none from a bucket.
    "builds submit": needs(
        project="cloudbuild.builds.create cloudbuild.builds.get serviceusage.services.use",
        account="iam.serviceAccounts.actAs",
        bucket="storage.buckets.get storage.objects.create",
    ),
    "run services describe": needs(project="run.services.get"),
    # Cloud Run takes an image only from somebody who may read it.
    "run services update": needs(
        project="run.operations.get run.services.get run.services.update",
        account="iam.serviceAccounts.actAs",
        repository="artifactregistry.repositories.downloadArtifacts",
    ),
    "artifacts repositories describe": needs(repository="artifactregistry.repositories.get"),
    "logging read": needs(project="logging.logEntries.list"),
}
CALLS: Mapping[str, Needs] = {
    # Everybody may ask what they may do.
    r"POST /[^:]+:testIamPermissions": {},
    r"GET /storage/b/[^/]+/iam/testPermissions": {},
    r"POST /pubsub/v1/projects/[^/]+/topics/[^/:]+:publish": needs(topic="pubsub.topics.publish"),
}


def together(all_needs: Iterable[Needs]) -> dict[str, set[str]]:
    """Return what all of it needs."""
    found: dict[str, set[str]] = {}
    for each in all_needs:
        for kind, names in each.items():
            found.setdefault(kind, set()).update(names)
    return found


def test_what_is_granted_is_what_the_lines_and_calls_need() -> None:
    needed = together([*LINES.values(), *CALLS.values()])

    assert {kind: set(names) for kind, names in NEEDED.items()} == needed


def kind_of(line: tuple[str, ...]) -> str:
    """Return the beginning under which a line is known; there must be just one."""
    said = " ".join(line)
    [kind] = [each for each in LINES if f"{said} ".startswith(f"gcloud {each} ")]
    return kind


def form_of(call: str) -> str:
    """Return the form under which a REST call is known; there must be just one."""
    [form] = [each for each in CALLS if re.fullmatch(each, call)]
    return form


def test_every_line_and_call_of_a_deploy_is_of_a_known_kind_and_every_kind_occurs(
    cloud: FakeCloud,
) -> None:
    outcome = cloud.deploy()

    assert outcome.code == 0, outcome.said
    assert {kind_of(call.line) for call in cloud.gcloud.calls} == LINES.keys()
    assert {form_of(call) for call in cloud.apis.calls} == CALLS.keys()


def test_every_line_that_a_deploy_could_say_is_of_a_known_kind() -> None:
    assert {kind_of(("gcloud", *command[0])) for command in COMMANDS} == LINES.keys()


@pytest.mark.parametrize("look", [REGIONS, *LOOKS], ids=lambda look: look.name)
def test_a_look_is_left_out_for_want_of_what_its_line_needs(look: Look) -> None:
    assert look.permission in together([LINES[kind_of(look.arguments(TARGET))]]).popitem()[1]
