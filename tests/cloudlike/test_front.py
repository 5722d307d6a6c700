"""What stands before a function: calls are handed on one at a time, and each is noted."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests.cloudlike import front as front_module
from tests.cloudlike.calls import Calls
from tests.cloudlike.front import SCHEDULED, Front

_SECONDS = 60.0


@pytest.fixture
def calls(tmp_path: Path) -> Iterator[Calls]:
    with closing(Calls(tmp_path / "calls.jsonl")) as calls:
        yield calls


@pytest.fixture
def front(calls: Calls) -> Iterator[Front]:
    with Front("write", calls) as front:
        yield front


@contextmanager
def instance(work: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[int]:
    """Serve one instance; it yields its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            work(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def answer(handler: BaseHTTPRequestHandler, status: int = 200, report: Any = None) -> None:
    body = json.dumps({} if report is None else report).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def post(front: Front, body: bytes = b"", header: str = "user-agent") -> int:
    with urllib3.PoolManager() as pool:
        return pool.request(
            "POST", front.url, body=body, headers={header: "true"}, timeout=_SECONDS, retries=False
        ).status


def test_a_call_is_handed_on_and_noted_with_its_report(front: Front, calls: Calls) -> None:
    with instance(lambda handler: answer(handler, 500, {"seconds": 7})) as port:
        front.point_to(3, port)
        assert post(front, header=SCHEDULED) == 500
    [call] = calls.of("write")
    assert (call.caller, call.instance, call.status, call.report) == (
        "scheduler", 3, 500, {"seconds": 7},
    )  # fmt: skip
    assert not call.broken


def test_of_what_is_pushed_the_attributes_are_noted(front: Front, calls: Calls) -> None:
    pushed = json.dumps({"message": {"attributes": {"seq": "5"}, "data": ""}}).encode()
    with instance(answer) as port:
        front.point_to(1, port)
        assert post(front, pushed) == 200
    [call] = calls.of("write")
    assert (call.caller, call.message) == ("push", {"seq": "5"})


def test_an_instance_gets_one_call_at_a_time(front: Front, calls: Calls) -> None:
    at_once: list[int] = []
    inside = threading.Semaphore(0)

    def work(handler: BaseHTTPRequestHandler) -> None:
        inside.release()
        threading.Event().wait(0.005)  # work takes time: whoever comes meanwhile is counted
        at_once.append(inside._value)
        inside.acquire()
        answer(handler)  # last: with the answer the next call may come

    with instance(work) as port, ThreadPoolExecutor(8) as pool:
        front.point_to(1, port)
        assert list(pool.map(lambda _: post(front), range(24))) == [200] * 24
    assert set(at_once) == {1}
    assert len(calls.of("write")) == 24


def test_a_call_waits_for_an_instance_that_starts(front: Front, calls: Calls) -> None:
    with instance(answer) as port, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(post, front)
        front.point_to(2, port)
        assert waiting.result() == 200
    assert calls.of("write")[0].instance == 2


def test_without_an_instance_the_answer_is_503(
    front: Front, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_module, "_PENDING_SECONDS", 0.01)
    assert post(front) == 503
    assert calls.of("write")[0].instance == 0


def test_a_call_over_which_the_instance_dies_is_answered_with_500(
    front: Front, calls: Calls
) -> None:
    with instance(lambda handler: handler.connection.close()) as port:
        front.point_to(1, port)
        assert post(front) == 500
    [call] = calls.of("write")
    assert call.broken


def test_one_can_wait_for_a_call_and_for_its_end(front: Front) -> None:
    goes_on = threading.Event()

    def work(handler: BaseHTTPRequestHandler) -> None:
        goes_on.wait(_SECONDS)
        answer(handler)

    with instance(work) as port, ThreadPoolExecutor(1) as pool:
        front.point_to(1, port)
        assert front.next_flight(0.0) is None
        pool.submit(post, front)
        flight = front.next_flight(_SECONDS)
        assert flight is not None
        assert not front.is_over(flight, 0.01)
        goes_on.set()
        assert front.is_over(flight, _SECONDS)
