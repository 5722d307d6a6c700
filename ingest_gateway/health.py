"""/healthz, /readyz and /metrics of one process, answered from a thread of its own."""

import errno
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from quotewatch.logs import get_logger

Problems = Callable[[], list[str]]
Page = Callable[[], tuple[HTTPStatus, bytes]]

SILENT_SECONDS = 10.0  # a client that says nothing for so long is left
_LOOK_SECONDS = 0.1  # how long `close` waits for the thread at most
_NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})

_log = get_logger("health")


class HealthServer:
    """Answers 200 where there is no problem, 503 with one line a problem where there is.

    On all interfaces, or for this machine alone. The port is taken when it is made, so that a
    process learns early that it cannot have it; who asks before `start` waits.
    """

    def __init__(self, port: int, *, loopback: bool = False) -> None:
        self._pages: dict[str, Page] = {}
        handler = _handler(self._pages)
        self._server = _Server(("127.0.0.1", port), handler) if loopback else _listen(port, handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_LOOK_SECONDS,), name="health", daemon=True
        )

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def start(self, *, alive: Problems, ready: Problems, metrics: Callable[[], bytes]) -> None:
        """Begin to answer."""
        self._pages["/healthz"] = lambda: _verdict(alive())
        self._pages["/readyz"] = lambda: _verdict(ready())
        self._pages["/metrics"] = lambda: (HTTPStatus.OK, metrics())
        self._thread.start()

    def close(self) -> None:
        """Stop answering, also when it never began. Safe to call twice."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


def _verdict(problems: list[str]) -> tuple[HTTPStatus, bytes]:
    status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
    return status, ("\n".join(problems or ["ok"]) + "\n").encode()


class _Server(ThreadingHTTPServer):
    """Every client gets a thread, none of which keeps the process from ending."""

    daemon_threads = True
    allow_reuse_port = False  # a second gateway on this port has to hear of it

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # HTTPServer's own would ask DNS for the name of this host, and may wait long for it.
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that left before its answer is no event."""


class _BothServer(_Server):
    address_family = socket.AF_INET6


def _listen(port: int, handler: type[BaseHTTPRequestHandler]) -> _Server:
    """Listen on all interfaces, as a container has to, over IPv6 and IPv4 where there are both."""
    try:
        return _BothServer(("::", port), handler)
    except OSError as error:
        if error.errno not in _NO_IPV6:
            raise
    return _Server(("", port), handler)


def _handler(pages: Mapping[str, Page]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = SILENT_SECONDS

        def do_GET(self) -> None:
            self.wfile.write(self._head())

        def do_HEAD(self) -> None:
            self._head()

        def _head(self) -> bytes:
            """Send everything but the body."""
            status, body = _page(pages, self.path.partition("?")[0])
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            return body

        def log_message(self, *_: object) -> None:
            """Say nothing: a line per probe is no event."""

    return Handler


def _page(pages: Mapping[str, Page], path: str) -> tuple[HTTPStatus, bytes]:
    page = pages.get(path)
    if page is None:
        return HTTPStatus.NOT_FOUND, b"try " + ", ".join(pages).encode() + b"\n"
    try:
        return page()
    except Exception as error:  # noqa: BLE001  # the thread's outer edge: said to who asked
        _log.exception("page_failed", page=path)
        return HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}\n".encode()
