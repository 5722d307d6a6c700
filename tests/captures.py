"""Where the real captures are. They are not ours to copy, so they stay outside the repository."""

import os
from pathlib import Path

import pytest

from tests.availability import cannot_run


def captures_dir() -> Path:
    """Return the folder of the captures, or say why there is none."""
    named = os.environ.get("QUOTEWATCH_CAPTURES")
    if named == "none":  # whoever builds from the repository alone cannot have them
        pytest.skip("QUOTEWATCH_CAPTURES=none: tests with real captures are left out")
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(named) if named else beside
    if not folder.is_dir():
        cannot_run(f"no captures in {folder}: set QUOTEWATCH_CAPTURES to their folder")
    return folder


def capture_files() -> list[Path]:
    """Return every capture."""
    found = sorted(captures_dir().glob("*/*.jsonl.gz"))
    if not found:
        cannot_run(f"no *.jsonl.gz in the folders of {captures_dir()}")
    return found
