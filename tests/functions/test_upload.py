"""What `gcloud functions deploy --source=.` uploads, and that the doors run from that alone."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import closing
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from quotewatch.bus.sqlite import SqliteBus
from quotewatch.bus.topology import topology
from tests.availability import cannot_run
from tests.functions import serving as served_from
from tests.functions.serving import DOORS, serving
from tests.functions.test_doors import publish, stored
from tests.functions.test_push_doors import objects_of, published, push
from tests.import_graph import ROOT, file_of, files_reached, graph, strangers_reached
from tests.learning.test_serving import serve
from tests.stages.test_predict import FIRST, asked, features

DEPLOYED = tuple(f"functions.{path.stem}" for path in DOORS.glob("[a-z]*.py"))
PATIENCE_SECONDS = 120.0  # a busy machine is slow, not wrong

# What lies about in a checkout in which somebody works.
JUNK = (
    ".env", ".git/config", ".venv/lib/python3.11/site-packages/flask/app.py", "core",
    "data/bus.db", "data/demo/catalog.db", "gateway.log", "service-account.json",
    "functions/.env", "functions/.env.yaml", "functions/.ipynb_checkpoints/write.py",
    "functions/__pycache__/write.cpython-312.pyc", "functions/credentials.json",
    "functions/drafts/write.py", "functions/predict.py.orig", "functions/requirements.txt",
    "quotewatch/.#clock.py", "quotewatch/.mypy_cache/clock.py", "quotewatch/bus/bus.db",
    "quotewatch/bus/debug.log", "quotewatch/key.pem", "quotewatch/model.pkl",
    "quotewatch/tables/__pycache__/ledger.cpython-312.pyc",
    "quotewatch/tables/.ipynb_checkpoints/ledger-checkpoint.py",
    "terraform/.terraform/providers/google", "terraform/.terraform.lock.hcl",
    "terraform/production.tfvars", "terraform/terraform.tfstate", "terraform/plan.out",
)  # fmt: skip


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy what git has or would take, and strew junk over it."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in kept_by_git():
        put(folder / name, (ROOT / name).read_bytes())
    for name in JUNK:
        put(folder / name, b"secret = 1\n")
    return folder


@pytest.fixture(scope="module")
def uploaded(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    """Ask gcloud which files it would upload."""
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        cannot_run("the upload list needs gcloud on the PATH")
    config = tmp_path_factory.mktemp("gcloud")
    listing = subprocess.run(
        [gcloud, "meta", "list-files-for-upload", "."],
        cwd=checkout, env={**os.environ, "CLOUDSDK_CONFIG": str(config)},
        capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    return frozenset(listing.stdout.splitlines())


@pytest.fixture(scope="module")
def upload(
    checkout: Path, uploaded: frozenset[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Lay out the upload in a folder of its own, as the build finds it."""
    folder = tmp_path_factory.mktemp("upload")
    for name in uploaded:
        put(folder / name, (checkout / name).read_bytes())
    return folder


def kept_by_git(root: Path = ROOT) -> list[str]:
    """Return the files of the checkout, new ones included, ignored ones not.

    What was uploaded to a build has no repository with it: all files there are new ones.
    """
    if (root / ".git").exists():
        return listed_by_git(root)
    with tempfile.TemporaryDirectory() as empty:
        git("init", "--quiet", "--bare", empty)
        return listed_by_git(root, f"--git-dir={empty}", f"--work-tree={root}")


def listed_by_git(root: Path, *repository: str) -> list[str]:
    chosen = ("--cached", "--others", "--exclude-standard", "-z")
    listing = git("-C", str(root), *repository, "ls-files", *chosen)
    names = {name for name in listing.split("\0") if name}
    return sorted(name for name in names if (root / name).is_file())


def git(*arguments: str) -> str:
    try:
        ran = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        cannot_run(f"a clean copy needs git: {error}")
    return ran.stdout


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


# What is looked at

# What the tests and tools of a build leave in the tree that was uploaded to it.
LEFT = (
    ".venv/lib/python3.12/site-packages/flask/app.py", ".mypy_cache/cache.json",
    ".pytest_cache/README.md", ".ruff_cache/x", ".hypothesis/x", "data/bus.db",
    "functions/__pycache__/write.cpython-312.pyc", "terraform/.terraform/providers/google",
    "terraform/terraform.tfstate", "terraform/terraform.tfstate.backup",
)  # fmt: skip


def test_where_there_is_no_repository_the_tree_is_the_commit(tmp_path: Path) -> None:
    kept = kept_by_git()
    for name in kept:
        put(tmp_path / name, (ROOT / name).read_bytes())
    for name in LEFT:
        put(tmp_path / name, b"left\n")

    assert not (tmp_path / ".git").exists()
    assert kept_by_git(tmp_path) == kept
    assert "terraform/data/deploy_permissions.json" in kept


def test_in_a_repository_a_file_that_is_new_is_looked_at(tmp_path: Path) -> None:
    git("init", "--quiet", str(tmp_path))
    for name in (".gitignore", "functions/write.py", "functions/core.py"):
        put(tmp_path / name, b"core.py\n")
    git("-C", str(tmp_path), "add", ".gitignore", "functions/write.py")
    put(tmp_path / "functions/new.py", b"")

    assert kept_by_git(tmp_path) == [".gitignore", "functions/new.py", "functions/write.py"]


