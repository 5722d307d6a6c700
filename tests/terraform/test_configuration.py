"""Terraform's own checks: format, validity, its tests, and that a second apply changes nothing."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.terraform.planning import TERRAFORM, Workspace

_BLOCK = re.compile(r'^(variable|output) "(\w+)" \{\n(.*?)^\}', re.MULTILINE | re.DOTALL)
_TESTS = sorted(path.name for path in (TERRAFORM / "tests").glob("*.tftest.hcl"))


def test_it_is_formatted(workspace: Workspace) -> None:
    done = workspace.run("fmt", "-check", "-recursive", "-diff")
    assert done.returncode == 0, done.stdout


def test_every_argument_is_one_the_provider_has(workspace: Workspace) -> None:
    done = workspace.run("validate")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", _TESTS)
def test_its_own_tests_pass(workspace: Workspace, file: str) -> None:
    assert workspace.test(file)


def test_a_second_apply_changes_nothing(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for path in workspace.folder.glob("*.tf"):
        path.write_text(path.read_text().replace("prevent_destroy = true", ""))
    shutil.copy(Path(__file__).parent / "twice.tftest.hcl", workspace.folder / "tests")
    plans = workspace.test("twice.tftest.hcl")
    again = plans["again"].resources
    assert len(again) > 200
    changed = [(each.type, each.name, each.key) for each in again if each.actions != ("no-op",)]
    assert changed == []


def test_every_variable_and_every_output_says_what_it_is() -> None:
    for path in TERRAFORM.glob("*.tf"):
        for kind, name, body in _BLOCK.findall(path.read_text()):
            assert re.search(r'^  description = ".{10,}"$', body, re.MULTILINE), (kind, name)
            if kind == "variable":
                assert "validation {" in body, name
                assert "error_message" in body, name


def test_no_state_is_forced_on_anybody() -> None:
    assert not [path for path in TERRAFORM.glob("*.tf") if re.search("backend ", path.read_text())]


def test_what_terraform_leaves_behind_is_not_kept() -> None:
    ignored = (TERRAFORM.parent / ".gitignore").read_text().splitlines()
    assert {
        ".terraform/", ".terraform.lock.hcl", "*.tfstate*", "*.tfvars", "/terraform/backend.tf",
    } <= set(ignored)  # fmt: skip
    if not (TERRAFORM.parent / ".git").exists():
        return  # an upload: it has what git has
    kept = subprocess.run(
        ["git", "ls-files", "terraform"], cwd=TERRAFORM.parent, capture_output=True, text=True,
        check=True,
    ).stdout.split()  # fmt: skip
    assert "terraform/versions.tf" in kept
    bad = [name for name in kept if re.search(r"\.terraform|\.tfstate|\.tfvars$|backend", name)]
    assert bad == []
