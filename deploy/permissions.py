"""What whoever deploys must be allowed, and on what. Data: Terraform grants from the same file.

Only what a deploy does: nothing here creates or deletes a function, or changes who may do what.
"""

import json
from dataclasses import dataclass

from deploy.names import DEPLOY_ROLE, GATEWAY, REPOSITORY, ROOT, TOPIC, UPLOAD_ROLE, Target

NEEDED: dict[str, dict[str, str]] = json.loads(
    (ROOT / "terraform" / "data" / "deploy_permissions.json").read_text(encoding="utf-8")
)

# What the lines of the plan, of preflight and of the smoke test talk to.
APIS = (
    "artifactregistry.googleapis.com",
    "cloudbuild.googleapis.com",
    "cloudfunctions.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "cloudscheduler.googleapis.com",
    "iam.googleapis.com",
    "logging.googleapis.com",
    "pubsub.googleapis.com",
    "run.googleapis.com",
    "storage.googleapis.com",
)


@dataclass(frozen=True, slots=True)
class Resource:
    """Something that permissions are granted on, and how to ask and to cure."""

    kind: str
    name: str
    api: str  # which answers
    path: str  # of the question
    grant: tuple[str, ...]  # the command that grants, but for whom

    @property
    def permissions(self) -> tuple[str, ...]:
        """What is needed on it."""
        return tuple(NEEDED[self.kind])

    def granted_to(self, member: str) -> tuple[str, ...]:
        """Return the command that grants what is missing."""
        return (*self.grant, f"--member={member}")


def resources(target: Target, functions: tuple[str, ...]) -> tuple[Resource, ...]:
    """Return all that permissions are needed on."""
    accounts = [_account(name, target) for name in (*functions, GATEWAY, "build")]
    return _project(target), *accounts, _topic(target), _bucket(target), _repository(target)


def _project(target: Target) -> Resource:
    project = target.project
    return Resource(
        "project", project, "cloudresourcemanager", f"v3/projects/{project}:testIamPermissions",
        (
            "gcloud", "projects", "add-iam-policy-binding", project,
            f"--role=projects/{project}/roles/{DEPLOY_ROLE}",
            "--condition=None",  # some bindings of the project have one: gcloud would ask
        ),
    )  # fmt: skip


def _account(component: str, target: Target) -> Resource:
    path = target.account_path(component)
    return Resource(
        "account", target.account(component), "iam", f"v1/{path}:testIamPermissions",
        (
            "gcloud", "iam", "service-accounts", "add-iam-policy-binding",
            target.account(component),
            f"--project={target.project}",
            "--role=roles/iam.serviceAccountUser",
        ),
    )  # fmt: skip


def _topic(target: Target) -> Resource:
    path = f"v1/projects/{target.project}/topics/{TOPIC}"
    return Resource(
        "topic", TOPIC, "pubsub", f"{path}:testIamPermissions",
        (
            "gcloud", "pubsub", "topics", "add-iam-policy-binding", TOPIC,
            f"--project={target.project}",
            "--role=roles/pubsub.publisher",
        ),
    )  # fmt: skip


def _bucket(target: Target) -> Resource:
    bucket = target.staging
    return Resource(
        "bucket", bucket, "storage", f"b/{bucket}/iam/testPermissions",
        (
            "gcloud", "storage", "buckets", "add-iam-policy-binding", f"gs://{bucket}",
            f"--role=projects/{target.project}/roles/{UPLOAD_ROLE}",
        ),
    )  # fmt: skip


def _repository(target: Target) -> Resource:
    place = f"projects/{target.project}/locations/{target.region}"
    return Resource(
        "repository", REPOSITORY, "artifactregistry",
        f"v1/{place}/repositories/{REPOSITORY}:testIamPermissions",
        (
            "gcloud", "artifacts", "repositories", "add-iam-policy-binding", REPOSITORY,
            f"--project={target.project}",
            f"--location={target.region}",
            "--role=roles/artifactregistry.reader",
        ),
    )  # fmt: skip
