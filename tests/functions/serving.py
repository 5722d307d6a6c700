"""A door as it is deployed: the real functions-framework, a process that knows nothing of us."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import urllib3

DOORS = Path(__file__).parents[2] / "functions"
PATIENCE_SECONDS = 60.0  # far beyond what is needed: only a failure waits so long
_LISTENING = re.compile(r"Listening at: http://127\.0\.0\.1:([0-9]+)")
_OURS = ("QUOTEWATCH_", "PYTHONPATH", "PUBSUB_", "FUNCTION_", "ENVIRONMENT", "GUNICORN_")


@dataclass(frozen=True)
class Answer:
    """What a call came to."""

    status: int
    body: dict[str, Any]


@dataclass
class Served:
    """One running door and what it has logged so far."""

    process: subprocess.Popen[str]
    url: str = ""
    lines: list[str] = field(default_factory=list)

    def call(self) -> Answer:
        """Call it as Scheduler does."""
        answer = urllib3.request("POST", self.url, timeout=PATIENCE_SECONDS, retries=False)
        assert answer.headers["Content-Type"] == "application/json", answer.data
        return Answer(answer.status, json.loads(answer.data))

    def call_until(self, status: int) -> Answer:
        """Call it again and again, as Scheduler does, until it answers so."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (answer := self.call()).status != status and time.monotonic() < deadline:
            pass
        return answer

    def end(self, number: int) -> None:
        """Signal the server as the platform does, and wait until it has gone."""
        self.process.send_signal(number)
        self.process.wait(PATIENCE_SECONDS)

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Return the log lines of one event."""
        records = [json.loads(line) for line in list(self.lines) if line.startswith("{")]
        return [record for record in records if record.get("event") == event]


@contextmanager
def serving(name: str, folder: Path, **variables: str) -> Iterator[Served]:
    """Serve a door on a port that nobody else has, from a folder that is not ours."""
    arguments = ["--source", str(DOORS / f"{name}.py"), "--target", name, "--host", "127.0.0.1"]
    environment = {
        variable: value for variable, value in os.environ.items() if not variable.startswith(_OURS)
    }
    environment |= {"GUNICORN_LOG_LEVEL": "info", "THREADS": "2", **variables}
    process = subprocess.Popen(
        # Port 0 is any free one; which, the server's log says.
        [sys.executable, "-m", "functions_framework", *arguments, "--port", "0"],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    served = Served(process)
    assert process.stderr is not None
    with process.stderr as log:
        listener = Thread(target=served.lines.extend, args=(log,))
        try:
            served.url = f"http://127.0.0.1:{_port(log, served.lines)}/"
            listener.start()
            yield served
        finally:
            with suppress(ProcessLookupError):  # master and worker, whatever they do just now
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if listener.is_alive():
                listener.join()


def wait_for(condition: Callable[[], bool]) -> None:
    """Look until it is so; only a failure waits to the end."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited for in vain"


def _port(log: Iterator[str], lines: list[str]) -> int:
    for line in log:
        lines.append(line)
        if found := _LISTENING.search(line):
            return int(found[1])
    raise AssertionError("the framework ended: " + "".join(lines))
