"""Functions and gateway run as the code needs it: names, limits, settings, schedules."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from quotewatch.settings import Settings, load_settings, unknown_variables
from quotewatch.tables.catalog import catalog_properties
from tests.terraform.planning import ROOT, TERRAFORM, Plan

DOORS = sorted(
    path.stem for path in (ROOT / "functions").glob("*.py") if not path.stem.startswith("_")
)
# ARCHITECTURE: how often Scheduler calls what; `predict` is pushed to.
SCHEDULES = {
    "write": "* * * * *",
    "label": "*/5 * * * *",
    "train": "*/5 * * * *",
    "reconcile": "*/5 * * * *",
    "maintain": "*/10 * * * *",
}
WITHOUT_TABLES = {"predict"}


def _functions(plan: Plan) -> dict[str, Mapping[str, Any]]:
    return {each.key: each.values for each in plan.of("google_cloudfunctions2_function")}


def _service(plan: Plan, name: str) -> Mapping[str, Any]:
    service: Mapping[str, Any] = _functions(plan)[name]["service_config"][0]
    return service


def _environment(plan: Plan, name: str) -> dict[str, str]:
    """Return the variables a function starts with, its secrets opened."""
    service = _service(plan, name)
    secret = plan.values("google_secret_manager_secret_version", "catalog")["secret_data"]
    opened = {each["key"]: secret for each in service["secret_environment_variables"]}
    return {**service["environment_variables"], **opened}


def _gateway(plan: Plan) -> Mapping[str, Any]:
    service: Mapping[str, Any] = plan.values("google_cloud_run_v2_service", "gateway")
    return service


def _container(plan: Plan) -> Mapping[str, Any]:
    container: Mapping[str, Any] = _gateway(plan)["template"][0]["containers"][0]
    return container


def _gateway_environment(plan: Plan) -> dict[str, str]:
    return {each["name"]: each["value"] for each in _container(plan)["env"]}


def _settings(variables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Read the settings as the process would."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"QUOTEWATCH_{name.upper()}", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert unknown_variables(variables) == {}
    return load_settings()


def test_each_door_is_a_function_of_its_name(plan: Plan) -> None:
    functions = _functions(plan)
    assert sorted(functions) == DOORS
    for name, values in functions.items():
        assert values["name"] == name
        (build,) = values["build_config"]
        assert build["entry_point"] == name
        assert build["runtime"] == "python312"


@pytest.mark.parametrize("name", DOORS)
def test_a_function_has_the_time_and_the_processor_it_needs(
    plan: Plan, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = _service(plan, name)
    settings = _settings(_environment(plan, name), monkeypatch)
    budget = getattr(settings, f"{name}_budget_s", 0.0)
    assert service["timeout_seconds"] >= 2 * budget  # what is begun must be able to end
    assert service["timeout_seconds"] <= (600 if name in ("predict", "label") else 1_800)
    # More than one call at once needs a whole processor, and a stage that allows it.
    assert service["max_instance_request_concurrency"] == (4 if name == "predict" else 1)
    assert float(service["available_cpu"]) >= 1
    assert service["min_instance_count"] == 0
    assert service["max_instance_count"] >= 1


@pytest.mark.parametrize("name", DOORS)
def test_a_function_is_called_from_inside_only_and_runs_as_itself(plan: Plan, name: str) -> None:
    service = _service(plan, name)
    assert service["ingress_settings"] == "ALLOW_INTERNAL_ONLY"
    account = f"quotewatch-{name}@quotewatch-test.iam.gserviceaccount.com"
    assert service["service_account_email"] == account


@pytest.mark.parametrize("name", DOORS)
def test_a_function_starts_with_settings_that_are_taken(
    plan: Plan, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _settings(_environment(plan, name), monkeypatch)
    assert settings.bus == "pubsub"
    assert settings.project == "quotewatch-test"
    assert settings.environment == "production"
    assert settings.effective_objects == "gs://quotewatch-test-quotewatch-objects"
    assert settings.exports_metrics
    assert bool(settings.catalog) == (name not in WITHOUT_TABLES)
    write = plan.values("google_pubsub_subscription", "write", "features")
    assert settings.ack_deadline_s == write["ack_deadline_seconds"]


def test_the_catalog_is_biglakes_with_ones_own_rights(plan: Plan) -> None:
    secret = plan.values("google_secret_manager_secret_version", "catalog")["secret_data"]
    given = catalog_properties(secret, "", Path("/data"))
    assert given["uri"] == "https://biglake.googleapis.com/iceberg/v1/restcatalog"
    assert given["warehouse"] == "gs://quotewatch-test-quotewatch-warehouse"
    assert given["auth"] == {"type": "google"}
    assert given["header.x-goog-user-project"] == "quotewatch-test"
    assert given["header.X-Iceberg-Access-Delegation"] == ""
    catalog = plan.values("google_biglake_iceberg_catalog", "tables")
    assert catalog["name"] == "quotewatch-test-quotewatch-warehouse"  # BigLake wants the bucket's
    # Compaction of its own needs vended credentials: so it cannot be on.
    assert catalog["credential_mode"] == "CREDENTIAL_MODE_END_USER"


def test_schedules_are_those_of_the_architecture(plan: Plan) -> None:
    jobs = {each.key: each.values for each in plan.of("google_cloud_scheduler_job")}
    assert {name: job["schedule"] for name, job in jobs.items()} == SCHEDULES
    for name, job in jobs.items():
        assert job["name"] == f"quotewatch-{name}"
        (target,) = job["http_target"]
        (token,) = target["oidc_token"]
        account = "quotewatch-scheduler@quotewatch-test.iam.gserviceaccount.com"
        assert token == {"service_account_email": account, "audience": target["uri"]}
        assert target["http_method"] == "POST"
        assert job["retry_config"][0]["retry_count"] == 3
        # The function's own limit comes first, and says so; Scheduler allows half an hour.
        deadline = int(job["attempt_deadline"].removesuffix("s"))
        assert _service(plan, name)["timeout_seconds"] < deadline <= 1_800


def test_the_gateway_is_one_instance_that_always_works(plan: Plan) -> None:
    template = _gateway(plan)["template"][0]
    (scaling,) = template["scaling"]
    assert (scaling["min_instance_count"], scaling["max_instance_count"]) == (1, 1)
    assert _container(plan)["resources"][0]["cpu_idle"] is False
    account = "quotewatch-gateway@quotewatch-test.iam.gserviceaccount.com"
    assert template["service_account"] == account


def test_nobody_can_call_the_gateway(plan: Plan) -> None:
    assert _gateway(plan)["ingress"] == "INGRESS_TRAFFIC_INTERNAL_ONLY"
    assert _gateway(plan)["default_uri_disabled"] is True


def test_a_new_gateway_takes_over_once_it_captures(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = _container(plan)
    settings = _settings(_gateway_environment(plan), monkeypatch)
    (startup,) = container["startup_probe"]
    (liveness,) = container["liveness_probe"]
    assert startup["http_get"][0]["path"] == "/readyz"
    assert liveness["http_get"][0]["path"] == "/healthz"
    ports = {probe["http_get"][0]["port"] for probe in (startup, liveness)}
    assert ports == {settings.http_port} == {container["ports"][0]["container_port"]}
    # Cloud Run takes no more than four minutes.
    assert startup["period_seconds"] * startup["failure_threshold"] <= 240
    assert startup["timeout_seconds"] <= startup["period_seconds"]


def test_the_gateway_starts_with_settings_that_are_taken(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _settings(_gateway_environment(plan), monkeypatch)
    assert settings.products == ("BTC-USD", "ETH-USD")
    assert settings.effective_spool == "gs://quotewatch-test-quotewatch-objects/spool"
    assert settings.exports_metrics


def test_the_stub_refuses_in_the_name_of_every_function() -> None:
    names: dict[str, Any] = {}
    exec((TERRAFORM / "stub" / "main.py").read_text(), names)  # noqa: S102 - our own file
    for door in DOORS:
        body, status = names[door](None)
        assert status == 503  # not acked, and tried again
        assert "make deploy" in body


def test_the_stub_that_is_uploaded_is_the_one_that_can_be_read() -> None:
    stub = TERRAFORM / "stub"
    with zipfile.ZipFile(stub / "source.zip") as packed:
        held = {name: packed.read(name).decode() for name in packed.namelist()}
    read = {name: (stub / name).read_text() for name in ("main.py", "requirements.txt")}
    assert held == read, "pack it again: cd terraform/stub && zip -X source.zip *.py *.txt"


def test_metrics_and_alerts_are_those_of_the_catalogue(plan: Plan) -> None:
    data = TERRAFORM / "data"
    metrics = json.loads((data / "metric_descriptors.json").read_text())
    made = {each.key: each.values for each in plan.of("google_monitoring_metric_descriptor")}
    assert made.keys() == {each["name"] for each in metrics}
    for each in metrics:
        values = made[each["name"]]
        for name in ("type", "metric_kind", "value_type", "unit", "display_name", "description"):
            assert values[name] == each[name]
        labels = {(label["key"], label["value_type"]) for label in values["labels"]}
        assert labels == {(label["key"], label["value_type"]) for label in each["labels"]}

    policies = json.loads((data / "alert_policies.json").read_text())
    alerts = {each.key: each.values for each in plan.of("google_monitoring_alert_policy")}
    assert alerts.keys() == policies["policies"].keys()
    for name, values in alerts.items():
        (condition,) = values["conditions"]
        (promql,) = condition["condition_prometheus_query_language"]
        wanted = _filled(policies["policies"][name], policies["thresholds"])
        fields = ("query", "duration", "evaluation_interval", "rule_group", "alert_rule")
        assert {field: promql[field] for field in fields} == {f: wanted[f] for f in fields}
        assert promql["disable_metric_validation"] is wanted["disable_metric_validation"]
        assert values["severity"] == wanted["severity"]
        assert values["alert_strategy"][0]["auto_close"] == wanted["auto_close"]
        assert values["documentation"][0] | wanted["documentation"] == values["documentation"][0]
        assert "${" not in json.dumps(values)


def _filled(policy: Mapping[str, Any], thresholds: Mapping[str, float]) -> dict[str, Any]:
    """Put values where the data has names, as Terraform's templates do."""
    text = json.dumps(policy)
    for name, value in {**thresholds, "environment": "production"}.items():
        text = text.replace(f"${{{name}}}", str(value))
    filled: dict[str, Any] = json.loads(text)
    return filled
