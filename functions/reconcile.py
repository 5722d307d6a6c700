"""HTTP, called by Scheduler each five minutes: prove what is complete, fetch what is missing."""

import functions_framework
from flask import Request, Response

from ._door import Door  # puts the repository's root on sys.path

# isort: split
from quotewatch.stages.reconcile import build

_door = Door("reconcile", build)


@functions_framework.http
def reconcile(_: Request) -> Response:
    """Run `reconcile` once and answer with its report."""
    return _door.answer()
