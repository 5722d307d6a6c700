"""Cloud Scheduler as we play it: at least once, never beside itself."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from threading import Semaphore

import pytest

from tests.cloudlike import scheduler as scheduler_module
from tests.cloudlike.scheduler import Scheduler
from tests.cloudlike.test_front import answer, instance

_SECONDS = 60.0
_NEVER = 3_600.0


@contextmanager
def scheduling(work: Callable[[BaseHTTPRequestHandler], None], every: float) -> Iterator[Scheduler]:
    """Run one job against a function that does this."""
    with instance(work) as port:
        scheduler = Scheduler({"write": f"http://127.0.0.1:{port}/"}, {"write": every})
        scheduler.start()
        try:
            yield scheduler
        finally:
            scheduler.stop()


def test_a_call_that_fails_is_made_again_until_it_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler_module, "_FIRST_BACKOFF_SECONDS", 0.01)
    statuses = iter([503, 500, 404, 200])
    made: list[int] = []
    succeeded = threading.Event()

    def work(handler: BaseHTTPRequestHandler) -> None:
        made.append(next(statuses))
        answer(handler, made[-1])
        if made[-1] == 200:
            succeeded.set()

    with scheduling(work, _NEVER):
        assert succeeded.wait(_SECONDS)
    assert made == [503, 500, 404, 200]


def test_a_call_that_is_cut_off_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler_module, "_FIRST_BACKOFF_SECONDS", 0.01)
    called = Semaphore(0)

    def work(handler: BaseHTTPRequestHandler) -> None:
        called.release()
        handler.connection.close()

    with scheduling(work, _NEVER):
        assert all(called.acquire(timeout=_SECONDS) for _ in range(3))


def test_it_calls_on_its_interval_and_when_forced() -> None:
    called = Semaphore(0)

    def work(handler: BaseHTTPRequestHandler) -> None:
        called.release()
        answer(handler)

    with scheduling(work, 0.02):
        assert all(called.acquire(timeout=_SECONDS) for _ in range(3))
    with scheduling(work, _NEVER) as scheduler:
        assert called.acquire(timeout=_SECONDS)
        scheduler.force("write")
        assert called.acquire(timeout=_SECONDS)
