"""The part of the GCS JSON API that QuoteWatch uses, on a free port, in memory.

It refuses what the real one refuses, with the real one's status and words, and what it does not
know it answers with 501 instead of guessing. Faults are queued: each spoils one request.
"""

import base64
import json
import re
import secrets
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Literal, Self
from urllib.parse import parse_qsl, unquote, urlsplit

import google_crc32c

When = Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What befalls one request: an error status or no answer, before or after it is done."""

    method: str
    status: int | Literal["dropped", "silent", "garbled"]
    when: When = "before"


@dataclass(frozen=True, slots=True)
class Held:
    """One live object."""

    data: bytes
    generation: int


@dataclass(frozen=True, slots=True)
class Answer:
    """One response."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class RefusedError(Exception):
    """An error answer of the API."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message

    def answer(self, *, media: bool) -> Answer:
        """Say it as the API does: plain text where bytes were asked for, JSON elsewhere."""
        if media:
            return Answer(self.status, self.message.encode(), {"Content-Type": "text/html"})
        detail = {"message": self.message, "domain": "global", "reason": self.reason}
        error = {"code": self.status, "message": self.message, "errors": [detail]}
        return as_json({"error": error}, self.status)


@dataclass(frozen=True, slots=True)
class Request:
    """One request, parsed."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_media(self) -> bool:
        return self.query.get("alt") == "media"