# What ships


def test_only_sources_of_doors_and_library_and_their_requirements_ship(
    uploaded: frozenset[str],
) -> None:
    rooms = ("functions/", "quotewatch/")
    others = {name for name in uploaded if not (name.startswith(rooms) and name.endswith(".py"))}
    assert others == {"requirements.txt"}
    assert uploaded <= set(kept_by_git())


def test_what_lies_about_stays_here(uploaded: frozenset[str], checkout: Path) -> None:
    assert all((checkout / name).is_file() for name in JUNK)
    assert uploaded.isdisjoint(JUNK)


def test_every_file_the_doors_need_now_or_later_ships(uploaded: frozenset[str]) -> None:
    assert files_reached(*DEPLOYED) <= uploaded


def room_of(name: str) -> str:
    """Name the room a file is in, or the file itself if it is in none."""
    return "/".join(name.split("/")[:2])


def test_every_room_that_ships_is_needed_by_a_door(uploaded: frozenset[str]) -> None:
    shipped = {room_of(name) for name in uploaded} - {"requirements.txt"}
    assert shipped == {room_of(name) for name in files_reached(*DEPLOYED)}


def test_no_room_is_left_out_in_part(uploaded: frozenset[str]) -> None:
    ours = {file_of(name) for name in graph().find_descendants("quotewatch")}
    shipped = {room_of(name) for name in uploaded}
    assert {name for name in ours if room_of(name) in shipped} <= uploaded


def test_the_upload_is_small(
    upload: Path, uploaded: frozenset[str], record_property: Callable[[str, object], None]
) -> None:
    size = sum((upload / name).stat().st_size for name in uploaded)
    record_property("upload_bytes", size)
    record_property("upload_files", len(uploaded))
    assert size < 2_000_000  # 0.56 MB in November 2026


# What is installed for it


def requirements() -> list[Requirement]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_requirements_name_packages_and_nothing_else() -> None:
    # The build keeps what it installed under the text of this file: `.` or a path would stay the
    # code of the first deployment for ever. What is no requirement does not even parse here.
    assert [each.name for each in requirements() if each.url] == []


def brought_by(wanted: Iterable[Requirement]) -> set[str]:
    """Return the names of what is installed for these requirements, theirs included."""
    found: set[tuple[str, str]] = set()
    left = list(wanted)
    while left:
        each = left.pop()
        for extra in ("", *each.extras):
            key = (canonicalize_name(each.name), extra)
            if key not in found:
                found.add(key)
                left += needed_by(each.name, extra)
    return {name for name, _ in found}


def needed_by(name: str, extra: str) -> list[Requirement]:
    listed = [Requirement(text) for text in metadata.requires(name) or ()]
    return [each for each in listed if not each.marker or each.marker.evaluate({"extra": extra})]


def test_what_doors_import_is_installed_by_their_requirements() -> None:
    installed = brought_by(requirements())
    from_package = metadata.packages_distributions()
    for name in strangers_reached(*DEPLOYED) - sys.stdlib_module_names:
        packages = {canonicalize_name(package) for package in from_package[name]}
        assert packages & installed, name


# That it runs


def test_the_build_can_compile_all_of_it(upload: Path, tmp_path: Path) -> None:
    compiled = shutil.copytree(upload, tmp_path / "upload")
    subprocess.run([sys.executable, "-m", "compileall", "-q", compiled], check=True)


_LOAD = """
import importlib, json, pathlib, sys

sys.path.insert(0, "")
names = json.loads(sys.stdin.read())
files = [importlib.import_module(name).__file__ for name in names]
here = pathlib.Path.cwd()
print(json.dumps([str(pathlib.Path(file).relative_to(here)) for file in files]))
"""


def test_all_that_ships_can_be_loaded_from_the_upload_alone(
    upload: Path, uploaded: frozenset[str]
) -> None:
    files = sorted(uploaded - {"requirements.txt"})
    names = [name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in files]
    loaded = subprocess.run(
        [sys.executable, "-P", "-B", "-c", _LOAD],
        input=json.dumps(names), env=without_path(), cwd=upload,
        capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    assert json.loads(loaded.stdout) == files


def without_path() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.fixture
def from_upload(upload: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Serve doors as the platform does: from the upload, the source named from there."""
    monkeypatch.setattr(served_from, "DOORS", Path("functions"))
    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # the console script does not add its folder either
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    return upload


def test_write_stores_from_the_upload_alone(from_upload: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with (
        closing(SqliteBus(data / "bus.db")) as bus,
        serving("write", from_upload, QUOTEWATCH_DATA_DIR=str(data)) as write,
    ):
        wanted = topology()
        bus.create(wanted.topics, wanted.subscriptions)
        publish(bus, 0, 1, 2, 3)
        answer = write.call()
    assert (answer.status, stored(data)) == (200, [1, 2, 3])


def test_predict_answers_from_the_upload_alone(from_upload: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    serve(objects_of(tmp_path), FIRST)
    with (
        closing(SqliteBus(data / "bus.db")) as bus,
        serving("predict", from_upload, QUOTEWATCH_DATA_DIR=str(data)) as predict,
    ):
        wanted = topology()
        bus.create(wanted.topics, wanted.subscriptions)
        assert push(predict, asked(0, features(2))).status == 200
        [frame] = published(bus)
    assert frame.rows.num_rows == 2
