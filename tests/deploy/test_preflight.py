"""Whatever would stop a deploy is found before anything is touched, with the command that cures."""

import shutil
from typing import Any

import pytest
import urllib3

from deploy.names import DEPLOY_ROLE, UPLOAD_ROLE
from tests.deploy.clouds import FakeCloud, Outcome, cures
from tests.deploy.fake_gcloud import ALL, PROJECT, REGION

APPLY = f"terraform -chdir=terraform apply -var project_id={PROJECT} -var region={REGION}"


def refused(cloud: FakeCloud, **where: str) -> Outcome:
    """Deploy, which must be refused, and look that nothing was touched."""
    outcome = cloud.deploy(**where)
    assert outcome.code == 2, outcome.said
    assert "Nothing was changed." in outcome.said
    cloud.assert_untouched()
    return outcome


def test_where_nothing_stands_in_the_way_it_only_reads(cloud: FakeCloud) -> None:
    outcome = cloud.deploy("--preflight-only")

    assert outcome.code == 0, outcome.said
    cloud.assert_untouched()


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"project": "My Project"}, "PROJECT='My Project' is no project id"),
        ({"project": ""}, "PROJECT='' is no project id"),
        ({"project": "123456789012"}, "PROJECT='123456789012' is no project id"),
        ({"region": "europe-west1-b"}, "REGION='europe-west1-b' is no region"),
        ({"region": "Frankfurt"}, "REGION='Frankfurt' is no region"),
    ],
)
def test_a_misspelt_variable_is_named_with_how_it_is_spelt(
    cloud: FakeCloud, where: dict[str, str], expected: str
) -> None:
    assert expected in refused(cloud, **where).said


def test_a_commit_that_git_does_not_know_is_refused(cloud: FakeCloud) -> None:
    outcome = cloud.deploy("--commit=0123456")

    assert outcome.code == 2
    assert "commit '0123456': git finds none" in outcome.said
    cloud.assert_untouched()


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_one_mistaken_commit_is_one_problem(cloud: FakeCloud, options: tuple[str, ...]) -> None:
    outcome = cloud.deploy("--commit=zzz", *options)

    assert outcome.code == 2
    assert outcome.said.count("commit 'zzz'") == 1
    assert cures(outcome.said) == ["git fetch --all", "git log --oneline"]


def test_a_changed_tree_is_looked_at_with_git_status(cloud: FakeCloud) -> None:
    cloud.checkout.write("new.py", "")

    assert cures(refused(cloud).said) == ["git status", "git stash --include-untracked"]


@pytest.mark.parametrize("commit", ["", "main", "abc123"])
def test_where_no_git_is_asked_a_commit_must_be_spelt_out(cloud: FakeCloud, commit: str) -> None:
    outcome = cloud.deploy(f"--commit={commit}", "--preflight-only")

    assert outcome.code == 2
    assert f"commit {commit!r} is" in outcome.said


@pytest.mark.parametrize("missing", ["gcloud", "git"])
def test_a_missing_tool_is_named(
    cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    cloud.without("gcloud", missing)
    monkeypatch.setenv("PATH", str(cloud.programs))

    assert f"{missing}" in refused(cloud).said


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ({"Google Cloud SDK": "410.0.0"}, "gcloud is 410.0.0; deploying needs 528"),
        ({"core": "x"}, "gcloud is of unknown version; deploying needs 528"),
    ],
)
def test_a_gcloud_that_is_too_old_is_named(
    cloud: FakeCloud, version: dict[str, str], expected: str
) -> None:
    cloud.world.version = version

    outcome = refused(cloud)

    assert expected in outcome.said
    assert cures(outcome.said) == [
        "gcloud components update",
        "sudo apt-get install --only-upgrade google-cloud-cli",
    ]


def test_whoever_is_not_logged_in_is_told_so_and_what_was_not_looked_at(cloud: FakeCloud) -> None:
    cloud.world.account = None

    outcome = refused(cloud)

    assert "gcloud has no account that works: gcloud auth print-access-token:" in outcome.said
    assert "gcloud auth login" in cures(outcome.said)
    assert "Not looked at before that is cured: the project, what is in it." in outcome.said


