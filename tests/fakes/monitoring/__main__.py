"""Serve the fake for other processes: `python -m tests.fakes.monitoring --port 0`."""

import argparse
import json
import signal
import sys
from pathlib import Path

from tests.fakes.monitoring.server import MonitoringFake

STOPPING = {signal.SIGTERM, signal.SIGINT}


def main() -> None:
    """Say the address in one line of JSON, serve until a signal, write down what is held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 for a free one")
    parser.add_argument("--dump", type=Path, help="file for what is held at the end")
    parser.add_argument("--load", type=Path, help="file of an earlier --dump to begin with")
    given = parser.parse_args()
    # Before any thread begins, so that no thread takes the signal from sigwait.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    fake = MonitoringFake.load(given.load) if given.load else MonitoringFake()
    sys.stdout.write(json.dumps({"address": fake.start(given.port)}) + "\n")
    sys.stdout.flush()
    signal.sigwait(STOPPING)
    fake.stop()
    if given.dump:
        fake.dump(given.dump)


if __name__ == "__main__":
    main()
