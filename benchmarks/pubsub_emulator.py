"""The official Pub/Sub emulator on a free loopback port, where gcloud and java are installed."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_START_SECONDS = 90.0
_LOOK_SECONDS = 0.2


class EmulatorError(Exception):
    """It is not installed, or does not start."""


@contextmanager
def running(log: Path) -> Iterator[str]:
    """Run it, yield its host:port, and end it with the block. It keeps nothing."""
    address = f"127.0.0.1:{_free_port()}"
    host, port = address.rsplit(":", 1)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [_program(), f"--host={host}", f"--port={port}"],
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        _wait(process, (host, int(port)), log)
        yield address
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _program() -> Path:
    """Find what `gcloud beta emulators pubsub start` runs."""
    gcloud = shutil.which("gcloud")
    if gcloud is None or shutil.which("java") is None:
        raise EmulatorError("the Pub/Sub emulator needs gcloud and java on the PATH")
    root = subprocess.run(
        [gcloud, "info", "--format=value(installation.sdk_root)"],
        capture_output=True, text=True, check=True, timeout=_START_SECONDS,
    ).stdout.strip()  # fmt: skip
    program = Path(root) / "platform" / "pubsub-emulator" / "bin" / "cloud-pubsub-emulator"
    if not program.is_file():
        raise EmulatorError("run: gcloud components install pubsub-emulator")
    return program


def _wait(process: "subprocess.Popen[bytes]", address: tuple[str, int], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(address, timeout=1.0):
            return
        time.sleep(_LOOK_SECONDS)
    raise EmulatorError(f"the Pub/Sub emulator did not start: {log.read_text()[-500:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
