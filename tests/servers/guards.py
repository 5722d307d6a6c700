"""What stands before an emulator and lets one account do only what it was granted, as IAM would.

The emulators of Pub/Sub and Cloud Storage and our catalog know no accounts. A guard asks for each
call which permission on which thing it needs, hands it on or refuses it, and notes what it refused.
"""

import http.client
import json
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import grpc  # type: ignore[import-untyped]  # grpcio carries no types
from google.pubsub_v1 import types as wire

_LARGEST = 12_000_000
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
_SECONDS = 120.0


@dataclass(frozen=True, order=True)
class Need:
    """What a call needs: a permission on a thing, `pubsub.topics.publish` on `topic events`."""

    permission: str
    thing: str


@dataclass
class Account:
    """Whom a guard stands before: what it may do, and what it did."""

    name: str
    may: Callable[[Need], bool]
    done: set[Need] = field(default_factory=set)
    refused: list[Need] = field(default_factory=list)

    def allows(self, need: Need) -> bool:
        """Say whether a call may pass, and note it."""
        if self.may(need):
            self.done.add(need)
            return True
        self.refused.append(need)
        return False


# Pub/Sub


_MESSAGES: Mapping[str, tuple[Any, str, str]] = {
    "/google.pubsub.v1.Publisher/Publish": (wire.PublishRequest, "topic", "pubsub.topics.publish"),
    "/google.pubsub.v1.Subscriber/Pull": (
        wire.PullRequest, "subscription", "pubsub.subscriptions.consume",
    ),
    "/google.pubsub.v1.Subscriber/Acknowledge": (
        wire.AcknowledgeRequest, "subscription", "pubsub.subscriptions.consume",
    ),
    "/google.pubsub.v1.Subscriber/ModifyAckDeadline": (
        wire.ModifyAckDeadlineRequest, "subscription", "pubsub.subscriptions.consume",
    ),
}  # fmt: skip
# On an emulator processes see to it that there is what they need. Here everything is there.
_MADE = (
    "/google.pubsub.v1.Publisher/CreateTopic",
    "/google.pubsub.v1.Subscriber/CreateSubscription",
)


@contextmanager
def guarded_pubsub(account: Account, target: str) -> Iterator[str]:
    """Stand before a Pub/Sub emulator; yield host:port."""
    sizes = [
        ("grpc.max_receive_message_length", _LARGEST),
        ("grpc.max_send_message_length", _LARGEST),
    ]
    channel = grpc.insecure_channel(target, options=sizes)
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), options=sizes)
    server.add_generic_rpc_handlers((_Calls(account, channel),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(grace=None).wait()
        channel.close()


class _Calls(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio carries no types
    """Every call there may be, as bytes."""

    def __init__(self, account: Account, channel: grpc.Channel) -> None:
        self._account = account
        self._channel = channel

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        method = handler_call_details.method
        return grpc.unary_unary_rpc_method_handler(
            lambda data, call: self._hand_on(method, data, call)
        )

    def _hand_on(self, method: str, data: bytes, call: grpc.ServicerContext) -> bytes:
        if method in _MADE:
            call.abort(grpc.StatusCode.ALREADY_EXISTS, "it is there")
        need = _pubsub_need(method, data)
        if not self._account.allows(need):
            call.abort(grpc.StatusCode.PERMISSION_DENIED, f"{self._account.name} lacks {need}")
        send = self._channel.unary_unary(method)
        try:
            answer: bytes = send(data, timeout=call.time_remaining())
        except grpc.RpcError as error:
            call.abort(error.code(), error.details())
            raise  # abort has raised
        return answer


def _pubsub_need(method: str, data: bytes) -> Need:
    if method not in _MESSAGES:
        return Need(f"nobody knows which: {method}", "anything")
    message, kind, permission = _MESSAGES[method]
    name = getattr(message.deserialize(data), kind)
    return Need(permission, f"{kind} {name.rpartition('/')[2]}")


# Cloud Storage, and the catalog


@contextmanager
def guarded_http(
    account: Account, target: str, need_of: "Callable[[Asked], Need | None]"
) -> Iterator[str]:
    """Stand before a server of HTTP; yield its URL. What needs nothing passes."""
    server = _Server(account, target, need_of)
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(frozen=True)
class Asked:
    """One request, as far as rights go."""

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes


_OBJECTS = re.compile(r"/(?:upload/|download/)?storage/v1/b/([^/]+)/o(?:/(.+))?")
_BUCKET = re.compile(r"/storage/v1/b/([^/]+)")
_PLAIN = re.compile(r"/([^/]+)/(.+)")
_NAME = re.compile(rb'"name":\s*"([^"]+)"')
_VERBS = {"GET": "get", "HEAD": "get", "DELETE": "delete", "PATCH": "update"}


def storage_need(asked: Asked) -> Need | None:
    """Say what a call to Cloud Storage needs; later parts of an upload need nothing more."""
    if "upload_id" in asked.query:
        return None
    if found := _OBJECTS.fullmatch(asked.path):
        return _object_need(asked, found[1], unquote(found[2] or ""))
    if found := _BUCKET.fullmatch(asked.path):
        return Need("storage.buckets.get", f"bucket {found[1]}")
    if found := _PLAIN.fullmatch(asked.path):  # the XML API, for downloads
        return _object_need(asked, found[1], unquote(found[2]))
    return Need(f"nobody knows which: {asked.method} {asked.path}", "anything")


def _object_need(asked: Asked, bucket: str, name: str) -> Need:
    if asked.method == "POST":
        said = _NAME.search(asked.body)
        name = asked.query.get("name") or (said[1].decode() if said else "")
        return Need("storage.objects.create", f"object {bucket}/{name}")
    if not name:
        return Need("storage.objects.list", f"object {bucket}/{asked.query.get('prefix', '')}")
    return Need(f"storage.objects.{_VERBS[asked.method]}", f"object {bucket}/{name}")


def catalog_need(asked: Asked) -> Need | None:
    """Say what a call to the catalog needs."""
    if asked.path.endswith("/config"):
        return Need("biglake.catalogs.get", "catalog")
    kind = "tables" if "/tables" in asked.path else "namespaces"
    if asked.method in ("GET", "HEAD"):
        return Need(f"biglake.{kind}.get", "catalog")
    if asked.method == "POST" and asked.path.endswith(f"/{kind}"):
        return Need(f"biglake.{kind}.create", "catalog")
    verb = "delete" if asked.method == "DELETE" else "update"
    return Need(f"biglake.{kind}.{verb}", "catalog")


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self, account: Account, target: str, need_of: Callable[[Asked], Need | None]
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.account, self.need_of = account, need_of
        self.target = urlsplit(target).netloc

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: who was killed has left in the middle of a call."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        need = self.server.need_of(Asked(self.command, url.path, query, body))
        if need is not None and not self.server.account.allows(need):
            said = {"error": {"code": 403, "message": f"{self.server.account.name} lacks {need}"}}
            self._answer(
                HTTPStatus.FORBIDDEN,
                {"Content-Type": "application/json"},
                json.dumps(said).encode(),
            )
            return
        upstream = http.client.HTTPConnection(self.server.target, timeout=_SECONDS)
        try:
            headers = {
                name: value
                for name, value in self.headers.items()
                if name.lower() not in _HOP_BY_HOP | {"expect"}
            }
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            self._answer(answer.status, dict(answer.getheaders()), answer.read())
        except (OSError, http.client.HTTPException):
            self.close_connection = True
        finally:
            upstream.close()

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        length = headers.get("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _pass  # noqa: N815 - http.server's

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Stay silent."""