def test_a_project_that_is_not_there_or_not_ones_own_is_named(cloud: FakeCloud) -> None:
    outcome = refused(cloud, project="someone-elses-1")

    assert "the project someone-elses-1 does not exist, or your account may not" in outcome.said
    assert cures(outcome.said) == ["gcloud projects list", "gcloud auth login"]


def test_a_project_that_is_being_deleted_is_named(cloud: FakeCloud) -> None:
    cloud.world.lifecycle = "DELETE_REQUESTED"

    assert f"gcloud projects undelete {PROJECT}" in cures(refused(cloud).said)


def test_an_unknown_region_is_named_beside_those_there_are(cloud: FakeCloud) -> None:
    cloud.world.functions = {}

    outcome = refused(cloud, region="europe-west99")

    assert "no region europe-west99 for functions; there are europe-west1, us-east4" in outcome.said
    assert "Not looked at before that is cured: the functions, the schedules" in outcome.said


def test_another_region_than_that_of_the_functions_is_named_with_theirs(cloud: FakeCloud) -> None:
    outcome = refused(cloud, region="europe-west1")

    assert f"REGION=europe-west1: the functions of {PROJECT} are in {REGION}" in outcome.said
    assert cures(outcome.said) == [f"make deploy PROJECT={PROJECT} REGION={REGION}"]


def test_a_folder_that_git_knows_nothing_of_is_named_with_what_makes_a_repository(
    cloud: FakeCloud,
) -> None:
    shutil.rmtree(cloud.checkout.root / ".git")

    outcome = refused(cloud)

    assert "is no repository of git" in outcome.said
    assert cures(outcome.said) == ["git init", "git add --all", "git commit --message=downloaded"]


def test_every_refusal_has_a_cure(cloud: FakeCloud) -> None:
    for options in (["--only=wirte"], ["--commit=HEAD", "--allow-dirty"], ["--commit="]):
        outcome = cloud.deploy(*options)
        assert outcome.code == 2
        assert cures(outcome.said) != [], outcome.said


def test_missing_apis_are_named_together_with_what_enables_them(cloud: FakeCloud) -> None:
    cloud.world.apis.remove("pubsub.googleapis.com")
    cloud.world.apis.remove("run.googleapis.com")

    outcome = refused(cloud)

    both = "pubsub.googleapis.com run.googleapis.com"
    assert cures(outcome.said) == [APPLY, f"gcloud services enable {both} --project={PROJECT}"]
    assert "Not looked at before that is cured: the gateway." in outcome.said


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("functions", {"write": {}}, "these functions are not there: label, maintain, predict"),
        ("jobs", [], "these schedules are not there: quotewatch-label, quotewatch-maintain"),
        ("gateway", None, "these services are not there: gateway"),
        ("repositories", (), "these repositories are not there: quotewatch"),
    ],
)
def test_what_terraform_has_not_made_is_named_with_the_command_that_makes_it(
    cloud: FakeCloud, name: str, value: Any, expected: str
) -> None:
    setattr(cloud.world, name, value)

    outcome = refused(cloud)

    assert expected in outcome.said
    assert cures(outcome.said) == [APPLY]


def test_a_function_that_somebody_is_deploying_is_left_alone(cloud: FakeCloud) -> None:
    cloud.world.functions["train"] = {"state": "DEPLOYING"}

    assert "somebody is deploying train at this moment" in refused(cloud).said


ACCOUNT = f"quotewatch-train@{PROJECT}.iam.gserviceaccount.com"
GRANTED = "add-iam-policy-binding"


