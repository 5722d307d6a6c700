"""Every component may do what its code does, and nothing else."""

import pytest

from tests.terraform.grants import (
    PUBSUB_AGENT,
    ROLES,
    Grant,
    all_grants,
    grants_of,
    member_of,
)
from tests.terraform.planning import Plan, Workspace

WAREHOUSE = "bucket quotewatch-test-quotewatch-warehouse"
SOURCE = "bucket quotewatch-test-quotewatch-source"
MEASURED = Grant("project", "roles/monitoring.metricWriter")
CATALOG = "catalog quotewatch-test-quotewatch-warehouse"

_CHANGES_TABLES = {
    MEASURED,
    Grant("project", "roles/quotewatchBilledCaller"),
    Grant(CATALOG, "roles/biglake.editor"),
    Grant(WAREHOUSE, "roles/storage.objectUser"),
    Grant("secret quotewatch-catalog", "roles/secretmanager.secretAccessor"),
}
_READS_TABLES = {
    MEASURED,
    Grant("project", "roles/quotewatchBilledCaller"),
    Grant(CATALOG, "roles/biglake.viewer"),
    Grant(WAREHOUSE, "roles/storage.objectViewer"),
    Grant("secret quotewatch-catalog", "roles/secretmanager.secretAccessor"),
}
_STREAMS = ("raw_orderbook", "raw_trades", "features", "events", "predictions")

_ACT = "roles/iam.serviceAccountUser"
_ACTED_AS = [
    f"quotewatch-{name}@quotewatch-test.iam.gserviceaccount.com"
    for name in (
        "write", "label", "predict", "train", "reconcile", "maintain", "gateway", "build",
    )
]  # fmt: skip

# What each may do, and why: the call behind it.
WANTED: dict[str, set[Grant]] = {
    "gateway": {
        MEASURED,
        Grant("folder spool/", "roles/storage.objectUser"),  # object_spool.py
        *(Grant(f"topic {each}", "roles/pubsub.publisher") for each in _STREAMS[:4]),
    },
    "write": {
        *_CHANGES_TABLES,
        Grant("topic committed", "roles/pubsub.publisher"),  # draining.py announces
        Grant("folder quarantine/", "roles/storage.objectUser"),  # quarantine.py
        *(Grant(f"subscription {each}.write", "roles/pubsub.subscriber") for each in _STREAMS),
    },
    "label": _CHANGES_TABLES,
    "reconcile": _CHANGES_TABLES,
    "maintain": _CHANGES_TABLES,
    "train": {*_READS_TABLES, Grant("folder models/", "roles/storage.objectUser")},
    "predict": {
        MEASURED,
        Grant("topic predictions", "roles/pubsub.publisher"),
        Grant("folder models/", "roles/storage.objectViewer"),
    },
    "scheduler": {
        Grant(f"service {name}", "roles/run.invoker")
        for name in ("write", "label", "train", "reconcile", "maintain")
    },
    "push": {Grant(f"service {name}", "roles/run.invoker") for name in ("label", "predict")},
    "build": {
        Grant(SOURCE, "roles/storage.objectViewer"),
        Grant("repository quotewatch", "roles/artifactregistry.writer"),
        Grant("project", "roles/logging.logWriter"),
        Grant(
            "project",
            "roles/storage.objectViewer",
            "resource.name.startsWith('projects/_/buckets/gcf-v2-')",
        ),
    },
    # What it needs on the project stands in terraform/data/deploy_permissions.json.
    "deploy": {
        Grant("project", "roles/quotewatchDeploy"),
        Grant("project", "roles/logging.logWriter"),
        Grant(SOURCE, "roles/storage.objectViewer"),
        Grant(SOURCE, "roles/quotewatchUpload"),
        Grant("repository quotewatch", "roles/artifactregistry.writer"),
        Grant("topic features", "roles/pubsub.publisher"),
        *(Grant(f"account {each}", _ACT) for each in _ACTED_AS),
    },
}

# The services whose permissions are granted by name: one that is misspelled grants nothing.
SERVICES = {
    "cloudbuild", "cloudfunctions", "cloudscheduler", "logging", "resourcemanager", "run",
    "serviceusage",
}  # fmt: skip

