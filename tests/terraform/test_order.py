"""What waits for what: in a fresh project everything that is made too early is refused."""

import re

import pytest

from tests.terraform.planning import TERRAFORM, Plan, Workspace

_EDGE = re.compile(r'^\s*"(\S+)" -> "(\S+)";$', re.MULTILINE)
_NODE = re.compile(r'^\s*"(google_\S+)" \[', re.MULTILINE)

# The API that a type of resource is made through, by how the type begins.
_APIS = {
    "google_artifact_registry_": "artifactregistry",
    "google_biglake_": "biglake",
    "google_cloud_run_": "run",
    "google_cloud_scheduler_": "cloudscheduler",
    "google_cloudfunctions2_": "cloudfunctions",
    "google_monitoring_": "monitoring",
    "google_project_iam_custom_role": "iam",
    "google_project_iam_member": "cloudresourcemanager",
    "google_pubsub_": "pubsub",
    "google_secret_manager_": "secretmanager",
    "google_service_account": "iam",
    "google_storage_": "storage",
}
_BY_OTHERS = {"cloudbuild", "logging"}  # functions are built by one, and all processes log


class Graph:
    """Who depends on whom, as Terraform itself sees it: through locals, too."""

    def __init__(self, text: str) -> None:
        self.nodes = set(_NODE.findall(text))
        self._edges: dict[str, set[str]] = {}
        for after, before in _EDGE.findall(text):
            self._edges.setdefault(after, set()).add(before)

    def before(self, node: str) -> set[str]:
        """Return everything that is made before it."""
        found: set[str] = set()
        left = [node]
        while left:
            new = self._edges.get(left.pop(), set()) - found
            found |= new
            left += new
        return found


@pytest.fixture(scope="module")
def graph(workspace: Workspace) -> Graph:
    done = workspace.run("graph")
    assert done.returncode == 0, done.stderr
    return Graph(done.stdout)


def test_everything_waits_until_the_apis_are_known(graph: Graph) -> None:
    early = {node for node in graph.nodes if "terraform_data.apis_known" not in graph.before(node)}
    assert early == {"google_project_service.api"}
    assert "google_project_service.api" in graph.before("terraform_data.apis_known")


def test_what_runs_waits_for_what_it_may_do_and_what_it_reads(graph: Graph) -> None:
    for node in ("google_cloudfunctions2_function.function", "google_cloud_run_v2_service.gateway"):
        assert "terraform_data.permissions_known" in graph.before(node)
    functions = graph.before("google_cloudfunctions2_function.function")
    assert {
        "google_artifact_registry_repository_iam_member.writer",
        "google_project_iam_member.build_log",
        "google_project_iam_member.build_source",
        "google_secret_manager_secret_iam_member.catalog_reader",
        "google_secret_manager_secret_version.catalog",
        "google_storage_bucket_iam_member.build_source",
    } <= functions
    # The placeholder needs neither; the first revision that captures needs both.
    gateway = graph.before("google_cloud_run_v2_service.gateway")
    assert {
        "google_pubsub_topic_iam_member.publisher",
        "google_project_iam_member.metric_writer",
        "google_storage_managed_folder_iam_member.user",
    } <= gateway
    jobs = graph.before("google_cloud_scheduler_job.call")
    assert "google_cloud_run_v2_service_iam_member.scheduler" in jobs


def test_the_waits_are_waited_again_when_there_is_something_new() -> None:
    for file, name in (("apis.tf", "apis_known"), ("identities.tf", "permissions_known")):
        block = (TERRAFORM / file).read_text().partition(f'"terraform_data" "{name}"')[2]
        # `input` changes in place, and no provisioner runs.
        assert re.search(r"^  triggers_replace = sort\(", block.partition("\n}\n")[0], re.MULTILINE)


def test_every_api_that_something_is_made_through_is_enabled_and_no_other(plan: Plan) -> None:
    made = {each.type for each in plan.resources if each.type.startswith("google_")}
    needed = {
        api
        for type_ in made - {"google_project_service"}
        for api in [next(api for begin, api in _APIS.items() if type_.startswith(begin))]
    }
    enabled = {
        each.values["service"].removesuffix(".googleapis.com")
        for each in plan.of("google_project_service")
    }
    assert enabled == needed | _BY_OTHERS


def test_calls_are_billed_to_the_project_but_for_those_that_enable_its_apis() -> None:
    providers = (TERRAFORM / "versions.tf").read_text().split("\nprovider ")[1:]
    billed, before_apis = (" ".join(text.split()) for text in providers)
    # BigLake refuses a person's own credentials otherwise.
    assert "billing_project = var.project_id user_project_override = true" in billed
    assert 'alias = "before_apis"' in before_apis
    assert "billing_project" not in before_apis
