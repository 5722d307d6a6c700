"""gcp-storage-emulator in a process of its own: gs:// paths for PyArrow, kept in memory.

A process, because PyArrow may send requests while it holds the GIL (when it frees a stream that
was not closed): a server in the same process could then never answer.
"""

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from http.server import ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Lock, Thread
from typing import BinaryIO, ClassVar
from urllib.parse import quote

from gcp_storage_emulator.server import (  # type: ignore[import-untyped]  # it carries no types
    RequestHandler,
    Router,
)
from gcp_storage_emulator.storage import Storage  # type: ignore[import-untyped]  # nor here
from pyarrow.fs import GcsFileSystem

ROOT = Path(__file__).parents[2]
START_SECONDS = 30.0
STOP_SECONDS = 10.0
RETRY_SECONDS = 10.0  # PyArrow's own default repeats a failing request for 15 minutes


@dataclass(frozen=True, slots=True)
class GcsEmulator:
    """A running emulator."""

    port: int
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def create_bucket(self, name: str) -> str:
        """Create a bucket; answer the gs:// address of it."""
        self._send("POST", "/storage/v1/b?project=test", json.dumps({"name": name}))
        return f"gs://{name}"

    def delete(self, bucket: str, name: str) -> None:
        """Take one object away behind the back of whoever uses it."""
        self._send("DELETE", f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}")

    def io_properties(self) -> dict[str, str]:
        """Say what makes pyiceberg's PyArrowFileIO use this server: merge it into a catalog's."""
        in_a_day_ms = (time.time_ns() // 1_000_000) + 86_400_000
        return {
            "py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO",
            "gcs.service.host": self.url,
            # Without both token keys google-cloud-cpp looks for real credentials, for minutes.
            "gcs.oauth2.token": "emulated",
            "gcs.oauth2.token-expires-at": str(in_a_day_ms),
        }

    def file_system(self, retry_seconds: float = RETRY_SECONDS) -> GcsFileSystem:
        """Open the same objects as files; paths begin with the bucket and have no gs://."""
        return GcsFileSystem(
            anonymous=True,
            scheme="http",
            endpoint_override=f"127.0.0.1:{self.port}",
            retry_time_limit=timedelta(seconds=retry_seconds),
        )

    def stop(self) -> None:
        """End the process; what it held is gone."""
        self.process.kill()
        self.process.communicate(timeout=STOP_SECONDS)

    def _send(self, method: str, path: str, body: str | None = None) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_SECONDS)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status >= 300:
            raise ValueError(f"{method} {path}: the emulator answered {answer.status} {text}")


@contextmanager
def gcs_emulator(tmp: Path) -> Iterator[GcsEmulator]:
    """Run an emulator on a free port, without buckets; its log stands in tmp."""
    log = tmp / "gcs-emulator.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.servers.gcs_emulator"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        )
    try:
        yield GcsEmulator(_read_port(process, log), process)
    finally:
        process.kill()
        process.communicate(timeout=STOP_SECONDS)


def _read_port(process: subprocess.Popen[str], log: Path) -> int:
    assert process.stdout is not None
    line = process.stdout.readline()  # empty when it ended instead
    if not line:
        process.wait(STOP_SECONDS)
        raise RuntimeError(f"gcp-storage-emulator did not start: {log.read_text()[-2_000:]}")
    return int(line)


class _Storage(Storage):  # type: ignore[misc]  # the package has no types
    """The emulator's storage, which need not survive."""

    def _write_config_to_file(self) -> None:
        """Write nothing: the list of all objects as JSON made the 1500th write take 0.2 s."""


class _Handler(RequestHandler):  # type: ignore[misc]  # the package has no types
    """The emulator's handler, without three of its habits."""

    # As HTTP/1.0 it would not answer "Expect: 100-continue": a second lost in each upload > 1 MB.
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    rfile: BinaryIO
    wfile: BinaryIO
    lock: ClassVar = Lock()  # the storage is plain dictionaries

    def _answer(self) -> None:
        # Read and written whole, so that one client that stopped reading does not stop all, and
        # a body that the emulator leaves unread is not taken for the next request.
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        rfile, wfile, answer = self.rfile, self.wfile, BytesIO()
        self.rfile, self.wfile = BytesIO(body), answer
        try:
            with self.lock:
                Router(self).handle(self.command)
        finally:
            self.rfile, self.wfile = rfile, wfile
        self.wfile.write(answer.getvalue())

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 - http.server's names


def serve() -> None:
    """Say the port on stdout and serve until stdin ends, as it does when the tests are killed."""
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(_Handler, _Storage(use_memory_fs=True, data_dir=str(ROOT)))
    )
    Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    serve()
