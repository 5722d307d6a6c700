"""The gateway's image: what its Dockerfile copies, and that it lives on that alone."""

import ast
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import urllib3

from ingest_gateway.health import HealthServer
from quotewatch.bus.port import Bus
from quotewatch.bus.pubsub import PubSubBus
from quotewatch.bus.sqlite import SqliteBus
from quotewatch.bus.topology import topology
from quotewatch.frames import decode
from quotewatch.settings import Settings
from tests.emulator import free_port
from tests.functions.test_upload import JUNK, kept_by_git, put
from tests.gateway.image import (
    IMAGE_USER,
    Builder,
    Stage,
    context_files,
    copies,
    identity,
    instructions,
    matching,
)
from tests.gateway.running import PATIENCE_SECONDS
from tests.import_graph import ROOT, file_of, files_reached, graph

DOCKERFILE = "ingest_gateway/Dockerfile"
REQUIREMENTS = "ingest_gateway/requirements.txt"
TEXT = (ROOT / DOCKERFILE).read_text()
READ = instructions(TEXT)
GOING_SECONDS = 8.0  # from SIGTERM on; the platform kills after 10
COMMIT = "0123abc"


def contract() -> list[str]:
    """Return what the import contract forbids the gateway."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = settings["tool"]["importlinter"]["contracts"]
    [forbidden] = [each for each in contracts if each["name"] == "The gateway's image stays small"]
    names: list[str] = forbidden["forbidden_modules"]
    return names


STRANGERS = [name for name in contract() if not name.startswith("quotewatch.")]


def test_the_contract_forbids_what_is_large() -> None:
    assert {"pyiceberg", "sklearn", "duckdb"} <= set(STRANGERS)


# What is copied


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the context as Docker does, of a checkout in which junk lies about."""
    checkout, folder = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("context")
    for name in kept_by_git():
        put(checkout / name, (ROOT / name).read_bytes())
    for name in (*JUNK, "ingest_gateway/.env", "ingest_gateway/__pycache__/tape.pyc"):
        put(checkout / name, b"secret = 1\n")
    for name in context_files(checkout, DOCKERFILE):
        put(folder / name, (checkout / name).read_bytes())
    return folder


def sources() -> list[str]:
    return [name for each in copies(READ) if each.stage is None for name in each.sources]


def names_of(source: str, context: Path) -> set[str]:
    return {str(path.relative_to(context)) for path in matching(source, context)}


def copied(context: Path) -> set[str]:
    """Return the code that is copied, as the repository names it."""
    return {name for source in sources() for name in names_of(source, context)} - {REQUIREMENTS}


def test_all_the_gateway_imports_is_copied(context: Path) -> None:
    assert files_reached("ingest_gateway") <= copied(context)


def test_every_name_in_a_copy_is_there_for_what_the_gateway_imports(context: Path) -> None:
    needed = files_reached("ingest_gateway") | {REQUIREMENTS}
    for source in sources():
        names = names_of(source, context)
        assert len(names - needed) < len(names & needed), f"{source}: name the files instead"
        assert "*" in source or names <= needed, f"{source}: the gateway does not import it"


def test_files_keep_their_places() -> None:
    for each in copies(READ):
        if each.stage is None and list(each.sources) != [REQUIREMENTS]:
            assert {f"{Path(source).parent}/" for source in each.sources} == {each.destination}


def test_nothing_that_the_contract_forbids_is_copied(context: Path) -> None:
    ours = [name for name in contract() if name not in STRANGERS]
    modules = {inner for name in ours for inner in (name, *graph().find_descendants(name))}
    assert copied(context).isdisjoint(map(file_of, modules))


def test_the_context_holds_sources_beside_what_is_copied_and_no_junk(context: Path) -> None:
    files = {str(path.relative_to(context)) for path in context.rglob("*") if path.is_file()}
    meant = files - {".dockerignore", DOCKERFILE}
    assert copied(context) | {REQUIREMENTS} <= meant <= set(kept_by_git())
    assert meant.isdisjoint(JUNK)
    assert {name for name in meant if not name.endswith(".py")} == {REQUIREMENTS}
    rooms = {str(Path(source).parent) for source in sources()}
    assert {str(Path(name).parent) for name in meant} <= rooms


# What it promises


def rest_of(word: str) -> list[str]:
    return [each.rest for each in READ if each.word == word]


def test_both_stages_stand_on_one_base_of_a_full_version() -> None:
    first, last = (rest.split()[0] for rest in rest_of("FROM"))
    assert first == last
    assert re.fullmatch(r"python:3\.12\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", first)


def test_it_does_not_run_as_root() -> None:
    assert rest_of("USER") == [f"{IMAGE_USER}:{IMAGE_USER}"]


def test_the_health_check_asks_where_the_gateway_listens_unless_told() -> None:
    [check] = rest_of("HEALTHCHECK")
    assert f"or {Settings.model_fields['http_port'].default})" in check


# That it lives


