"""A real Prometheus from Debian's package, on a free loopback port, gone with its block."""

import http.client
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.availability import cannot_run
from tests.emulator import free_port

START_SECONDS = 60.0
STOP_SECONDS = 20.0
CALL_SECONDS = 30.0
START_ATTEMPTS = 3
POLL_SECONDS = 0.02
SCRAPE_INTERVAL = "1s"
RETENTION = "100y"  # what tests query may have happened at any time


class PromQlError(ValueError):
    """A query that Prometheus refused."""


@dataclass(frozen=True, slots=True)
class Line:
    """One series of an answer: labels, and points as time in seconds and value, in order."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]

    @property
    def value(self) -> float:
        """The newest value, the only one of an instant query."""
        return self.points[-1][1]


class Prometheus:
    """One server over the data in its home."""

    def __init__(self, home: Path, config: Mapping[str, Any]) -> None:
        self.port = free_port()
        self._data, self._log = home / "data", home / "prometheus.log"
        self._config = home / "prometheus.yml"
        self._config.write_text(json.dumps(config))  # JSON is YAML
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Serve; on another port if a process took this one meanwhile."""
        for _ in range(START_ATTEMPTS):
            if self._try_start():
                return
            self.port = free_port()
        cannot_run(f"Prometheus did not start: {self._log.read_text()[-2_000:]}")

    def stop(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        finally:
            process.kill()
            process.wait()

    def query(self, expression: str, at: float | None = None) -> list[Line]:
        """Evaluate at one time in seconds, or now."""
        when = {} if at is None else {"time": f"{at:.3f}"}
        return _lines(self._ask("query", {"query": expression, **when}))

    def query_range(
        self, expression: str, begin: float, end: float, step_seconds: float
    ) -> list[Line]:
        """Evaluate at every step from begin to end."""
        span = {"start": f"{begin:.3f}", "end": f"{end:.3f}", "step": f"{step_seconds:.3f}"}
        return _lines(self._ask("query_range", {"query": expression, **span}))

    def eventually(self, expression: str, seconds: float = START_SECONDS) -> list[Line]:
        """Evaluate until something comes out: give a comparison as the condition to wait for."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self.query(expression)
            if found:
                return found
            time.sleep(POLL_SECONDS)
        raise TimeoutError(f"{expression} had no answer within {seconds:g} s")

    def _try_start(self) -> bool:
        self._process = self._popen()
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            if self._is_ready():
                return True
            time.sleep(POLL_SECONDS)
        self.stop()
        return False

    def _is_ready(self) -> bool:
        try:
            if self._get("/-/ready")[0] != http.HTTPStatus.OK:
                return False
            flags = json.loads(self._get("/api/v1/status/flags")[1])["data"]
        except (OSError, http.client.HTTPException):
            return False
        # Another one may have taken the port while this one was on its way.
        return bool(flags["storage.tsdb.path"] == str(self._data))

    def _popen(self) -> subprocess.Popen[bytes]:
        options = {
            "config.file": self._config,
            "storage.tsdb.path": self._data,
            "storage.tsdb.retention.time": RETENTION,
            "web.listen-address": f"127.0.0.1:{self.port}",
        }
        with self._log.open("ab") as output:
            return subprocess.Popen(
                [find_program("prometheus"), *(f"--{key}={to}" for key, to in options.items())],
                cwd=self._config.parent,
                env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C ends the tests; they end the server
            )

    def _ask(self, what: str, form: Mapping[str, str]) -> Any:
        status, body = self._get(f"/api/v1/{what}?{urlencode(form)}")
        answer = json.loads(body)
        if status != http.HTTPStatus.OK or answer["status"] != "success":
            raise PromQlError(f"{form['query']}: {answer.get('error', body)}")
        return answer["data"]

    def _get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=CALL_SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@contextmanager
def running_prometheus(home: Path) -> Iterator[Prometheus]:
    """Run one that collects nothing over the blocks in a directory, if there are any."""
    yield from _running(Prometheus(home, {}))


@contextmanager
def scraping_prometheus(home: Path, targets: Sequence[str]) -> Iterator[Prometheus]:
    """Run one that asks these addresses each second: http://127.0.0.1:8080/metrics."""
    static = [
        {"targets": [url.netloc], "labels": {"__metrics_path__": url.path or "/metrics"}}
        for url in map(urlsplit, targets)
    ]
    timing = {"scrape_interval": SCRAPE_INTERVAL, "scrape_timeout": SCRAPE_INTERVAL}
    job = {"job_name": "quotewatch", "static_configs": static}
    yield from _running(Prometheus(home, {"global": timing, "scrape_configs": [job]}))


def _running(server: Prometheus) -> Iterator[Prometheus]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


def create_blocks(open_metrics: str, home: Path) -> None:
    """Make the data of a server that was there at the time."""
    if open_metrics.strip() == "# EOF":
        return  # promtool has no block for no samples
    source = home / "openmetrics.txt"
    source.write_text(open_metrics)
    command = ["tsdb", "create-blocks-from", "openmetrics", str(source), str(home / "data")]
    done = _promtool(command)
    if done.returncode != 0:
        raise ValueError(f"promtool refused the samples: {done.stderr.decode()[-2_000:]}")


def check_metrics(text: bytes) -> list[str]:
    """List what `promtool check metrics` has against an exposition."""
    done = _promtool(["check", "metrics"], text)
    words = (done.stdout + done.stderr).decode().splitlines()
    if done.returncode != 0 and not words:
        return [f"promtool check metrics ended with {done.returncode}"]
    return words if done.returncode != 0 else []


def find_program(name: str) -> str:
    """Find prometheus or promtool."""
    found = shutil.which(name)
    if found is None:
        cannot_run(f"{name} is missing: apt-get install prometheus")
    return found


def _promtool(arguments: Sequence[str], text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [find_program("promtool"), *arguments],
        input=text,
        capture_output=True,
        check=False,
        timeout=START_SECONDS,
    )


def _lines(data: Mapping[str, Any]) -> list[Line]:
    match data["resultType"]:
        case "vector":
            return [_line(each["metric"], [each["value"]]) for each in data["result"]]
        case "matrix":
            return [_line(each["metric"], each["values"]) for each in data["result"]]
        case "scalar":
            return [_line({}, [data["result"]])]
    raise PromQlError(f"a {data['resultType']} is not a number")


def _line(labels: Mapping[str, str], points: Sequence[tuple[float, str]]) -> Line:
    return Line(labels, tuple((float(at), float(value)) for at, value in points))
