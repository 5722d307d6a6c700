"""The gateway's image holds a subset of what the project runs on, in the same ranges."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


def requirements(path: str) -> set[str]:
    lines = (ROOT / path).read_text().splitlines()
    return {line for line in lines if line and not line.startswith(("#", "-r"))}


def test_the_gateways_requirements_are_a_subset() -> None:
    assert requirements("ingest_gateway/requirements.txt") < requirements("requirements.txt")


def test_every_requirement_is_a_range() -> None:
    for line in requirements("requirements.txt") | requirements("requirements-dev.txt"):
        assert ">=" in line, line
        assert ",<" in line, line
