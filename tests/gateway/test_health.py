"""Whoever asks is answered, whatever others do; what cannot start says which setting to change."""

import asyncio
import http.client
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ingest_gateway import health as module
from ingest_gateway.health import HealthServer, Problems
from tests.gateway.processes import process
from tests.gateway.running import PATIENCE_SECONDS

NOBODY = "ws://127.0.0.1:1"


class Desk:
    """A health server and what it is to say."""

    def __init__(self, ready: Problems | None = None) -> None:
        self.problems: list[str] = []
        self.server = HealthServer(0)
        self.server.start(
            alive=list, ready=ready or (lambda: self.problems), metrics=lambda: b"a 1\n"
        )

    def ask(
        self, path: str, *, method: str = "GET", host: str = "127.0.0.1"
    ) -> tuple[int, str, http.client.HTTPMessage]:
        line = http.client.HTTPConnection(host, self.server.port, timeout=PATIENCE_SECONDS)
        try:
            line.request(method, path)
            answer = line.getresponse()
            return answer.status, answer.read().decode(), answer.headers
        finally:
            line.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=PATIENCE_SECONDS)


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.server.close()


def test_no_problem_is_ok_and_every_problem_is_a_line(desk: Desk) -> None:
    assert desk.ask("/readyz")[:2] == (200, "ok\n")
    desk.problems = ["bus: features cannot be published", "feed: no product has a valid book"]
    assert desk.ask("/readyz?verbose")[:2] == (503, "\n".join([*desk.problems, ""]))
    assert desk.ask("/healthz")[:2] == (200, "ok\n")
    assert desk.ask("/metrics")[:2] == (200, "a 1\n")


def test_an_unknown_page_says_which_there_are(desk: Desk) -> None:
    assert desk.ask("/")[:2] == (404, "try /healthz, /readyz, /metrics\n")


@pytest.mark.parametrize(("path", "status"), [("/readyz", 503), ("/healthz", 200), ("/x", 404)])
def test_head_is_get_without_the_body(desk: Desk, path: str, status: int) -> None:
    desk.problems = ["feed: down"]
    found, body, headers = desk.ask(path, method="HEAD")
    assert (found, body) == (status, "")
    assert headers["Content-Length"] == str(len(desk.ask(path)[1]))


def test_it_is_there_over_ipv4_and_over_ipv6(desk: Desk) -> None:
    assert desk.ask("/healthz", host="127.0.0.1")[0] == 200
    if has_ipv6():
        assert desk.ask("/healthz", host="::1")[0] == 200


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_a_host_without_ipv6_is_served_over_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(next(iter(module._NO_IPV6)), "no IPv6 here")

    monkeypatch.setattr(module._BothServer, "server_bind", refuse)
    desk = Desk()
    assert desk.ask("/healthz")[0] == 200
    desk.server.close()


def test_clients_that_say_nothing_hold_up_neither_others_nor_the_end(desk: Desk) -> None:
    with ExitStack() as silent:
        for _ in range(30):
            silent.enter_context(desk.connect())
        half = silent.enter_context(desk.connect())
        half.sendall(b"GET /healthz HTTP/1.1\r\nHost:")
        assert desk.ask("/healthz")[0] == 200
        desk.server.close()
        with pytest.raises(OSError, match="refused"):
            desk.connect()


def test_a_client_that_says_nothing_is_left(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk.server._server.RequestHandlerClass, "timeout", 0.05)
    with desk.connect() as silent:
        assert silent.recv(1) == b""


def test_a_page_that_fails_says_so_and_the_others_go_on() -> None:
    def fail() -> list[str]:
        raise KeyError("lanes")

    desk = Desk(ready=fail)
    with capture_logs() as logs:
        assert desk.ask("/readyz")[:2] == (500, "KeyError\n")
    assert [line["event"] for line in logs] == ["page_failed"]
    assert desk.ask("/healthz")[0] == 200
    desk.server.close()


def test_what_never_began_can_be_closed_and_closed_again() -> None:
    server = HealthServer(0)
    server.close()
    server.close()


def test_the_port_is_taken_before_anything_starts() -> None:
    first = HealthServer(0)
    with pytest.raises(OSError, match="in use"):
        HealthServer(first.port)
    first.close()


# As a process


def assert_refused(data: Path, variables: dict[str, str]) -> str:
    """Start a gateway that must not start; return what it says."""

    async def scenario() -> str:
        async with process(data, NOBODY, **variables) as gateway:
            assert await asyncio.to_thread(gateway.child.wait, PATIENCE_SECONDS) == 2
            return gateway.log.read_text()

    text = asyncio.run(scenario())
    assert "settings refused:" in text
    assert "Traceback" not in text
    return text


def test_a_port_in_use_is_named_and_nothing_starts(tmp_path: Path) -> None:
    with socket.create_server(("", 0)) as taken:
        port = str(taken.getsockname()[1])
        text = assert_refused(tmp_path, {"QUOTEWATCH_HTTP_PORT": port})
    assert f"QUOTEWATCH_HTTP_PORT={port}: cannot be listened on: Address already in use" in text
    # Nothing was begun, so the next start does not speak of a crash.
    assert not (tmp_path / "spool").exists() or not list((tmp_path / "spool").iterdir())
    assert not (tmp_path / "bus.db").exists()


def below_a_file(path: Path) -> str:
    """Name a folder that nobody can make, root neither."""
    (path / "file").touch()
    return str(path / "file" / "folder")


REFUSALS: list[Callable[[str], dict[str, str]]] = [
    lambda place: {"QUOTEWATCH_DATA_DIR": place},
    lambda place: {"QUOTEWATCH_SPOOL_DIR": place},
    lambda place: {"QUOTEWATCH_SPOOL_DIR": f"file://{place}"},
]


@pytest.mark.parametrize("variables", REFUSALS)
def test_a_place_that_cannot_be_written_is_named_and_nothing_starts(
    tmp_path: Path, variables: Callable[[str], dict[str, str]]
) -> None:
    given = variables(below_a_file(tmp_path))
    text = assert_refused(tmp_path, given)
    ((name, value),) = given.items()
    assert f"{name}='{value}': cannot be written: Not a directory" in text


def test_a_spool_of_a_kind_nobody_knows_is_named(tmp_path: Path) -> None:
    text = assert_refused(tmp_path, {"QUOTEWATCH_SPOOL_DIR": "s3://bucket/spool"})
    assert "QUOTEWATCH_SPOOL_DIR='s3://bucket/spool': " in text
    assert "cannot be opened: write file:///absolute/path or gs://bucket" in text


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    place = below_a_file(tmp_path)
    with socket.create_server(("", 0)) as taken:
        port = str(taken.getsockname()[1])
        variables = {"QUOTEWATCH_DATA_DIR": place, "QUOTEWATCH_SPOOL_DIR": place + "/spool"}
        text = assert_refused(tmp_path, variables | {"QUOTEWATCH_HTTP_PORT": port})
    for name in (*variables, "QUOTEWATCH_HTTP_PORT"):
        assert f"  {name}=" in text
