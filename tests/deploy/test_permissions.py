"""A permission that does not exist is granted silently and allows nothing: all are known ones."""

import json
from pathlib import Path

import pytest

from deploy.names import Target, functions
from deploy.permissions import APIS, NEEDED, resources

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
        assert role == "projects/my-project-123/roles/quotewatchDeploy"
        assert found.kind == "project"


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
