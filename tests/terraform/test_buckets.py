"""Buckets: nobody public, nothing gone by accident, nothing kept for ever that need not be."""

from collections.abc import Mapping
from typing import Any

from tests.terraform.planning import TERRAFORM, Plan

KEPT = ("warehouse", "objects")  # what cannot be had again


def _buckets(plan: Plan) -> dict[str, Mapping[str, Any]]:
    return {each.name: each.values for each in plan.of("google_storage_bucket")}


def test_every_bucket_is_ours_alone(plan: Plan) -> None:
    for values in _buckets(plan).values():
        assert values["uniform_bucket_level_access"] is True
        assert values["public_access_prevention"] == "enforced"
        assert values["location"] == "us-east4"


def test_data_comes_back_for_a_week_and_its_buckets_are_not_destroyed(plan: Plan) -> None:
    for name in KEPT:
        values = _buckets(plan)[name]
        assert values["versioning"] == [{"enabled": True}]
        assert values["force_destroy"] is False
        assert values["soft_delete_policy"][0]["retention_duration_seconds"] == 7 * 86_400
        deletes = [
            rule["condition"][0]
            for rule in values["lifecycle_rule"]
            if rule["action"][0]["type"] == "Delete"
        ]
        # Only what was replaced or deleted a week ago; never a live object.
        assert [each["with_state"] for each in deletes] == ["ARCHIVED"]
        assert [each["days_since_noncurrent_time"] for each in deletes] == [7]
        assert not any(each.get("age") for each in deletes)


def test_terraform_refuses_to_destroy_what_cannot_be_had_again() -> None:
    protected = {
        "buckets.tf": ['"google_storage_bucket" "warehouse"', '"google_storage_bucket" "objects"'],
        "catalog.tf": [
            '"google_biglake_iceberg_catalog" "tables"',
            '"google_biglake_iceberg_namespace" "quotewatch"',
        ],
    }
    for file, blocks in protected.items():
        text = (TERRAFORM / file).read_text()
        for block in blocks:
            body = text.partition(f"resource {block} {{")[2].partition("\n}\n")[0]
            assert "prevent_destroy = true" in body, block


def test_sources_go_after_a_month_and_the_stub_stays(plan: Plan) -> None:
    (rule,) = _buckets(plan)["source"]["lifecycle_rule"]
    assert rule["condition"][0]["age"] == 30
    assert rule["condition"][0]["matches_prefix"] == ["builds/", "gateway/"]
    (stub,) = plan.of("google_storage_bucket_object")
    assert stub.values["name"].startswith("stub/")
