"""A cloud that is not there, with a checkout beside it: what a deploy meets, and what it leaves."""

import asyncio
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from deploy.__main__ import command
from deploy.board import Board
from deploy.names import Target
from tests.deploy.apis import Apis
from tests.deploy.fake_gcloud import ALL, PROJECT, REGION, Call, Gcloud, World

ROOT = Path(__file__).parents[2]
# What a deploy reads of a checkout. The doors are empty: nobody runs them here.
_FILES = (
    "main.py", "requirements.txt", ".cloudbuildignore", ".gcloudignore",
    "ingest_gateway/cloudbuild.yaml", *(f"functions/{name}.py" for name in ALL),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How a call ended and what it said."""

    code: int
    said: str


class FakeCloud:
    """The world that the fake gcloud and the APIs show, and somebody who deploys into it."""

    def __init__(self, folder: Path, world: World, apis: Apis, gcloud: Gcloud) -> None:
        self.world = world
        self.apis = apis
        self.gcloud = gcloud
        self.checkout = Checkout(folder / "checkout")
        self.programs = folder / "bin"

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables of whoever deploys."""
        path = f"{self.programs}{os.pathsep}{os.environ['PATH']}"
        return {**self.apis.environment(), "PATH": path, "PYTHONPATH": str(ROOT)}

    @property
    def image(self) -> str:
        """What the gateway should run."""
        return Target(PROJECT, REGION, self.checkout.head).image

    def deploy(self, *options: str, project: str = PROJECT, region: str = REGION) -> Outcome:
        """Deploy from the checkout."""
        said = io.StringIO()
        board = Board(Console(file=said, soft_wrap=True, highlight=False))
        arguments = [f"--project={project}", f"--region={region}", *options]
        code = asyncio.run(command(arguments, board, self.checkout.root))
        return Outcome(code, said.getvalue())

    def start(self, *options: str) -> "subprocess.Popen[str]":
        """Start a deploy in a process of its own."""
        program = (
            "import asyncio, sys, pathlib, deploy.__main__ as m;"
            "sys.exit(asyncio.run(m.command(sys.argv[2:], root=pathlib.Path(sys.argv[1]))))"
        )
        arguments = [f"--project={PROJECT}", f"--region={REGION}", *options]
        return subprocess.Popen(
            [sys.executable, "-c", program, str(self.checkout.root), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def changing(self) -> list[Call]:
        """Return the calls that changed something, in the order they came."""
        return [call for call in self.gcloud.calls if call.changes]

    def assert_untouched(self) -> None:
        """Nothing was changed, by gcloud or without it."""
        assert self.changing() == []
        assert self.world.published == {}

    def without(self, *missing: str) -> None:
        """Leave nothing on the PATH but git and gcloud, and not those that are missing."""
        if "gcloud" in missing:
            (self.programs / "gcloud").unlink()
        if "git" not in missing:
            (self.programs / "git").symlink_to(str(shutil.which("git")))


class Checkout:
    """A small repository with the files that a deploy looks at."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in _FILES:
            self.write(name, f"# {name}\n")
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("first")

    @property
    def head(self) -> str:
        """The commit that is checked out."""
        return self.git("rev-parse", "HEAD").strip()

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def commit(self, message: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.head

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "core.hooksPath="]
        return subprocess.run(
            ["git", *who, *arguments],
            cwd=self.root,
            check=True,
            capture_output=True,
            text=True,
        ).stdout


def cures(said: str) -> list[str]:
    """Return the commands that a refusal gives."""
    return re.findall(r"^ {5}(\S.*)$", said, re.MULTILINE)
