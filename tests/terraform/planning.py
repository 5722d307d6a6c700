"""Terraform as its users run it, without a cloud: what it would make, read from its own plan."""

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.availability import cannot_run

ROOT = Path(__file__).parents[2]
TERRAFORM = ROOT / "terraform"
# Carries the provider's schema where the provider itself cannot be downloaded.
_STAND_IN = ROOT.parent / "shared" / "terraform-provider" / "use"
_SECONDS = 300.0
_LEFT_OUT = shutil.ignore_patterns(".terraform*", "*.tfstate*", "*.tfvars")


@dataclass(frozen=True)
class Resource:
    """One thing Terraform would make."""

    type: str
    name: str
    key: str
    actions: Sequence[str]
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """Everything one plan would make."""

    resources: Sequence[Resource]

    def of(self, type_: str, name: str | None = None) -> list[Resource]:
        """Return the resources of one type, or of one block."""
        return [each for each in self.resources if each.type == type_ and name in (None, each.name)]

    def values(self, type_: str, name: str, key: str = "") -> Mapping[str, Any]:
        """Return the values of one resource."""
        return next(each.values for each in self.of(type_, name) if each.key == key)


class Workspace:
    """A copy of terraform/ that was initialised, so that nothing is left behind in the checkout."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("terraform") is None:
            cannot_run("terraform is not on the PATH: https://developer.hashicorp.com/terraform")
        self.folder = folder / "terraform"
        shutil.copytree(TERRAFORM, self.folder, ignore=_LEFT_OUT)
        ready = self.run("init", "-backend=false", "-input=false")
        if ready.returncode:
            cannot_run(f"terraform init failed: {ready.stderr[-1_000:]}")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one command of Terraform there."""
        wrapped = [str(_STAND_IN)] if _STAND_IN.is_file() else []
        with _alone():
            return subprocess.run(
                [*wrapped, "terraform", f"-chdir={self.folder}", *arguments],
                capture_output=True,
                text=True,
                check=False,
                timeout=_SECONDS,
                # Colours off; no call home.
                env=os.environ | {"TF_CLI_ARGS": "-no-color", "CHECKPOINT_DISABLE": "1"},
            )

    def test(self, file: str) -> dict[str, Plan]:
        """Run one file of tests; return the plan of each of its runs. Fails where one failed."""
        done = self.run("test", "-json", "-verbose", f"-filter=tests/{file}")
        said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        problems = [each["diagnostic"] for each in said if each["type"] == "diagnostic"]
        assert done.returncode == 0, json.dumps(problems, indent=1) + done.stderr
        return {each["@testrun"]: _plan(each["test_plan"]) for each in said if "test_plan" in each}


@contextmanager
def _alone() -> Iterator[None]:
    """Let one process of this machine at a time run it: the stand-in writes itself anew."""
    with (Path(tempfile.gettempdir()) / "quotewatch-terraform.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _plan(said: Mapping[str, Any]) -> Plan:
    return Plan(tuple(_resources(said.get("resource_changes") or [])))


def _resources(changes: Sequence[Mapping[str, Any]]) -> Iterator[Resource]:
    for each in changes:
        if each["mode"] == "managed":
            change = each["change"]
            yield Resource(
                each["type"],
                each["name"],
                str(each.get("index", "")),
                tuple(change["actions"]),
                change["after"] or {},
            )
