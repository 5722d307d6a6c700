"""Every gcloud line, wherever it stands, is one that the real gcloud takes; builds as well."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.names import Target, functions
from deploy.plan import BUILD_IGNORE, IMAGE, RUNTIME, plan
from tests.deploy.clouds import FakeCloud
from tests.deploy.fake_gcloud import ALL, PROJECT, REGION
from tests.deploy.real_gcloud import RealGcloud, find
from tests.deploy.written import lines_in, pages

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "cloudbuild.yaml"
IMAGE_BUILD = ROOT / "ingest_gateway" / "cloudbuild.yaml"
COMMIT = "1" * 40
TARGET = Target(PROJECT, REGION, COMMIT)

# Cloud Build sets these itself; COMMIT_SHA where a trigger started it, else whoever submits.
BUILT_IN = {"PROJECT_ID": PROJECT, "COMMIT_SHA": COMMIT}
_NAMES = re.compile(rf"\b({'|'.join(ALL)})\b")
_SUBSTITUTION = re.compile(r"(?<!\$)\$(?:\{(\w+)\}|([A-Z_][A-Z0-9_]*))")


@pytest.fixture(scope="session")
def gcloud(tmp_path_factory: pytest.TempPathFactory) -> RealGcloud:
    return find(tmp_path_factory.mktemp("gcloud"))


def steps_of(path: Path) -> dict[str, dict[str, Any]]:
    """Return the steps of a build by id, the substitutions filled in."""
    text = path.read_text(encoding="utf-8")
    values = {
        **BUILT_IN,
        **declared(path),
        "_REGION": REGION,
        "_IMAGE": TARGET.image,
        "_COMMIT": COMMIT,
    }
    filled = _SUBSTITUTION.sub(lambda found: str(values[found[1] or found[2]]), text)
    return {step["id"]: step for step in yaml.safe_load(filled)["steps"]}


def declared(path: Path) -> dict[str, str]:
    found: dict[str, str] = yaml.safe_load(path.read_text("utf-8")).get("substitutions", {})
    return found


def used(path: Path) -> set[str]:
    text = "\n".join(
        line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()[:1] != "#"
    )
    return {found[1] or found[2] for found in _SUBSTITUTION.finditer(text)}


def command_of(step: dict[str, Any]) -> tuple[str, ...]:
    return (step["entrypoint"], *step["args"])


# The lines


def test_the_real_gcloud_takes_every_line_and_would_refuse_mistakes(
    gcloud: RealGcloud, cloud: FakeCloud
) -> None:
    # Those of cloudbuild.yaml are the same: the plan's, says a test below.
    lines = {shlex.join(line) for line in said_to_the_fake(cloud)} | set(shown_to_people(cloud))
    lines = {
        _NAMES.sub("write", line) for line in lines
    }  # one of a kind is enough: each takes time
    lines |= {line for page in pages() for line in lines_in(page)}
    mistaken = {f"{line} --no-such-flag" for line in sorted(lines)[:2]} | {"gcloud builds sumbit"}

    assert gcloud.complaints(lines | mistaken).keys() == mistaken


def said_to_the_fake(cloud: FakeCloud) -> Iterator[tuple[str, ...]]:
    """Yield every line of a whole deploy."""
    assert cloud.deploy().code == 0
    yield from (call.line for call in cloud.gcloud.calls)


def shown_to_people(cloud: FakeCloud) -> Iterator[str]:
    """Yield every gcloud line that is shown when something is wrong."""
    said = ""
    cloud.world.silent = ("train", "gateway")
    said += cloud.deploy("--smoke-only", "--smoke-seconds=0").said
    cloud.world.silent = ()
    cloud.world.functions["train"] = {"state": "DEPLOYING"}
    said += cloud.deploy(region="europe-west99").said + cloud.deploy().said
    cloud.world.apis = cloud.world.apis[1:]
    cloud.apis.denied[""] = {"*"}
    said += cloud.deploy().said + cloud.deploy(project="Mine", region="here").said
    cloud.world.lifecycle = "DELETE_REQUESTED"
    cloud.world.version = {}
    said += cloud.deploy().said
    cloud.world.account = None
    said += cloud.deploy().said
    yield from re.findall(r"(?:^ {5}|look: )(gcloud .*)$", said, re.MULTILINE)


def test_lines_are_read_as_one_would_paste_them(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Text with gcloud --nothing, and `gcloud scheduler jobs list --location=X`.\n\n"
        "    $ gcloud functions list --v2 \\\n        --project=<project>   # all\n"
        "```\ngcloud builds submit . --substitutions=COMMIT_SHA=$(git rev-parse HEAD) | cat\n```\n"
    )

    assert lines_in(page) == {
        "gcloud scheduler jobs list --location=X",
        "gcloud functions list --v2 --project=filled",
        "gcloud builds submit . --substitutions=COMMIT_SHA=filled",
    }


# The builds


def test_gcloud_understands_both_builds(gcloud: RealGcloud) -> None:
    assert gcloud.steps(BUILD, IMAGE_BUILD) == [list(steps_of(BUILD)), list(steps_of(IMAGE_BUILD))]


def test_a_build_deploys_with_the_lines_of_the_plan() -> None:
    found = {
        name: command_of(step)
        for name, step in steps_of(BUILD).items()
        if step["entrypoint"] == "gcloud"
    }

    assert found == {
        step.name: step.arguments for step in plan(TARGET, functions()) if step.name != IMAGE
    }


def test_a_build_deploys_every_door_after_the_tests_and_the_gateway_last() -> None:
    steps = steps_of(BUILD)

    for name in ALL:
        assert {"test", "preflight"} <= before(name, steps)
    assert {*ALL, "push"} <= before("gateway", steps)
    assert {"test", "preflight", "image"} <= before("push", steps)
    assert before("smoke", steps) == steps.keys() - {"smoke"}


def before(name: str, steps: dict[str, dict[str, Any]]) -> set[str]:
    """Return all steps that have ended when one begins."""
    direct = [each for each in steps[name]["waitFor"] if each != "-"]
    assert set(direct) <= steps.keys(), f"{name} waits for a step that does not exist"
    return {*direct, *(other for each in direct for other in before(each, steps))}


def test_functions_are_deployed_at_the_same_time() -> None:
    assert [steps_of(BUILD)[name]["waitFor"] for name in ALL] == [["preflight"]] * len(ALL)


def test_both_builds_make_the_image_with_the_same_steps() -> None:
    whole, alone = steps_of(BUILD), steps_of(IMAGE_BUILD)

    for name in ("image", "push"):
        assert command_of(whole[name]) == command_of(alone[name])
        assert whole[name]["name"] == alone[name]["name"]


def test_a_build_is_the_same_tomorrow() -> None:
    for path in (BUILD, IMAGE_BUILD):
        for name, step in steps_of(path).items():
            image, _, tag = step["name"].partition(":")
            if image.endswith("/google-cloud-cli"):
                # Google removes what is older than a year: a pin would end the file.
                assert tag in ("stable", "emulators"), name
                continue
            assert re.search(r"\d+\.\d+", tag), f"{path.name}: {name} runs in {step['name']}"


def test_every_substitution_is_declared_and_every_declared_one_is_used() -> None:
    given = {"_IMAGE", "_COMMIT"}  # by the plan: there is no default that would be right

    assert used(BUILD) - BUILT_IN.keys() == declared(BUILD).keys()
    assert used(IMAGE_BUILD) == given
    [image] = [step for step in plan(TARGET, ALL) if step.name == IMAGE]
    assert f"--substitutions=_IMAGE={TARGET.image},_COMMIT={COMMIT}" in image.arguments


def test_a_build_runs_as_its_own_account_and_keeps_logs_where_that_one_may_write() -> None:
    build = yaml.safe_load(BUILD.read_text(encoding="utf-8"))

    assert "/serviceAccounts/quotewatch-deploy@" in build["serviceAccount"]
    for path in (BUILD, IMAGE_BUILD):
        options = yaml.safe_load(path.read_text(encoding="utf-8"))["options"]
        assert options["logging"] == "CLOUD_LOGGING_ONLY"


def test_the_functions_run_on_the_python_that_the_tests_ran_on() -> None:
    image = steps_of(BUILD)["test"]["name"]

    assert re.fullmatch(rf"python:{RUNTIME[6]}\.{RUNTIME[7:]}-\w+", image)


# What is uploaded


def test_gcloud_takes_the_folder_as_the_source_of_a_function(gcloud: RealGcloud) -> None:
    gcloud.check_source(ROOT, RUNTIME)


def test_a_build_gets_the_commit_and_nothing_that_lies_around(gcloud: RealGcloud) -> None:
    files = gcloud.uploaded(ROOT, BUILD_IGNORE)

    for needed in ("cloudbuild.yaml", ".gcloudignore", ".ci/run", "tests/conftest.py", "main.py"):
        assert needed in files
    strange = (".git/", ".venv/", "data/", ".mypy_cache/", ".hypothesis/")
    assert [name for name in files if name.startswith(strange) or "__pycache__" in name] == []