@pytest.fixture(scope="module")
def image(context: Path) -> Iterator[Stage]:
    """Build it in a folder that other users may enter, and where they may write nothing."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        built = Builder(context, folder, {"COMMIT": COMMIT}).build(READ)
        code = [path for part in ("app", "venv") for path in (built.root / part).rglob("*")]
        folders = [path for path in code if path.is_dir() and not path.is_symlink()]
        for path in folders:
            path.chmod(0o555)
        yield built
        for path in folders:
            path.chmod(0o755)


def run_in(image: Stage, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        image.moved(command), env=environment(image, variables), cwd=image.path("."),
        capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS,
        **identity(image.user),
    )  # fmt: skip


def environment(image: Stage, variables: dict[str, str]) -> dict[str, str]:
    """Return what a container has: what the image says, and what is said when it is started."""
    own = dict(zip(image.environment, image.moved([*image.environment.values()]), strict=True))
    return {"PATH": os.defpath, **own, **variables}


class Container:
    """The image as it runs."""

    def __init__(self, image: Stage, log: Path, **variables: str) -> None:
        self._image = image
        self._port = str(free_port())
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                image.moved(image.entrypoint), cwd=image.path("."), stdout=output, stderr=output,
                env=environment(image, {"QUOTEWATCH_HTTP_PORT": self._port, **variables}),
                **identity(image.user),
            )  # fmt: skip

    def status(self, path: str) -> int | None:
        """Return what a page answers with; nothing while nobody listens."""
        try:
            url = f"http://127.0.0.1:{self._port}{path}"
            return urllib3.request("GET", url, timeout=PATIENCE_SECONDS, retries=False).status
        except urllib3.exceptions.HTTPError:
            return None

    def is_healthy(self) -> bool:
        return health_of(self._image, self._port) == 0

    def until(self, condition: Callable[[], object]) -> None:
        """Look until it is so; only a failure waits to the end."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.02)


def health_of(image: Stage, port: str) -> int:
    return run_in(image, *image.healthcheck, QUOTEWATCH_HTTP_PORT=port).returncode


@contextmanager
def started(image: Stage, folder: Path, **variables: str) -> Iterator[Container]:
    container = Container(image, folder / "gateway.log", **variables)
    try:
        yield container
    finally:
        container.process.kill()
        container.process.wait()


@contextmanager
def exchange() -> Iterator[str]:
    """Run the simulated exchange beside it; yield its URL."""
    command = ("-m", "quotewatch", "simulate", "--port", "0", "--products", "BTC-USD")
    with subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            url: str = json.loads(process.stdout.readline())["url"]
            yield url
        finally:
            process.kill()


def rows_on(bus: Bus, stream: str) -> list[dict[str, Any]]:
    frames = [decode(each.message) for each in bus.peek(f"{stream}.write", max_messages=1_000)]
    return [row for frame in frames for row in frame.rows.to_pylist()]


def files_in(image: Stage) -> set[Path]:
    return {path for part in ("app", "venv") for path in (image.root / part).rglob("*")}


def test_it_captures_says_that_it_is_well_and_goes_when_it_is_told(
    image: Stage, tmp_path: Path
) -> None:
    before = files_in(image)
    with exchange() as url, started(image, tmp_path, QUOTEWATCH_FEED_URL=url) as gateway:
        gateway.until(lambda: gateway.status("/readyz") == 200)
        assert gateway.is_healthy()
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(GOING_SECONDS) == 0
        assert not gateway.is_healthy()
    assert files_in(image) == before
    with closing(SqliteBus(image.here("/data/bus.db"))) as bus:
        kinds = {row["kind"] for row in rows_on(bus, "events")}
        assert rows_on(bus, "raw_orderbook") != []
    assert {"start", "open", "snapshot", "final"} <= kinds


def test_it_publishes_to_pubsub(image: Stage, tmp_path: Path, pubsub_emulator: str) -> None:
    project = f"image-{uuid.uuid4().hex[:8]}"
    variables = {
        "QUOTEWATCH_BUS": "pubsub",
        "QUOTEWATCH_PROJECT": project,
        "PUBSUB_EMULATOR_HOST": pubsub_emulator,
    }
    wanted = topology()
    with (
        exchange() as url,
        closing(PubSubBus(project, emulator_host=pubsub_emulator)) as bus,
        started(image, tmp_path, QUOTEWATCH_FEED_URL=url, **variables) as gateway,
    ):
        bus.create(wanted.topics, wanted.subscriptions)
        gateway.until(lambda: bus.pull("features.write"))
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(GOING_SECONDS) == 0


@pytest.mark.parametrize("problems", [[], ["reading is stuck"]])
def test_the_health_check_hears_what_healthz_says(image: Stage, problems: list[str]) -> None:
    with closing(HealthServer(0, loopback=True)) as health:
        health.start(alive=lambda: problems, ready=list, metrics=bytes)
        assert (health_of(image, str(health.port)) == 0) is (problems == [])


_IMPORT = """
import importlib, importlib.util, json, sys

needed, unwanted = json.loads(sys.argv[1])
for name in needed:
    importlib.import_module(name)
print(json.dumps([name for name in unwanted if importlib.util.find_spec(name)]))
"""


def test_all_it_may_load_later_is_inside_and_nothing_large(image: Stage, context: Path) -> None:
    python = image.entrypoint[0]
    given = json.dumps([sorted(imported(context)), STRANGERS])
    done = run_in(image, python, "-c", _IMPORT, given)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def imported(context: Path) -> set[str]:
    """Return every module that an import anywhere in the copied code names."""
    names = set[str]()
    for file in copied(context):
        for node in ast.walk(ast.parse((context / file).read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module)
    return names


def test_it_tells_its_commit(image: Stage) -> None:
    assert image.labels["org.opencontainers.image.revision"] == COMMIT


def test_it_is_small(image: Stage, record_property: Callable[[str, object], None]) -> None:
    sizes = {
        part: sum(path.lstat().st_size for path in (image.root / part).rglob("*"))
        for part in ("app", "venv")
    }
    for part, size in sizes.items():
        record_property(f"{part}_bytes", size)
    assert sizes["venv"] < 260_000_000  # 205 MB in November 2026; the base adds what it has
    assert sizes["app"] < 2_000_000
