"""HTTP, called by Scheduler each five minutes and pushed `committed`: label stored features."""

import functions_framework
from flask import Request, Response

from ._door import Door  # puts the repository's root on sys.path
from ._push import is_about, not_concerned

# isort: split
from quotewatch.stages.label import build

_SOURCES = ("features", "events")
_door = Door("label", build)


@functions_framework.http
def label(request: Request) -> Response:
    """Run `label` once and answer with its report, unless the call is about other tables."""
    return _door.answer() if is_about(request, _SOURCES) else not_concerned(_SOURCES)
