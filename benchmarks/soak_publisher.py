"""The soak's gateway as a process: what it is about to publish and what the bus took, in a log.

`python -m benchmarks.soak_publisher LOG LIFE SEED FRAMES_A_SECOND`, told by QUOTEWATCH_* which bus.
It may be killed at any moment: what it only asked for may be stored or not, what was taken must be.
"""

import json
import sys
import time
from contextlib import closing
from itertools import islice
from pathlib import Path

from benchmarks.soak_content import Life, Sent
from quotewatch.errors import BusUnavailableError
from quotewatch.resources import Resources
from quotewatch.settings import load_settings

_AT_ONCE_SECONDS = 0.1
_UNKNOWN_SECONDS = 0.2


def main(log: str, life: str, seed: str, rate: str) -> None:
    """Publish until killed."""
    frames = Life(int(life), int(seed), time.time_ns()).messages()
    each = max(1, round(float(rate) * _AT_ONCE_SECONDS))
    with closing(Resources(load_settings())) as resources, Path(log).open("ab", 0) as file:
        due = time.monotonic()
        while True:
            some = list(islice(frames, each))
            file.write(_line("asked", some))
            _publish(resources, some)
            file.write(_line("taken", some))
            due += each / float(rate)
            time.sleep(max(0.0, due - time.monotonic()))


def _publish(resources: Resources, some: list[Sent]) -> None:
    """Publish each until it is taken; on the way it may be taken twice."""
    for sent in some:
        while True:
            try:
                resources.bus.publish(sent.stream, [sent.message])
            except BusUnavailableError:
                time.sleep(_UNKNOWN_SECONDS)
            else:
                break


def _line(state: str, some: list[Sent]) -> bytes:
    return json.dumps({"state": state, "sent": [each.plain() for each in some]}).encode() + b"\n"


if __name__ == "__main__":
    main(*sys.argv[1:5])
