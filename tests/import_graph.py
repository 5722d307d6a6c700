"""Which files a module loads or may load later: the graph that import-linter checks, as paths."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from grimp import ImportGraph, build_graph

ROOT = Path(__file__).parents[1]
PACKAGES = ("quotewatch", "ingest_gateway", "functions")


@cache
def graph() -> ImportGraph:
    """Return who imports whom, imports within functions included, those for types alone not."""
    return build_graph(
        *PACKAGES,
        include_external_packages=True,
        exclude_type_checking_imports=True,
        cache_dir=None,
    )


def modules_reached(*starts: str) -> set[str]:
    """Return our modules that these packages or modules need, themselves included."""
    return {name for name in _reached(starts) if _is_ours(name)}


def files_reached(*starts: str) -> set[str]:
    """Return the same as files, as the repository names them."""
    return {file_of(name) for name in modules_reached(*starts)}


def strangers_reached(*starts: str) -> set[str]:
    """Return the top names of everything they need that is not ours."""
    return {name for name in _reached(starts) if not _is_ours(name)}


def file_of(module: str) -> str:
    """Return the file of one of our modules."""
    path = Path(*module.split("."))
    is_package = (ROOT / path).is_dir()
    return str(path / "__init__.py" if is_package else path.with_suffix(".py"))


def _reached(starts: tuple[str, ...]) -> Iterator[str]:
    for start in starts:
        within = {start} | graph().find_descendants(start)
        for name in within | graph().find_upstream_modules(start, as_package=True):
            yield name
            yield from _packages_of(name)


def _packages_of(module: str) -> Iterator[str]:
    """Yield the packages around a module: importing it runs them first."""
    parts = module.split(".")
    for end in range(1, len(parts)):
        yield ".".join(parts[:end])


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in PACKAGES
