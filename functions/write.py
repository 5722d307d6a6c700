"""HTTP, called by Scheduler each minute: drain the streams into their tables."""

import functions_framework
from flask import Request, Response

from ._door import Door  # puts the repository's root on sys.path

# isort: split
from quotewatch.stages.write import build

_door = Door("write", build)


@functions_framework.http
def write(_: Request) -> Response:
    """Run `write` once and answer with its report."""
    return _door.answer()