@pytest.mark.parametrize(
    ("path", "permission", "place", "role"),
    [
        (
            f"/projects/{PROJECT}:",
            "cloudfunctions.functions.update",
            f"projects {GRANTED} {PROJECT}",
            f"projects/{PROJECT}/roles/{DEPLOY_ROLE} --condition=None",
        ),
        (
            "quotewatch-train@",
            "iam.serviceAccounts.actAs",
            f"iam service-accounts {GRANTED} {ACCOUNT} --project={PROJECT}",
            "roles/iam.serviceAccountUser",
        ),
        (
            "/topics/features:",
            "pubsub.topics.publish",
            f"pubsub topics {GRANTED} features --project={PROJECT}",
            "roles/pubsub.publisher",
        ),
        (
            "/b/",
            "storage.objects.create",
            f"storage buckets {GRANTED} gs://{PROJECT}-quotewatch-source",
            f"projects/{PROJECT}/roles/{UPLOAD_ROLE}",
        ),
        (
            "/repositories/",
            "artifactregistry.repositories.downloadArtifacts",
            f"artifacts repositories {GRANTED} quotewatch --project={PROJECT} --location={REGION}",
            "roles/artifactregistry.reader",
        ),
    ],
)
def test_a_missing_permission_is_named_with_the_command_that_grants_it(
    cloud: FakeCloud, path: str, permission: str, place: str, role: str
) -> None:
    cloud.apis.denied[path] = {permission}

    outcome = refused(cloud)

    assert permission in outcome.said
    member = "user:somebody@example.com"
    assert cures(outcome.said) == [f"gcloud {place} --role={role} --member={member}"]


def test_where_terraform_was_never_applied_one_command_cures_it_all(cloud: FakeCloud) -> None:
    cloud.world.functions = {}
    cloud.world.jobs = []
    cloud.world.gateway = None
    cloud.world.repositories = ()
    cloud.apis.absent += ["/iam/", "/storage/", "/artifactregistry/"]
    cloud.apis.denied["/topics/"] = {"*"}  # what Pub/Sub says of a topic that is not there

    outcome = refused(cloud)

    assert cures(outcome.said) == [APPLY]
    assert f"the bucket {PROJECT}-quotewatch-source is not there; Terraform" in outcome.said
    assert f"these functions are not there: {', '.join(ALL)};" in outcome.said


def test_a_service_account_is_granted_as_one(cloud: FakeCloud) -> None:
    cloud.world.account = f"quotewatch-deploy@{PROJECT}.iam.gserviceaccount.com"
    cloud.apis.denied["/topics/"] = {"*"}

    [cure] = cures(refused(cloud).said)

    assert cure.endswith(f"--member=serviceAccount:{cloud.world.account}")


def test_an_api_that_does_not_answer_is_a_reason_not_to_begin(
    cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.cloud._RETRIES", urllib3.Retry(1, raise_on_status=False))
    cloud.apis.broken.append("/iam/")

    outcome = refused(cloud)

    assert "503: The service is currently unavailable." in outcome.said


def test_all_that_is_wrong_is_told_at_once(cloud: FakeCloud) -> None:
    cloud.checkout.write("new.py", "")
    cloud.world.version = {"Google Cloud SDK": "400.0.0"}
    cloud.world.apis.remove("cloudbuild.googleapis.com")
    cloud.world.jobs.remove("quotewatch-write")
    cloud.world.gateway = None
    cloud.apis.denied["quotewatch-gateway@"] = {"*"}
    cloud.apis.denied["/topics/"] = {"*"}

    outcome = refused(cloud)

    assert [f"\n{number}. " in outcome.said for number in range(1, 8)] == [True] * 6 + [False]
    for told in (
        "the working tree is not what",
        "gcloud is 400.0.0",
        "these APIs are not enabled",
        "lacks on the account quotewatch-gateway@",
        "lacks on the topic features",
        "these schedules are not there: quotewatch-write",
        "these services are not there: gateway",
    ):
        assert told in outcome.said


def test_what_may_not_be_looked_at_is_not_called_missing(cloud: FakeCloud) -> None:
    cloud.apis.denied[f"/projects/{PROJECT}:"] = {"cloudscheduler.jobs.list"}
    cloud.world.jobs = []

    outcome = refused(cloud)

    assert "cloudscheduler.jobs.list" in outcome.said
    assert "these schedules are not there" not in outcome.said
    assert "Not looked at before that is cured: the schedules." in outcome.said


def test_a_look_that_fails_for_no_known_reason_is_shown_as_it_is(cloud: FakeCloud) -> None:
    cloud.world.failing = {"functions list": "INTERNAL: try again"}

    outcome = refused(cloud)

    assert "the functions cannot be looked at: ERROR: (gcloud) INTERNAL: try again" in outcome.said
    assert cures(outcome.said) == [
        f"gcloud functions list --v2 --regions={REGION} --project={PROJECT} --format=json"
    ]
