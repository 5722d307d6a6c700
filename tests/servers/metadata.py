"""The cloud's metadata server: which instance this is, and a token of its service account."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

ACCOUNT = "quotewatch-write@p.iam.gserviceaccount.com"
TOKEN = "ya29.of-the-instance"  # noqa: S105 - nobody takes it
_ROOT = "/computeMetadata/v1/"


@dataclass
class MetadataServer:
    """What runs: where it is, and what it was asked for."""

    address: str = ""
    asked: list[str] = field(default_factory=list)


@contextmanager
def metadata_server() -> Iterator[MetadataServer]:
    """Run one on a free port; GCE_METADATA_HOST is to name its address."""
    running = MetadataServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(running))
    running.address = f"127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(running: MetadataServer) -> type[BaseHTTPRequestHandler]:
    account = {"aliases": ["default"], "email": ACCOUNT, "scopes": ["cloud-platform"]}
    token = {"access_token": TOKEN, "expires_in": 3_599, "token_type": "Bearer"}
    answers = {
        "": "instance/",
        "project/project-id": "p",
        "instance/id": "00bf4bf02d1f",
        "instance/region": "projects/123/regions/europe-west1",
        "universe/universe-domain": "googleapis.com",
        "instance/service-accounts/default/": json.dumps(account),
        f"instance/service-accounts/{ACCOUNT}/": json.dumps(account),
        "instance/service-accounts/default/token": json.dumps(token),
        f"instance/service-accounts/{ACCOUNT}/token": json.dumps(token),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer those who mean it, as the cloud's own server does."""
            name = urlsplit(self.path).path.removeprefix(_ROOT).removeprefix("/")
            running.asked.append(name)
            meant = self.headers["Metadata-Flavor"] == "Google"
            known = meant and name in answers
            self.send_response(HTTPStatus.OK if known else HTTPStatus.FORBIDDEN)
            self.send_header("Metadata-Flavor", "Google")
            body = answers[name] if known else ""
            kind = "application/json" if body.startswith("{") else "text/plain"
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    return Handler
