"""The official Pub/Sub emulator, started once per test session on a free loopback port."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc  # type: ignore[import-untyped]  # grpcio carries no types
import pytest

from tests.availability import cannot_run

START_SECONDS = 90.0
START_ATTEMPTS = 3


@pytest.fixture(scope="session")
def pubsub_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield host:port of a running emulator. Use a project of your own for each test."""
    with running_emulator(tmp_path_factory.mktemp("pubsub-emulator") / "log.txt") as address:
        yield address


@contextmanager
def running_emulator(log: Path, address: str | None = None) -> Iterator[str]:
    """Run an emulator, on a free port or at a given address, and end it with the block."""
    program = find_emulator()
    for _ in range(START_ATTEMPTS):
        tried = address or f"127.0.0.1:{free_port()}"
        process = start_emulator(program, tried, log)
        try:
            if is_serving(process, tried):
                yield tried
                return
        finally:
            stop_group(process)
    cannot_run(f"the Pub/Sub emulator did not start: {log.read_text()[-2_000:]}")


def find_emulator() -> Path:
    """Find the program that `gcloud beta emulators pubsub start` runs, without that second."""
    if shutil.which("java") is None:
        cannot_run("the Pub/Sub emulator needs java on the PATH")
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        cannot_run("the Pub/Sub emulator needs gcloud on the PATH")
    root = subprocess.run(
        [gcloud, "info", "--format=value(installation.sdk_root)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=START_SECONDS,
    ).stdout.strip()
    program = Path(root) / "platform" / "pubsub-emulator" / "bin" / "cloud-pubsub-emulator"
    if not program.is_file():
        cannot_run("the Pub/Sub emulator is missing: gcloud components install pubsub-emulator")
    return program


def free_port() -> int:
    """Name a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_emulator(program: Path, address: str, log: Path) -> subprocess.Popen[bytes]:
    """Start it in a process group of its own, so that it can be stopped with its children."""
    host, port = address.rsplit(":", 1)
    with log.open("wb") as output:
        return subprocess.Popen(
            [program, f"--host={host}", f"--port={port}"],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def is_serving(process: subprocess.Popen[bytes], address: str) -> bool:
    """Wait until it answers; False if it ended instead (another process took the port)."""
    deadline = time.monotonic() + START_SECONDS
    with grpc.insecure_channel(address) as channel:
        ready = grpc.channel_ready_future(channel)
        while process.poll() is None and time.monotonic() < deadline:
            try:
                ready.result(timeout=0.5)
            except grpc.FutureTimeoutError:
                continue
            return True
        ready.cancel()
    return False


def stop_group(process: subprocess.Popen[bytes]) -> None:
    """End the whole group: nothing of it outlives the tests. It holds no data to save."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        process.wait()
