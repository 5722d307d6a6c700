"""A scanner of the field finds nothing; what it is told to pass over says why."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.availability import cannot_run
from tests.terraform.planning import ROOT, TERRAFORM

_OWN = ROOT / ".venv" / "checkov" / "bin" / "checkov"  # it pins too much to share our packages
_SECONDS = 300.0


def _scanned(target: Path, framework: str) -> dict[str, Any]:
    program = str(_OWN) if _OWN.is_file() else shutil.which("checkov")
    if program is None:
        cannot_run("checkov is not installed: make scanner")
    where = ["--directory", str(target)] if target.is_dir() else ["--file", str(target)]
    done = subprocess.run(
        [program, *where, "--framework", framework, "--output", "json", "--skip-download"],
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.mark.parametrize(
    ("target", "framework", "least"),
    [(TERRAFORM, "terraform", 100), (ROOT / "ingest_gateway" / "Dockerfile", "dockerfile", 50)],
    ids=["terraform", "dockerfile"],
)
def test_nothing_is_found(target: Path, framework: str, least: int) -> None:
    said = _scanned(target, framework)
    results = said["results"]
    failed = [(each["check_id"], each["resource"]) for each in results["failed_checks"]]
    assert failed == []
    assert said["summary"]["parsing_errors"] == 0
    assert said["summary"]["passed"] >= least
    for each in results["skipped_checks"]:
        reason = each["check_result"]["suppress_comment"]
        assert len(reason) > 20, (each["check_id"], each["resource"])