class FakeGcs:
    """Buckets in memory behind a URL for STORAGE_EMULATOR_HOST. Use it as a context manager."""

    def __init__(self, *buckets: str, page_size: int = 1000) -> None:
        self.buckets: dict[str, dict[str, Held]] = {name: {} for name in buckets}
        self.denied: set[str] = set()  # buckets this caller may not touch
        self.faults: list[Fault] = []
        self.seen: list[str] = []  # "METHOD path" of every request
        self.page_size = page_size
        self.lock = threading.Lock()
        self._uploads: dict[str, tuple[str, str, dict[str, str]]] = {}
        self._generation = 1_700_000_000_000_000  # microseconds, as the real ones look
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.stop()
        self._thread.join()

    def fail(
        self,
        method: str,
        status: int | Literal["dropped", "silent", "garbled"],
        *,
        when: When = "before",
        times: int = 1,
    ) -> None:
        """Spoil the next requests of that method."""
        with self.lock:
            self.faults += [Fault(method, status, when)] * times

    def next_fault(self, method: str) -> Fault | None:
        """Take the fault that is due for a request of that method."""
        for fault in self.faults:
            if fault.method == method:
                self.faults.remove(fault)
                return fault
        return None

    def handle(self, request: Request) -> Answer:
        """Answer one request; the caller holds the lock."""
        try:
            return self._route(request)
        except RefusedError as refused:
            return refused.answer(media=request.is_media)

    def _route(self, request: Request) -> Answer:
        for method, pattern, known, action in self._ROUTES:
            match = re.fullmatch(pattern, request.path)
            if match and request.method == method:
                strange = request.query.keys() - known
                if strange:
                    raise RefusedError(501, "notImplemented", f"fake: parameters {strange}")
                bucket, *name = (unquote(part) for part in match.groups())
                self._check_bucket(bucket)
                answer: Answer = action(self, request, bucket, *name)
                return answer
        raise RefusedError(501, "notImplemented", f"fake: {request.method} {request.path}")

    def _check_bucket(self, bucket: str) -> None:
        if bucket not in self.buckets:
            raise RefusedError(404, "notFound", "The specified bucket does not exist.")
        if bucket in self.denied:
            raise RefusedError(
                403,
                "forbidden",
                "someone@example.iam.gserviceaccount.com does not have storage.objects access to "
                "the Google Cloud Storage object. Permission denied on resource.",
            )

    def _begin_upload(self, request: Request, bucket: str) -> Answer:
        kind = request.query.get("uploadType")
        if kind == "multipart":
            metadata, data = _multipart(request)
            return self._store(bucket, metadata, data, request.query)
        if kind == "resumable":
            metadata = json.loads(request.body)
            self._precondition(bucket, _object_name(metadata), request.query)
            upload = secrets.token_hex(8)
            self._uploads[upload] = (bucket, json.dumps(metadata), request.query)
            where = f"{self.url}{request.path}?uploadType=resumable&upload_id={upload}"
            return Answer(200, headers={"Location": where})
        raise RefusedError(501, "notImplemented", f"fake: uploadType {kind}")

    def _end_upload(self, request: Request, bucket: str) -> Answer:
        begun = self._uploads.pop(request.query["upload_id"], None)
        if begun is None or begun[0] != bucket:
            raise RefusedError(404, "notFound", "No such upload.")
        size = len(request.body)
        if request.headers.get("content-range") != f"bytes 0-{size - 1}/{size}":
            raise RefusedError(501, "notImplemented", "fake: uploads in several chunks")
        return self._store(bucket, json.loads(begun[1]), request.body, begun[2])

    def _store(
        self, bucket: str, metadata: dict[str, Any], data: bytes, query: Mapping[str, str]
    ) -> Answer:
        name = _object_name(metadata)
        self._precondition(bucket, name, query)
        if metadata.get("crc32c", _crc32c(data)) != _crc32c(data):
            raise RefusedError(400, "invalid", f"Provided CRC32C doesn't match {_crc32c(data)}.")
        self._generation += 1
        self.buckets[bucket][name] = Held(data, self._generation)
        return as_json(self._resource(bucket, name))

    def _get(self, request: Request, bucket: str, name: str) -> Answer:
        held = self._held(bucket, name)
        self._precondition(bucket, name, request.query)
        if not request.is_media:
            return as_json(self._resource(bucket, name))
        headers = {
            "Content-Type": "application/octet-stream",
            "X-Goog-Generation": str(held.generation),
            "X-Goog-Metageneration": "1",
            "X-Goog-Hash": f"crc32c={_crc32c(held.data)}",
        }
        return Answer(200, held.data, headers)

    def _list(self, request: Request, bucket: str) -> Answer:
        prefix, after = request.query.get("prefix", ""), request.query.get("pageToken", "")
        names = sorted(self.buckets[bucket], key=str.encode)
        wanted = [name for name in names if name.startswith(prefix) and name > after]
        size = min(int(request.query.get("maxResults", self.page_size)), self.page_size)
        page: dict[str, Any] = {"kind": "storage#objects"}
        if wanted:
            page["items"] = [self._resource(bucket, name) for name in wanted[:size]]
        if len(wanted) > size:
            page["nextPageToken"] = wanted[size - 1]
        return as_json(page)

    def _delete(self, request: Request, bucket: str, name: str) -> Answer:
        self._held(bucket, name)
        self._precondition(bucket, name, request.query)
        del self.buckets[bucket][name]
        return Answer(204)

    def _held(self, bucket: str, name: str) -> Held:
        held = self.buckets[bucket].get(name)
        if held is None:
            raise RefusedError(404, "notFound", f"No such object: {bucket}/{name}")
        return held

    def _precondition(self, bucket: str, name: str, query: Mapping[str, str]) -> None:
        wanted = query.get("ifGenerationMatch")
        if wanted is None:
            return
        if not re.fullmatch(r"\d+", wanted):
            raise RefusedError(400, "invalidParameter", f"Invalid long value: '{wanted}'.")
        held = self.buckets[bucket].get(name)
        if int(wanted) != (held.generation if held else 0):
            raise RefusedError(
                412,
                "conditionNotMet",
                "At least one of the pre-conditions you specified did not hold.",
            )

    def _resource(self, bucket: str, name: str) -> dict[str, Any]:
        held = self.buckets[bucket][name]
        return {
            "kind": "storage#object",
            "bucket": bucket,
            "name": name,
            "generation": str(held.generation),
            "metageneration": "1",
            "size": str(len(held.data)),
            "crc32c": _crc32c(held.data),
        }

    _OBJECT = r"/storage/v1/b/([^/]+)/o/([^/]+)"
    _CONDITION: ClassVar = {"ifGenerationMatch", "prettyPrint"}
    _LISTING: ClassVar = {
        *("prefix", "pageToken", "maxResults", "fields", "projection", "prettyPrint")
    }
    _ROUTES: ClassVar[list[tuple[str, str, set[str], Any]]] = [
        ("POST", r"/upload/storage/v1/b/([^/]+)/o", {"uploadType", *_CONDITION}, _begin_upload),
        ("PUT", r"/upload/storage/v1/b/([^/]+)/o", {"uploadType", "upload_id"}, _end_upload),
        ("GET", f"(?:/download)?{_OBJECT}", {"alt", "generation", *_CONDITION}, _get),
        ("GET", r"/storage/v1/b/([^/]+)/o", _LISTING, _list),
        ("DELETE", _OBJECT, _CONDITION, _delete),
    ]


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # stop() waits for them, so that no socket outlives the test
    request_queue_size = 64

    def __init__(self, fake: FakeGcs) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.fake = fake
        self.stopping = threading.Event()
        self._open: list[socket.socket] = []

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._open.append(connection)
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients of these tests are killed and time out: a broken connection is no news."""

    def stop(self) -> None:
        self.shutdown()
        self.stopping.set()
        for connection in self._open:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # closed already
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept, as by the real one
    disable_nagle_algorithm = True
    server: _Server

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return  # the sender died on the way: nothing is stored
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, url.path, query, headers, body)
        fake = self.server.fake
        with fake.lock:
            fake.seen.append(f"{request.method} {request.path}")
            fault = fake.next_fault(request.method)
            if fault is None:
                answer = fake.handle(request)
            elif fault.when == "after" or fault.status == "garbled":
                answer = _spoilt(fault, request, fake.handle(request))
            else:
                answer = _spoilt(fault, request, None)
        if fault is not None and fault.status == "silent":
            self.server.stopping.wait()
        if fault is not None and fault.status in ("dropped", "silent"):
            self.close_connection = True
            return
        self._send(answer)

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - http.server's names

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Stay silent."""


