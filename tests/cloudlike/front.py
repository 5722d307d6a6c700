"""What the platform puts before a function: one URL, whatever instance answers, one call at a time.

A call waits for an instance that starts, but not long: then it is answered with 503, and with 500
where an instance died over it. Every call is noted.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Lock, Thread
from typing import Any, Self

from tests.cloudlike.calls import Call, Caller, Calls

CALL_SECONDS = 300.0  # far beyond every budget: a function that takes longer has failed
SCHEDULED = "x-cloudscheduler"  # the header by which Cloud Scheduler is known
_PENDING_SECONDS = 10.0  # how long Cloud Run keeps a request that has no instance yet
_HANDED_ON = {"content-type", "user-agent", SCHEDULED}


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the caller."""

    status: int
    body: bytes = b""
    kind: str = "text/plain"


@dataclass(slots=True)
class Flight:
    """A call that an instance is at."""

    instance: int
    port: int
    over: bool = False
    broken: bool = False


class Front:
    """The URL of one function."""

    def __init__(self, function: str, calls: Calls) -> None:
        self.function = function
        self._calls = calls
        self._instance: tuple[int, int] | None = None  # its number and its port
        self._flight: Flight | None = None
        self._changed = Condition()
        self._turn = Lock()  # max-instances 1, concurrency 1
        self._server = _Server(self)
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Where to call it, and to push to."""
        return f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def point_to(self, instance: int, port: int) -> None:
        """Send calls to this instance from now on."""
        with self._changed:
            self._instance = (instance, port)
            self._changed.notify_all()

    def point_nowhere(self) -> None:
        """There is no instance now."""
        with self._changed:
            self._instance = None

    def next_flight(self, seconds: float) -> Flight | None:
        """Wait until an instance is at a call; None where none comes."""
        with self._changed:
            self._changed.wait_for(lambda: self._flight is not None, seconds)
            return self._flight

    def is_over(self, flight: Flight, seconds: float) -> bool:
        """Wait that long for the end of a call; return whether it came."""
        with self._changed:
            return self._changed.wait_for(lambda: flight.over, seconds)

    def answer(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Hand a call on and note what came of it; names of headers are in lower case."""
        with self._turn:
            began, clock = time.time(), time.monotonic()
            with self._in_flight() as flight:
                answer = self._hand_on(flight, body, headers)
            caller: Caller = "scheduler" if SCHEDULED in headers else "push"
            self._calls.add(
                Call(
                    self.function,
                    caller,
                    flight.instance,
                    began,
                    round(time.monotonic() - clock, 4),
                    answer.status,
                    flight.broken,
                    _pushed_in(body),
                    _report_in(answer),
                )
            )
        return answer

    @contextmanager
    def _in_flight(self) -> Iterator[Flight]:
        with self._changed:
            self._changed.wait_for(lambda: self._instance is not None, _PENDING_SECONDS)
            flight = Flight(*(self._instance or (0, 0)))
            if flight.instance:
                self._flight = flight
                self._changed.notify_all()
        try:
            yield flight
        finally:
            with self._changed:
                flight.over, self._flight = True, None
                self._changed.notify_all()

    def _hand_on(self, flight: Flight, body: bytes, headers: Mapping[str, str]) -> Answer:
        if not flight.instance:
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, b"no instance was available")
        connection = HTTPConnection("127.0.0.1", flight.port, timeout=CALL_SECONDS)
        kept = {name: value for name, value in headers.items() if name in _HANDED_ON}
        try:
            connection.request("POST", "/", body, kept)
            said = connection.getresponse()
            return Answer(said.status, said.read(), said.headers.get("Content-Type", ""))
        except (OSError, HTTPException) as error:
            flight.broken = True
            return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, f"the instance died: {error}".encode())
        finally:
            connection.close()


def _pushed_in(body: bytes) -> dict[str, str] | None:
    """Return the attributes of the message in a push; a scheduled call carries none."""
    if not body:
        return None
    attributes: dict[str, str] = json.loads(body)["message"].get("attributes", {})
    return attributes


def _report_in(answer: Answer) -> dict[str, Any] | None:
    if not answer.kind.startswith("application/json"):
        return None
    found: dict[str, Any] = json.loads(answer.body)
    return found


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, front: Front) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.front = front

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that did not wait for its answer is no news: it calls again."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # the emulator keeps its connections
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.front.answer(self.rfile.read(length), headers)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Say nothing: every call is noted."""
