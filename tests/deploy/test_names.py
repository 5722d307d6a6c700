"""What deploying looks for under a name is what Terraform makes under that name."""

import re
from pathlib import Path

from deploy.names import (
    DEPLOY_ROLE,
    GATEWAY,
    REPOSITORY,
    UPLOAD_ROLE,
    Target,
    functions,
    job,
    scheduled,
)
from deploy.permissions import APIS

TERRAFORM = Path(__file__).parents[2] / "terraform"
TARGET = Target("${var.project_id}", "${var.region}", "1" * 40)


def lines(name: str) -> set[str]:
    """Return the lines of a file, blanks apart."""
    text = (TERRAFORM / f"{name}.tf").read_text(encoding="utf-8")
    return {" ".join(line.split()).rstrip(",") for line in text.splitlines()}


def test_the_functions_and_schedules_are_those_that_terraform_makes() -> None:
    text = (TERRAFORM / "functions.tf").read_text(encoding="utf-8")
    made = dict(
        re.findall(r"^    (\w+) = \{\n(?:      .*\n)*?      schedule += (.*)$", text, re.MULTILINE)
    )

    assert sorted(made) == list(functions())
    assert sorted(name for name, cron in made.items() if cron != "null") == list(
        scheduled(functions())
    )
    assert f'name = "{job("${each.key}")}"' in lines("schedules")


def test_everything_else_has_the_name_that_terraform_gives_it() -> None:
    assert f'name = "{GATEWAY}"' in lines("gateway")
    assert f'name = "{TARGET.staging}"' in lines("buckets")
    assert f'repository_id = "{REPOSITORY}"' in lines("registry")
    assert {f'role_id = "{role}"' for role in (DEPLOY_ROLE, UPLOAD_ROLE)} <= lines("deployer")
    account = TARGET.account("${each.key}").partition("@")[0]
    assert f'account_id = "{account}"' in lines("identities")


def test_every_api_that_is_looked_for_is_one_that_terraform_enables() -> None:
    assert {f'"{api}"' for api in APIS} <= lines("apis")
