"""/healthz, /readyz and /metrics of one process, answered from a thread of its own."""

import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Problems = Callable[[], list[str]]


class HealthServer:
    """Answers 200 where there is no problem, 503 with one line a problem where there is."""

    def __init__(
        self, port: int, *, alive: Problems, ready: Problems, metrics: Callable[[], bytes]
    ) -> None:
        pages = {
            "/healthz": lambda: _verdict(alive()),
            "/readyz": lambda: _verdict(ready()),
            "/metrics": lambda: (HTTPStatus.OK, metrics()),
        }
        self._server = ThreadingHTTPServer(("", port), _handler(pages))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="health")

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


Page = Callable[[], tuple[HTTPStatus, bytes]]


def _verdict(problems: list[str]) -> tuple[HTTPStatus, bytes]:
    status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
    return status, ("\n".join(problems or ["ok"]) + "\n").encode()


def _handler(pages: dict[str, Page]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path.partition("?")[0])
            missing = b"try " + ", ".join(pages).encode() + b"\n"
            status, body = page() if page else (HTTPStatus.NOT_FOUND, missing)
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: a line per probe is no event."""

    return Handler