# What no single thing can carry, each with its reason in identities.tf, registry.tf, deployer.tf.
ON_THE_PROJECT = {
    "roles/monitoring.metricWriter",
    "roles/quotewatchBilledCaller",
    "roles/quotewatchDeploy",
    "roles/logging.logWriter",
    "roles/storage.objectViewer",  # with a condition
}


@pytest.mark.parametrize("component", WANTED)
def test_a_component_may_do_what_its_code_does_and_nothing_else(plan: Plan, component: str) -> None:
    assert grants_of(plan, member_of(component)) == WANTED[component]


def test_pub_sub_itself_may_move_dead_letters_and_sign_pushes(plan: Plan) -> None:
    assert grants_of(plan, PUBSUB_AGENT) == {
        *(Grant(f"topic {each}-dead", "roles/pubsub.publisher") for each in _STREAMS),
        *(Grant(f"subscription {each}.write", "roles/pubsub.subscriber") for each in _STREAMS),
        Grant("subscription features.predict", "roles/pubsub.subscriber"),
        Grant(
            "account quotewatch-push@quotewatch-test.iam.gserviceaccount.com",
            "roles/iam.serviceAccountOpenIdTokenCreator",
        ),
    }


def test_nobody_else_is_granted_anything(plan: Plan) -> None:
    known = {member_of(each) for each in WANTED} | {PUBSUB_AGENT}
    assert {who for who, _ in all_grants(plan)} == known


def test_nothing_is_open_to_everyone(plan: Plan) -> None:
    assert not [who for who, _ in all_grants(plan) if who.startswith("all")]
    assert not [each for each in plan.resources if each.values.get("invoker_iam_disabled")]


def test_only_what_no_single_thing_can_carry_hangs_on_the_project(plan: Plan) -> None:
    found = {grant for _, grant in all_grants(plan) if grant.thing == "project"}
    assert {grant.role for grant in found} == ON_THE_PROJECT
    assert all(grant.condition for grant in found if grant.role.startswith("roles/storage."))


def test_bindings_are_added_and_never_replace_those_of_others(plan: Plan) -> None:
    types = {each.type for each in plan.resources if "_iam_" in each.type}
    assert all(each.endswith(("_iam_member", "_iam_custom_role")) for each in types)


def test_every_role_exists(plan: Plan) -> None:
    own = {f"roles/{each.values['role_id']}" for each in plan.of("google_project_iam_custom_role")}
    assert {grant.role for _, grant in all_grants(plan)} <= ROLES.keys() | own


def test_who_deploys_can_neither_make_nor_delete_nor_grant(plan: Plan) -> None:
    role = plan.values("google_project_iam_custom_role", "deploy")
    assert role["role_id"] == "quotewatchDeploy"
    verbs = {each.rpartition(".")[2] for each in role["permissions"]}
    assert not verbs & {"delete", "setIamPolicy", "invoke"}
    created = {each for each in role["permissions"] if each.endswith(".create")}
    assert created == {"cloudbuild.builds.create"}
    assert {each.partition(".")[0] for each in role["permissions"]} <= SERVICES


def test_who_uploads_sources_can_neither_read_nor_replace_any(plan: Plan) -> None:
    role = plan.values("google_project_iam_custom_role", "upload")
    assert role["role_id"] == "quotewatchUpload"
    assert role["permissions"] == ["storage.buckets.get", "storage.objects.create"]


def test_people_who_deploy_may_do_what_their_machine_may(workspace: Workspace) -> None:
    runs = workspace.test("promises.tftest.hcl")
    plan = runs["people_deploy_as_the_machine_does"]
    person = "user:ann@example.org"
    own = {Grant("account " + _ACTED_AS[0].replace("write", "deploy"), _ACT)}
    missing = grants_of(plan, member_of("deploy")) - grants_of(plan, person)
    assert grants_of(plan, person) - grants_of(plan, member_of("deploy")) - own == {
        Grant("repository quotewatch", "roles/artifactregistry.reader")
    }
    assert {grant.role for grant in missing} == {
        "roles/artifactregistry.writer",  # Cloud Build pushes the image
        "roles/logging.logWriter",
        "roles/storage.objectViewer",
    }


def test_every_component_has_an_account_of_its_own(plan: Plan) -> None:
    made = {each.values["account_id"] for each in plan.of("google_service_account")}
    assert made == {f"quotewatch-{each}" for each in WANTED}
    assert all(6 <= len(each) <= 30 for each in made)
