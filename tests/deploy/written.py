"""The gcloud lines in what people read: pages, comments and outputs, as one would paste them."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^\s*(```|~~~)")
_PROMPT = re.compile(r"^(?:#\s*)?(?:\$\s+)?")
_QUOTED = re.compile(r'[`"](gcloud [^`"]* --[^`"]*)[`"]')
_FILLED = (
    (re.compile(r"\"?\$\([^)]*\)\"?"), "filled"),  # $(git rev-parse HEAD)
    (re.compile(r"\$?\$\{[^}]*\}"), "filled"),  # ${var.project_id}
    (re.compile(r"\$\w+"), "filled"),  # $PROJECT
    (re.compile(r"<[\w -]+>"), "filled"),  # <project>
    (re.compile(r"\bPROJECT\b"), "my-project"),  # gcloud takes a name in capitals for no id
)
_ENDS = re.compile(r"\s(?:\||&&|>|>>|;|#)\s.*$|;$")


def lines_in(path: Path) -> set[str]:
    """Return every gcloud line of a file."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    code = _in_code(text) if path.suffix == ".md" else text.splitlines()
    found = {line for line in map(_stripped, code) if line.startswith("gcloud ")}
    quoted = {" ".join(line.split()) for line in _QUOTED.findall(text)}
    return {_filled(line) for line in found | quoted if " --" in line}


def pages() -> list[Path]:
    """Return what is read for such lines."""
    patterns = (
        "*.md",
        "docs/**/*.md",
        "terraform/**/*.tf",
        "terraform/**/*.md",
        "Makefile",
        "*.yaml",
    )
    return sorted({path for pattern in patterns for path in ROOT.glob(pattern)})


def _in_code(text: str) -> Iterator[str]:
    """Yield the lines of code blocks, fenced or indented."""
    fenced = False
    for line in text.splitlines():
        if _FENCE.match(line):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield line


def _stripped(line: str) -> str:
    return " ".join(_PROMPT.sub("", line.strip()).split())


def _filled(line: str) -> str:
    for pattern, text in _FILLED:
        line = pattern.sub(text, line)
    return _ENDS.sub("", line)
