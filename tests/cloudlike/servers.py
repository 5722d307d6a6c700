"""What stands for the cloud itself: the bus, the buckets, the catalog, Cloud Monitoring.

Each a process of its own that lives as long as the run. The bus and the buckets keep everything in
memory: they are never killed.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import urllib3

from tests.cloudlike.cloud import (
    OBJECTS_BUCKET,
    WAREHOUSE,
    WAREHOUSE_BUCKET,
    Addresses,
    io_properties,
)
from tests.cloudlike.processes import PATIENCE_SECONDS, CloudlikeError, Guard, Program, Voice
from tests.emulator import find_emulator, free_port

_START_ATTEMPTS = 3
_PORT = r"^(\d+)$"
_LISTENS = r"Server started, listening on (\d+)"


@dataclass(frozen=True)
class Servers:
    """Those that run, and where."""

    addresses: Addresses
    catalog: Program
    monitoring: Program
    measured: Path  # what Cloud Monitoring holds, once it has ended


@contextmanager
def running_servers(folder: Path, guard: Guard) -> Iterator[Servers]:
    """Start all of them, and end them with the block."""
    folder.mkdir(parents=True)
    starter = _Starter(folder, guard)
    measured = folder / "monitoring.jsonl"
    with ExitStack() as running:
        # All at once first, then one after the other: when does each answer?
        storage = starter.start(running, "warehouse", "tests.servers.gcs_emulator")
        objects = starter.start(running, "objects", "tests.cloudlike.serve_objects", OBJECTS_BUCKET)
        monitoring = starter.start(
            running, "monitoring", "tests.fakes.monitoring", "--dump", str(measured)
        )
        bus = starter.start_bus(running)
        warehouse = f"http://127.0.0.1:{storage.hear(_PORT)[1]}"
        _create_bucket(warehouse)
        catalog = starter.start(
            running, "catalog", "tests.cloudlike.serve_catalog",
            str(folder), WAREHOUSE, json.dumps(io_properties(warehouse)),
        )  # fmt: skip
        yield Servers(
            Addresses(
                bus=bus,
                objects=_said(objects, "url"),
                warehouse=warehouse,
                catalog=_said(catalog, "url"),
                monitoring=_said(monitoring, "address"),
            ),
            catalog,
            monitoring,
            measured,
        )


@dataclass(frozen=True)
class _Starter:
    folder: Path
    guard: Guard

    def start(self, running: ExitStack, name: str, *command: str) -> Program:
        """Start a module of the tests; it is killed with the block at the latest."""
        return self._start(running, name, [sys.executable, "-m", *command])

    def start_bus(self, running: ExitStack) -> str:
        """Start the official emulator on a free port, on another one if that was taken."""
        emulator = find_emulator()
        for _ in range(_START_ATTEMPTS):
            port = free_port()
            flags = ["--host=127.0.0.1", f"--port={port}"]
            program = self._start(running, "pubsub", [emulator, *flags], voice="stderr")
            try:
                program.hear(_LISTENS)
            except CloudlikeError:
                if program.returncode is None:
                    raise
            else:
                return f"127.0.0.1:{port}"
        raise CloudlikeError(f"the Pub/Sub emulator did not start:\n{program.tail()}")

    def _start(
        self, running: ExitStack, name: str, command: Sequence[str | Path], voice: Voice = "stdout"
    ) -> Program:
        program = Program(command, self.guard, log=self.folder / f"{name}.log", voice=voice)
        running.callback(_finish, program)
        return program


def _finish(program: Program) -> None:
    program.kill()
    program.wait()


def _said(program: Program, name: str) -> str:
    said: str = json.loads(program.hear(r"^\{.*\}$")[0])[name]
    return said


def _create_bucket(warehouse: str) -> None:
    url = f"{warehouse}/storage/v1/b?project=cloudlike"
    body = json.dumps({"name": WAREHOUSE_BUCKET}).encode()
    headers = {"Content-Type": "application/json"}
    answer = urllib3.request("POST", url, body=body, headers=headers, timeout=PATIENCE_SECONDS)
    if answer.status >= 300:
        raise CloudlikeError(f"the warehouse has no bucket: {answer.status} {answer.data!r}")
