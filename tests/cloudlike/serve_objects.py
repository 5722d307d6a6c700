"""The strict bucket as a process: `python -m tests.cloudlike.serve_objects BUCKET …`.

Says its URL in one line of JSON and serves until SIGTERM, all of it in memory.
"""

import json
import signal
import sys

from tests.fakes.gcs import FakeGcs


def main(*buckets: str) -> None:
    """Serve until told to stop."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    with FakeGcs(*buckets) as fake:
        sys.stdout.write(json.dumps({"url": fake.url}) + "\n")
        sys.stdout.flush()
        signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    main(*sys.argv[1:])
