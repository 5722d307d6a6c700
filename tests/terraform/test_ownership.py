"""What Terraform owns and what deploying does: said in the files, and shown by no plan."""

import re

from tests.terraform.planning import ROOT, TERRAFORM

DOCS = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]


def _block(file: str, resource: str) -> str:
    text = (TERRAFORM / file).read_text()
    found = text.partition(f"resource {resource} {{\n")[2].partition("\n}\n")[0]
    assert found, (file, resource)
    return found


def _listed(block: str, name: str) -> list[str]:
    """Return the entries of a list in a block, without their comments."""
    found = re.search(rf"{name} = \[\n(.*?)\n *\]$", block, re.MULTILINE | re.DOTALL)
    assert found, name
    lines = [line.partition("#")[0].strip().rstrip(",") for line in found[1].splitlines()]
    return [line for line in lines if line]


def test_an_apply_leaves_the_code_of_functions_alone() -> None:
    # As a whole: the provider sends all of it when any part of it changes.
    block = _block("functions.tf", '"google_cloudfunctions2_function" "function"')
    assert "ignore_changes = [build_config]" in block


def test_an_apply_leaves_the_image_of_the_gateway_alone_and_owns_the_rest() -> None:
    block = _block("gateway.tf", '"google_cloud_run_v2_service" "gateway"')
    ignored = _listed(block, "ignore_changes")
    assert ignored == [
        "client",
        "client_version",
        "scaling",
        "template[0].containers[0].image",
        "template[0].annotations",
        "template[0].labels",
        "template[0].revision",
    ]


def test_an_apply_leaves_the_secrets_of_others_alone() -> None:
    block = _block("catalog.tf", '"google_secret_manager_secret_version" "catalog"')
    assert "ignore_changes = [enabled, secret_data]" in block


def test_outputs_that_the_docs_read_are_there() -> None:
    outputs = set(
        re.findall(r'^output "(\w+)"', (TERRAFORM / "outputs.tf").read_text(), re.MULTILINE)
    )
    read = {name for page in DOCS for name in re.findall(r"output -raw (\w+)", page.read_text())}
    assert read
    assert read <= outputs


def test_what_is_taken_out_of_the_state_is_brought_back() -> None:
    page = (ROOT / "docs" / "runbook.md").read_text()
    (removed,) = re.findall(r"state rm (.+)", page)
    imported = re.findall(r"terraform import .*?(google_\w+\.\w+)", page)
    assert set(removed.split()) == set(imported)
    for address in imported:
        kind, _, name = address.partition(".")
        assert any(
            f'resource "{kind}" "{name}"' in path.read_text() for path in TERRAFORM.glob("*.tf")
        )
