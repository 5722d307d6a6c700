"""What is shipped: a commit, taken out of git into a folder of its own.

So nothing ships that is not in it. Only --allow-dirty ships the working tree, and says so.
"""

import ast
import tempfile
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from deploy.errors import CommandError, SourceError
from deploy.names import ROOT
from deploy.programs import run

_ROOMS = ("functions", "ingest_gateway", "quotewatch")  # what runs; a working tree holds more
_NAMED = 3  # changed files in a message
_GET_GIT = ("sudo apt-get install git", "brew install git")
_MAKE_REPOSITORY = ("git init", "git add --all", "git commit --message=downloaded")


@dataclass(frozen=True, slots=True)
class Source:
    """A commit, or the working tree as it is."""

    commit: str
    label: str  # what functions and images are labelled with
    root: Path
    dirty: bool = False


async def choose(
    commit: str | None, *, allow_dirty: bool, now: datetime, root: Path = ROOT
) -> Source:
    """Return what is to be deployed: the commit that is asked for, else the one checked out."""
    if commit is not None and allow_dirty:
        raise SourceError(
            f"--commit={commit} and --allow-dirty exclude each other: a commit ships as it is;"
            " leave one of them out",
            f"git log --oneline --max-count=1 {commit}",
            "git diff HEAD",
        )
    found = await _resolve(commit or "HEAD", root)
    if commit is not None:
        return Source(found, found, root)
    changed = await _changed(root)
    if changed and not allow_dirty:
        raise SourceError(
            f"the working tree is not what {found[:12]} says: {_listed(changed)};"
            " commit it or put it aside first, or ship it as it is with --allow-dirty",
            "git status",
            "git stash --include-untracked",
        )
    if not changed:
        return Source(found, found, root)
    # With the time in it, because a second dirty deploy must not look like the first.
    return Source(found, f"{found}-dirty-{now:%Y%m%d%H%M%S}", root, dirty=True)


@asynccontextmanager
async def shipped(source: Source) -> AsyncIterator[Path]:
    """Yield the folder that ships."""
    if source.dirty:
        yield source.root
        return
    with tempfile.TemporaryDirectory(prefix="quotewatch-deploy-") as name:
        folder, archive = Path(name) / "source", Path(name) / "source.zip"
        arguments = ["git", "archive", "--format=zip", f"--output={archive}", source.commit]
        (await run(arguments, source.root)).must()
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder)
        yield folder


def check_syntax(folder: Path) -> None:
    """Refuse what Python cannot read: the build would find it minutes later, or the first call."""
    for path in sorted(each for room in _ROOMS for each in (folder / room).rglob("*.py")):
        name = path.relative_to(folder)
        try:
            ast.parse(path.read_bytes(), str(name))
        except (SyntaxError, ValueError) as error:
            raise SourceError(f"{name} cannot be deployed: {error}") from error


async def _resolve(commit: str, root: Path) -> str:
    try:
        inside = await run(["git", "rev-parse", "--is-inside-work-tree"], root)
    except CommandError as error:
        raise SourceError(f"what ships is taken from git: {error}", *_GET_GIT) from error
    if inside.code:
        raise SourceError(
            f"{root} is no repository of git, and what ships is taken from one: clone it instead"
            " of downloading it, or make one of it",
            *_MAKE_REPOSITORY,
        )
    ran = await run(["git", "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"], root)
    if ran.code:
        raise SourceError(
            f"commit {commit!r}: git finds none in {root}; fetch it, or choose one that it shows",
            "git fetch --all",
            "git log --oneline",
        )
    return ran.output.strip()


async def _changed(root: Path) -> list[str]:
    """Name the files that differ from the commit, new ones included."""
    ran = (await run(["git", "status", "--porcelain"], root)).must()
    return [line[3:] for line in ran.output.splitlines()]


def _listed(changed: list[str]) -> str:
    more = len(changed) - _NAMED
    return ", ".join(changed[:_NAMED]) + (f" and {more} more" if more > 0 else "")
