"""Who may do what: the IAM bindings of a plan, and what the roles in them allow.

What a role allows is written down here from Google's own pages: a role or a permission that does
not exist is granted without a word and allows nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.terraform.planning import Plan

PROJECT = "quotewatch-test"
_ACCOUNT = f"serviceAccount:quotewatch-{{}}@{PROJECT}.iam.gserviceaccount.com"
PUBSUB_AGENT = "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com"

# Of each role we grant, what we rely on. Predefined roles hold more of their own kind.
ROLES: Mapping[str, frozenset[str]] = {
    "roles/pubsub.publisher": frozenset({"pubsub.topics.publish"}),
    "roles/pubsub.subscriber": frozenset({"pubsub.subscriptions.consume"}),
    "roles/monitoring.metricWriter": frozenset(
        {
            "monitoring.timeSeries.create",
            "monitoring.metricDescriptors.create",
            "monitoring.metricDescriptors.list",
        }
    ),
    "roles/monitoring.viewer": frozenset({"monitoring.timeSeries.list"}),
    "roles/storage.objectUser": frozenset(
        {
            "storage.objects.create",
            "storage.objects.delete",
            "storage.objects.get",
            "storage.objects.list",
        }
    ),
    "roles/storage.objectViewer": frozenset({"storage.objects.get", "storage.objects.list"}),
    "roles/biglake.editor": frozenset(
        {
            "biglake.catalogs.get",
            "biglake.namespaces.get",
            "biglake.namespaces.create",
            "biglake.tables.create",
            "biglake.tables.get",
            "biglake.tables.update",
        }
    ),
    "roles/biglake.viewer": frozenset(
        {"biglake.catalogs.get", "biglake.namespaces.get", "biglake.tables.get"}
    ),
    "roles/secretmanager.secretAccessor": frozenset({"secretmanager.versions.access"}),
    "roles/run.invoker": frozenset({"run.routes.invoke"}),
    "roles/artifactregistry.writer": frozenset(
        {
            "artifactregistry.repositories.get",
            "artifactregistry.repositories.downloadArtifacts",
            "artifactregistry.repositories.uploadArtifacts",
        }
    ),
    "roles/artifactregistry.reader": frozenset(
        {
            "artifactregistry.repositories.get",
            "artifactregistry.repositories.downloadArtifacts",
        }
    ),
    "roles/logging.logWriter": frozenset({"logging.logEntries.create"}),
    "roles/iam.serviceAccountOpenIdTokenCreator": frozenset({"iam.serviceAccounts.getOpenIdToken"}),
    "roles/iam.serviceAccountUser": frozenset({"iam.serviceAccounts.actAs"}),
}

# What the thing is called that a binding hangs on, by the type of the binding.
_THINGS: Mapping[str, tuple[str, str]] = {
    "google_project_iam_member": ("project", "project"),
    "google_pubsub_topic_iam_member": ("topic", "topic"),
    "google_pubsub_subscription_iam_member": ("subscription", "subscription"),
    "google_storage_bucket_iam_member": ("bucket", "bucket"),
    "google_storage_managed_folder_iam_member": ("folder", "managed_folder"),
    "google_biglake_iceberg_catalog_iam_member": ("catalog", "name"),
    "google_secret_manager_secret_iam_member": ("secret", "secret_id"),
    "google_cloud_run_v2_service_iam_member": ("service", "name"),
    "google_artifact_registry_repository_iam_member": ("repository", "repository"),
    "google_service_account_iam_member": ("account", "service_account_id"),
}


@dataclass(frozen=True, order=True)
class Grant:
    """One role on one thing."""

    thing: str  # "topic features", "project"
    role: str
    condition: str = ""


def member_of(component: str) -> str:
    """Spell a component's account as IAM does."""
    return _ACCOUNT.format(component)


def grants_of(plan: Plan, member: str) -> set[Grant]:
    """Return everything a member was granted."""
    return {grant for who, grant in all_grants(plan) if who == member}


def all_grants(plan: Plan) -> Iterator[tuple[str, Grant]]:
    """Yield every binding of a plan. A type that is not known here fails: it must be looked at."""
    for each in plan.resources:
        if "_iam_" in each.type and not each.type.endswith("_custom_role"):
            yield each.values["member"], _grant(each.type, each.values)


def _grant(type_: str, values: Mapping[str, Any]) -> Grant:
    kind, name = _THINGS[type_]
    conditions = [each["expression"] for each in values.get("condition") or []]
    role = values["role"].removeprefix(f"projects/{PROJECT}/")
    return Grant(_thing(kind, values[name]), role, "".join(conditions))


def _thing(kind: str, name: str) -> str:
    if kind == "project":
        return kind
    return f"{kind} {name.rpartition('/')[2] or name}" if kind != "folder" else f"{kind} {name}"
