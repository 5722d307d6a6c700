"""Write what is generated from the catalogue: `python -m quotewatch.observability [--check]`."""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from quotewatch.observability import alerts, dashboards, metrics_page

ROOT = Path(__file__).resolve().parents[2]

# Each returns the text of files by their path in the repository. One line for each generator.
GENERATORS: tuple[Callable[[], dict[str, str]], ...] = (
    dashboards.files,
    metrics_page.files,
    alerts.files,
)


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Write the files, compare them, or make dashboards to be shared publicly."""
    asked = _parser().parse_args(arguments)
    if asked.public is not None:
        _write(asked.public, _public(asked.source, asked.project, asked.environment))
        return 0
    wanted = _collected(GENERATORS)
    differing = [path for path, text in wanted.items() if not _is(root / path, text)]
    for path in differing:
        print(f"{'differs' if asked.check else 'written'}: {path}", file=sys.stderr)  # noqa: T201
    if asked.check:
        return 1 if differing else 0
    _write(root, {path: wanted[path] for path in differing})
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m quotewatch.observability", description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 naming the files that differ")
    public = parser.add_argument_group("for dashboards shared publicly, which know no variables")
    public.add_argument("--public", type=Path, metavar="FOLDER", help="write them there instead")
    public.add_argument("--project", default="", help="default: the data source's own")
    public.add_argument("--environment", default="production")
    public.add_argument("--source", default="quotewatch", help="the data source's uid")
    return parser


def _collected(generators: Iterable[Callable[[], Mapping[str, str]]]) -> dict[str, str]:
    made = [pair for generate in generators for pair in generate().items()]
    return dict(sorted(made))


def _public(source: str, project: str, environment: str) -> dict[str, str]:
    return {
        f"{name}.json": dashboards.text_of(
            dashboards.fixed(built, source=source, project=project, environment=environment)
        )
        for name, built in dashboards.built_all().items()
    }


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    for path, text in texts.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
