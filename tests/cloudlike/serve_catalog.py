"""The REST catalog as a process: `python -m tests.cloudlike.serve_catalog HOME WAREHOUSE IO_JSON`.

Says its URL in one line of JSON and serves until SIGTERM; exit code 1 tells of a bug of its own.
"""

import json
import signal
import sys
from pathlib import Path

from tests.servers.rest_catalog import RestCatalogServer


def main(home: str, warehouse: str, properties: str) -> None:
    """Serve until told to stop."""
    # Before any thread begins, so that no thread takes the signal from sigwait.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    with RestCatalogServer(Path(home), warehouse, json.loads(properties)) as server:
        sys.stdout.write(json.dumps({"url": server.url}) + "\n")
        sys.stdout.flush()
        signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    main(*sys.argv[1:])
