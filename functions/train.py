"""HTTP, called by Scheduler each five minutes: bring the models up to date with the labels."""

import functions_framework
from flask import Request, Response

from ._door import Door  # puts the repository's root on sys.path

# isort: split
from quotewatch.stages.train import build

_door = Door("train", build)


@functions_framework.http
def train(_: Request) -> Response:
    """Run `train` once and answer with its report."""
    return _door.answer()
