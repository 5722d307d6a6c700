"""Strict stand-ins for the few REST calls of a deploy: they refuse what the real ones refuse."""

import base64
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.deploy.fake_gcloud import World, now

APIS = ("cloudresourcemanager", "iam", "pubsub", "storage", "artifactregistry")
_ASKS = re.compile(
    r"/cloudresourcemanager/v3/projects/[^/:]+:testIamPermissions"
    r"|/iam/v1/projects/[^/]+/serviceAccounts/[^/:]+:testIamPermissions"
    r"|/pubsub/v1/projects/[^/]+/topics/[^/:]+:testIamPermissions"
    r"|/artifactregistry/v1/projects/[^/]+/locations/[^/]+/repositories/[^/:]+:testIamPermissions"
)
_BUCKET = re.compile(r"/storage/b/[^/]+/iam/testPermissions")
_PUBLISH = re.compile(r"/pubsub/v1/projects/[^/]+/topics/(?P<topic>[^/:]+):publish")


@dataclass
class Apis:
    """What the APIs answer. `denied` is by a piece of the path; `*` is everything."""

    world: World
    denied: dict[str, set[str]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)  # pieces of paths that are answered with 503
    absent: list[str] = field(default_factory=list)  # pieces of paths that are answered with 404
    calls: list[str] = field(default_factory=list)
    url: str = ""

    def environment(self) -> Mapping[str, str]:
        """Return the variables that lead here."""
        return {
            f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api.upper()}": f"{self.url}/{api}/" for api in APIS
        }

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, dict[str, Any]]:
        path = urlsplit(target).path
        self.calls.append(f"{method} {path}")
        if any(piece in path for piece in self.broken):
            return 503, _error("The service is currently unavailable.")
        if any(piece in path for piece in self.absent):
            return 404, _error("The specified resource does not exist.")
        if method == "GET" and _BUCKET.fullmatch(path):
            return self._allowed(path, parse_qs(urlsplit(target).query)["permissions"])
        if method == "POST" and _ASKS.fullmatch(path):
            return self._allowed(path, json.loads(body)["permissions"])
        publish = _PUBLISH.fullmatch(path)
        if method == "POST" and publish:
            return self._publish(publish["topic"], json.loads(body))
        return 404, _error(f"no such method: {method} {path}")

    def _allowed(self, path: str, asked: list[str]) -> tuple[int, dict[str, Any]]:
        denied = {each for piece, names in self.denied.items() if piece in path for each in names}
        found = [each for each in asked if each not in denied and "*" not in denied]
        return 200, {"permissions": found} if found else {}

    def _publish(self, topic: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        [message] = body["messages"]
        base64.b64decode(message["data"], validate=True)
        self.world.published[topic] = {**message, "at": now()}
        return 200, {"messageIds": ["1"]}


@contextmanager
def serving(apis: Apis) -> Iterator[Apis]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._respond()

        def do_POST(self) -> None:
            self._respond()

        def _respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Authorization") == f"Bearer {apis.world.token}":
                status, answer = apis.answer(self.command, self.path, body)
            else:
                status, answer = 401, _error("Request had invalid authentication credentials.")
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    apis.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield apis
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message}}
