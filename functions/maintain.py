"""HTTP, called by Scheduler each ten minutes: expire, compact and sweep the tables."""

import functions_framework
from flask import Request, Response

from ._door import Door  # puts the repository's root on sys.path

# isort: split
from quotewatch.stages.maintain import build

_door = Door("maintain", build)


@functions_framework.http
def maintain(_: Request) -> Response:
    """Run `maintain` once and answer with its report."""
    return _door.answer()