def _spoilt(fault: Fault, request: Request, done: Answer | None) -> Answer:
    if fault.status == "garbled" and done is not None:
        return Answer(done.status, done.body[::-1], done.headers)
    if not isinstance(fault.status, int):
        return Answer(0)  # never sent
    reasons = {429: "rateLimitExceeded", 503: "backendError"}
    messages = {
        429: "The object exceeded the rate limit for object mutation operations.",
        503: "Backend Error",
    }
    reason, message = reasons.get(fault.status, "error"), messages.get(fault.status, "Error")
    return RefusedError(fault.status, reason, message).answer(media=request.is_media)


def _multipart(request: Request) -> tuple[dict[str, Any], bytes]:
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/related"):
        raise RefusedError(400, "badContent", f"Multipart upload with content type {kind!r}.")
    message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode())
    boundary = message.get_boundary()
    pieces = request.body.split(f"--{boundary}".encode())
    if boundary is None or len(pieces) != 4 or pieces[3].strip() != b"--":
        raise RefusedError(400, "parseError", "Multipart upload must have exactly two parts.")
    (_, metadata), (_, data) = (
        piece.removeprefix(b"\r\n").removesuffix(b"\r\n").split(b"\r\n\r\n", 1)
        for piece in pieces[1:3]
    )
    return json.loads(metadata), data


def _object_name(metadata: Mapping[str, Any]) -> str:
    name = metadata.get("name")
    if not isinstance(name, str) or not name:
        raise RefusedError(400, "required", "Required parameter: name")
    if name in (".", "..") or re.search(r"[\r\n]", name) or len(name.encode()) > 1024:
        raise RefusedError(400, "invalid", "Disallowed unicode characters or length in name.")
    return name


def _crc32c(data: bytes) -> str:
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


def as_json(content: Mapping[str, Any], status: int = 200) -> Answer:
    """Answer with JSON."""
    return Answer(status, json.dumps(content).encode(), {"Content-Type": "application/json"})
