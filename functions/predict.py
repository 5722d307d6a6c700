"""Pushed each frame of `features`: publish its answers to `predictions`."""

import functions_framework
from cloudevents.http import CloudEvent

from ._push import PushDoor  # puts the repository's root on sys.path

# isort: split
from quotewatch.stages.predict import build

_door = PushDoor("predict", build)


@functions_framework.cloud_event
def predict(event: CloudEvent) -> None:
    """Answer one frame; an error is answered with 500, and the frame comes again."""
    _door.take(event)
