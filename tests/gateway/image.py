"""A Dockerfile carried out without Docker: a folder a stage, this machine's Python as the base.

It knows the instructions that ours uses and refuses all others. Paths of the image become paths in
the folder of their stage.
"""

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import Template
from typing import Any

from docker.utils import (  # type: ignore[import-untyped]  # Docker's own client carries no types
    exclude_paths,
)

from tests.availability import cannot_run

IMAGE_USER = 10001
BUILD_SECONDS = 600.0  # far beyond what is needed: only a failure waits so long
_ABSOLUTE = re.compile(r"(?:(?<=\s)|^)/(?=\w)")


@dataclass(frozen=True)
class Instruction:
    """One instruction, its continuation lines joined."""

    word: str
    rest: str


@dataclass(frozen=True)
class Copy:
    """A COPY: from the context, or from another stage."""

    sources: Sequence[str]
    destination: str
    stage: str | None = None


@dataclass
class Stage:
    """What a stage has come to so far; `root` is the folder that stands for `/`."""

    root: Path
    workdir: str = "/"
    environment: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    user: int = 0
    healthcheck: Sequence[str] = ()
    entrypoint: Sequence[str] = ()

    def path(self, name: str) -> Path:
        """Return where a path of the image is."""
        return self.root / self.workdir.lstrip("/") / name if name[0] != "/" else self.here(name)

    def here(self, absolute: str) -> Path:
        """Return where an absolute path of the image is."""
        return self.root / absolute.lstrip("/")

    def moved(self, words: Sequence[str]) -> list[str]:
        """Return a command with its paths moved."""
        return [str(self.here(word)) if word.startswith("/") else word for word in words]


def instructions(dockerfile: str) -> list[Instruction]:
    """Read a Dockerfile."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", "")
    parts = [line.strip().partition(" ") for line in joined.splitlines() if line.strip()]
    return [Instruction(word.upper(), rest.strip()) for word, _, rest in parts]


def copies(read: Sequence[Instruction]) -> Iterator[Copy]:
    """Yield what is copied."""
    for each in read:
        if each.word == "COPY":
            words = each.rest.split()
            stages = [word.removeprefix("--from=") for word in words if word.startswith("--from=")]
            names = [word for word in words if not word.startswith("--from=")]
            yield Copy(names[:-1], names[-1], next(iter(stages), None))


def context_files(folder: Path, dockerfile: str) -> set[str]:
    """Return what Docker would send to the builder, by its own reading of .dockerignore."""
    lines = (folder / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    names: set[str] = exclude_paths(str(folder), patterns, dockerfile)
    return {name for name in names if (folder / name).is_file()}


def matching(source: str, context: Path) -> list[Path]:
    """Return the files that a source of a COPY means; that it means none is an error there too."""
    found = sorted(context.glob(source))
    assert found, f"COPY {source}: there is no such file in the context"
    return found


class Builder:
    """Carries out the instructions, in order."""

    def __init__(self, context: Path, folder: Path, arguments: Mapping[str, str]) -> None:
        self._context = context
        self._folder = folder
        self._arguments = dict(arguments)
        self._stages: dict[str, Stage] = {}
        self._tools = tools(folder / "tools")

    def build(self, read: Sequence[Instruction]) -> Stage:
        """Return the last stage."""
        for each in read:
            text = Template(each.rest).safe_substitute(self._arguments)
            self._carry_out(replace(each, rest=text))
        return self._stage

    @property
    def _stage(self) -> Stage:
        return list(self._stages.values())[-1]

    def _carry_out(self, each: Instruction) -> None:
        match each.word:
            case "ARG":
                name, _, default = each.rest.partition("=")
                self._arguments.setdefault(name, default)
            case "FROM":
                name = each.rest.partition(" AS ")[2] or "last"
                self._stages[name] = Stage(self._folder / name)
                self._stages[name].root.mkdir()
            case "COPY":
                self._copy(*copies([each]))
            case "RUN":
                self._run(each.rest)
            case "WORKDIR":
                self._stage.workdir = each.rest
                self._stage.path(".").mkdir(parents=True, exist_ok=True)
            case _:
                describe(self._stage, each)

    def _copy(self, each: Copy) -> None:
        if each.stage is not None:
            [source] = each.sources
            other = self._stages[each.stage]
            shutil.copytree(other.here(source), self._stage.path(each.destination), symlinks=True)
            return
        into = self._stage.path(each.destination)
        into.mkdir(parents=True, exist_ok=True)
        for source in each.sources:
            for file in matching(source, self._context):
                shutil.copy2(file, into)

    def _run(self, text: str) -> None:
        moved = _ABSOLUTE.sub(f"{self._stage.root}/", text)
        if os.getuid() != 0:  # who may give files to nobody else
            moved = moved.replace(f"-o {IMAGE_USER} -g {IMAGE_USER}", "")
        done = subprocess.run(
            ["/bin/sh", "-c", moved],
            env={**os.environ, "PATH": f"{self._tools}:{os.environ['PATH']}", "PYTHONPATH": ""},
            cwd=self._stage.path("."),
            capture_output=True, text=True, check=False, timeout=BUILD_SECONDS,
        )  # fmt: skip
        if done.returncode and "pip " in text:
            cannot_run(f"pip could not install the image's requirements: {done.stderr[-1_000:]}")
        assert done.returncode == 0, (moved, done.stderr)


def describe(stage: Stage, each: Instruction) -> None:
    """Take what says how to run the image."""
    match each.word:
        case "ENV":
            stage.environment |= pairs(each.rest)
        case "LABEL":
            stage.labels |= pairs(each.rest)
        case "USER":
            stage.user = int(each.rest.partition(":")[0])
        case "HEALTHCHECK":
            stage.healthcheck = json.loads(each.rest.partition(" CMD ")[2])
        case "ENTRYPOINT":
            stage.entrypoint = json.loads(each.rest)
        case _:
            raise NotImplementedError(f"{each.word}: teach this module what it does")


def identity(user: int) -> dict[str, Any]:
    """Return how a process becomes a user: who is not root can be nobody else."""
    return {"user": user, "group": user, "extra_groups": []} if os.getuid() == 0 else {}


def pairs(text: str) -> dict[str, str]:
    """Read NAME=value NAME="other value"."""
    return dict(word.split("=", 1) for word in shlex.split(text))


def tools(folder: Path) -> Path:
    """Make the programs of the base image that ours calls by name."""
    folder.mkdir()
    for name, command in (("python", open_python()), ("pip", f"{sys.executable} -m pip")):
        (folder / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


def open_python() -> str:
    """Return a Python like this one that any user may start, wherever this one lives."""
    name = f"python3.{sys.version_info.minor}"
    known = [f"{folder}/{name}" for folder in (f"{sys.base_prefix}/bin", *os.get_exec_path())]
    good = [each for each in known if os.getuid() != 0 or is_open(Path(each))]
    if not good:
        cannot_run(f"no {name} that another user than root may start: install one in /usr/bin")
    return good[0]


def is_open(program: Path) -> bool:
    """Say whether everybody may start a program."""
    real = program.resolve()
    return real.is_file() and all(
        path.stat().st_mode & stat.S_IXOTH for path in (real, *real.parents)
    )
