"""One workspace and one plan for all tests of Terraform: starting it is what takes long."""

import pytest

from tests.terraform.planning import Plan, Workspace


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """An initialised copy of terraform/."""
    return Workspace(tmp_path_factory.mktemp("terraform"))


@pytest.fixture(scope="session")
def plan(workspace: Workspace) -> Plan:
    """What a first apply with nothing but a project and a region would make."""
    return workspace.test("everything.tftest.hcl")["everything"]
