"""An Iceberg REST catalog over pyiceberg's SqlCatalog, on a free port, with faults on demand.

It serves what pyiceberg uses for namespaces and tables and says so in /v1/config; anything else it
answers with 501 instead of guessing. The requirements of a commit are checked by the SqlCatalog,
under a lock, against the table as it stands then.
"""

import json
import re
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from pyiceberg.catalog.rest import CreateTableRequest, TableResponse
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NamespaceNotEmptyError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC
from pyiceberg.table import CommitTableRequest, Table
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER

When = Literal["before", "after"]
Outcome = int | Literal["dropped"]
Identifier = tuple[str, ...]

PREFIX = "catalogs/test"  # told to clients by /v1/config, as BigLake does
NAMESPACES = "/v1/{prefix}/namespaces"
NAMESPACE = f"{NAMESPACES}/{{namespace}}"
TABLES = f"{NAMESPACE}/tables"
TABLE = f"{TABLES}/{{table}}"
LOAD, COMMIT = f"GET {TABLE}", f"POST {TABLE}"
HOLD_SECONDS = 60.0

STATUS_OF: dict[type[Exception], int] = {
    ValueError: 400,  # also what pydantic says of a malformed request
    NoSuchNamespaceError: 404,
    NoSuchTableError: 404,
    CommitFailedException: 409,
    NamespaceAlreadyExistsError: 409,
    NamespaceNotEmptyError: 409,
    TableAlreadyExistsError: 409,
    NotImplementedError: 501,
}


class Hold:
    """A place where a request waits until the test lets it go on."""

    def __init__(self) -> None:
        self._reached, self._released = threading.Event(), threading.Event()

    def wait_until_reached(self, seconds: float = HOLD_SECONDS) -> None:
        """Return when a request waits here."""
        assert self._reached.wait(seconds), f"no request came to the hold within {seconds} s"

    def release(self) -> None:
        """Let the request go on; one that is yet to come will not wait."""
        self._released.set()

    def keep_waiting(self) -> None:
        """Wait here, as the request."""
        self._reached.set()
        self._released.wait()


@dataclass(frozen=True, slots=True)
class Fault:
    """What befalls one request, before or after it is done."""

    endpoint: str
    when: When
    outcome: Outcome | None = None  # None: it is only held
    hold: Hold | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One response."""

    status: int
    body: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, parsed."""

    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class RestCatalogServer:
    """A catalog in home behind a URL. Use it as a context manager."""

    def __init__(
        self,
        home: Path,
        warehouse: str | None = None,
        io_properties: Mapping[str, str] | None = None,
    ) -> None:
        self.warehouse = warehouse or (home / "warehouse").as_uri()
        self.io_properties = dict(io_properties or {})
        self.catalog = SqlCatalog(  # what a test may ask past all faults
            "rest",
            uri=f"sqlite:///{home / 'rest-catalog.sqlite'}",
            warehouse=self.warehouse,
            **self.io_properties,
        )
        self.seen: list[str] = []  # "METHOD path" of every request
        self.headers: list[Mapping[str, str]] = []  # of every request
        self.commits = 0  # those that landed, whatever the client was told
        self.conflicts = 0  # those refused because a requirement did not hold
        self.faults_met = 0  # answers that were spoilt on demand
        self.bugs: list[Exception] = []  # this server's own: they fail the test
        self._faults: list[Fault] = []
        self._holds: list[Hold] = []
        self._lock = threading.Lock()
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
        self.heal()
        self._server.stop()
        self._thread.join()
        self.catalog.close()
        if self.bugs:
            raise ExceptionGroup("the REST catalog server itself failed", self.bugs)

    def client_properties(self) -> dict[str, str]:
        """Say what pyiceberg's load_catalog needs to use this server."""
        address = {"type": "rest", "uri": self.url, "warehouse": self.warehouse}
        return address | self.io_properties

    def fail_commits(self, count: int = 1, *, status: Outcome = 500, when: When = "before") -> None:
        """Answer the next commits with a status, or not at all: undone, or done all the same."""
        self._plan([Fault(COMMIT, when, status)] * count)

    def fail_loads(self, count: int = 1, *, status: Outcome = 500) -> None:
        """Answer the next load_table calls with a status, or not at all."""
        self._plan([Fault(LOAD, "before", status)] * count)

    def hold_commit(self, when: When = "after", status: Outcome | None = None) -> Hold:
        """Make the next commit wait, then go on, or end with a status."""
        hold = Hold()
        self._plan([Fault(COMMIT, when, status, hold)])
        return hold

    def heal(self) -> None:
        """Forget the faults still to come; let go on what is held."""
        with self._lock:
            self._faults, self._holds, holds = [], [], self._holds
        for hold in holds:
            hold.release()

    def respond(self, request: Request) -> Answer | None:
        """Answer one request; None drops the connection."""
        fault = self._next_fault(request)
        if fault is None:
            return self._do(request)
        answer = self._do(request) if fault.when == "after" else None
        if fault.hold is not None:
            fault.hold.keep_waiting()
        if fault.outcome is not None:
            return _spoilt(fault.outcome)
        return answer or self._do(request)

    def _plan(self, faults: list[Fault]) -> None:
        with self._lock:
            self._faults += faults
            self._holds += [fault.hold for fault in faults if fault.hold is not None]

    def _next_fault(self, request: Request) -> Fault | None:
        with self._lock:
            self.seen.append(f"{request.method} {request.path}")
            self.headers.append(request.headers)
            endpoint, _ = _route(request)
            for fault in self._faults:
                if fault.endpoint == endpoint:
                    self._faults.remove(fault)
                    self.faults_met += fault.outcome is not None
                    return fault
            return None

    def _do(self, request: Request) -> Answer:
        endpoint, identifier = _route(request)
        try:
            with self._lock:
                return _ACTIONS[endpoint](self, request, identifier)
        except tuple(STATUS_OF) as error:
            status = next(code for kind, code in STATUS_OF.items() if isinstance(error, kind))
            return _refusal(status, type(error).__name__, str(error))
        except Exception as error:  # noqa: BLE001 - it must fail the test, not pass for a fault
            self.bugs.append(error)
            return _refusal(500, type(error).__name__, str(error))

    def _config(self, request: Request, _: Identifier) -> Answer:
        if request.query.get("warehouse") != self.warehouse:
            return _refusal(404, "NotFoundException", f"no warehouse {request.query}")
        endpoints = [endpoint for endpoint in _ACTIONS if "{prefix}" in endpoint]
        return _json({"defaults": {}, "overrides": {"prefix": PREFIX}, "endpoints": endpoints})

    def _list_namespaces(self, request: Request, _: Identifier) -> Answer:
        parent = _levels(request.query["parent"]) if "parent" in request.query else ()
        return _json({"namespaces": self.catalog.list_namespaces(parent)})

    def _create_namespace(self, request: Request, _: Identifier) -> Answer:
        asked = json.loads(request.body)
        self.catalog.create_namespace(tuple(asked["namespace"]), asked["properties"])
        return _json(asked)

    def _load_namespace(self, _: Request, namespace: Identifier) -> Answer:
        properties = self.catalog.load_namespace_properties(namespace)
        return _json({"namespace": namespace, "properties": properties})

    def _has_namespace(self, _: Request, namespace: Identifier) -> Answer:
        return Answer(204 if self.catalog.namespace_exists(namespace) else 404)

    def _drop_namespace(self, _: Request, namespace: Identifier) -> Answer:
        self.catalog.drop_namespace(namespace)
        return Answer(204)

    def _list_tables(self, _: Request, namespace: Identifier) -> Answer:
        if not self.catalog.namespace_exists(namespace):
            raise NoSuchNamespaceError(f"Namespace does not exist: {namespace}")
        tables = self.catalog.list_tables(namespace)
        return _json({"identifiers": [{"namespace": t[:-1], "name": t[-1]} for t in tables]})

    def _create_table(self, request: Request, namespace: Identifier) -> Answer:
        # pyiceberg leaves out what is None, and its own model insists on these three.
        optional = dict.fromkeys(("location", "partition-spec", "write-order"))
        asked = CreateTableRequest.model_validate(optional | json.loads(request.body))
        if asked.stage_create:
            raise NotImplementedError("this test server does not stage tables")
        table = self.catalog.create_table(
            (*namespace, asked.name),
            asked.table_schema,
            asked.location,
            asked.partition_spec or UNPARTITIONED_PARTITION_SPEC,
            asked.write_order or UNSORTED_SORT_ORDER,
            asked.properties,
        )
        return _loaded(table)

    def _load_table(self, _: Request, identifier: Identifier) -> Answer:
        return _loaded(self.catalog.load_table(identifier))

    def _has_table(self, _: Request, identifier: Identifier) -> Answer:
        return Answer(204 if self.catalog.table_exists(identifier) else 404)

    def _drop_table(self, request: Request, identifier: Identifier) -> Answer:
        if request.query.get("purgeRequested", "").lower() == "true":
            self.catalog.purge_table(identifier)
        else:
            self.catalog.drop_table(identifier)
        return Answer(204)

    def _commit(self, request: Request, identifier: Identifier) -> Answer:
        asked = CommitTableRequest.model_validate_json(request.body)
        if (*asked.identifier.namespace.root, asked.identifier.name) != identifier:
            raise ValueError(f"commit to {identifier} names {asked.identifier}")
        table = self.catalog.load_table(identifier)
        try:
            done = self.catalog.commit_table(table, asked.requirements, asked.updates)
        except CommitFailedException:
            self.conflicts += 1
            raise
        self.commits += 1
        return Answer(200, done.model_dump_json())


_ACTIONS: dict[str, Callable[[RestCatalogServer, Request, Identifier], Answer]] = {
    "GET /v1/config": RestCatalogServer._config,
    f"GET {NAMESPACES}": RestCatalogServer._list_namespaces,
    f"POST {NAMESPACES}": RestCatalogServer._create_namespace,
    f"GET {NAMESPACE}": RestCatalogServer._load_namespace,
    f"HEAD {NAMESPACE}": RestCatalogServer._has_namespace,
    f"DELETE {NAMESPACE}": RestCatalogServer._drop_namespace,
    f"GET {TABLES}": RestCatalogServer._list_tables,
    f"POST {TABLES}": RestCatalogServer._create_table,
    LOAD: RestCatalogServer._load_table,
    f"HEAD {TABLE}": RestCatalogServer._has_table,
    f"DELETE {TABLE}": RestCatalogServer._drop_table,
    COMMIT: RestCatalogServer._commit,
    "": lambda _, request, __: _refusal(501, "NotImplemented", f"{request.method} {request.path}"),
}


def _pattern(endpoint: str) -> re.Pattern[str]:
    filled = endpoint.replace("{prefix}", PREFIX)
    return re.compile(re.sub(r"\{\w+\}", "([^/]+)", filled))


_PATTERNS = [(endpoint, _pattern(endpoint)) for endpoint in _ACTIONS]


def _route(request: Request) -> tuple[str, Identifier]:
    """Find the endpoint and the identifier in the path: of a namespace, or of a table in one."""
    for endpoint, pattern in _PATTERNS:
        match = pattern.fullmatch(f"{request.method} {request.path}")
        if match:
            namespace, *table = match.groups() or ("",)
            return endpoint, (*_levels(namespace), *(unquote(name) for name in table))
    return "", ()


def _levels(namespace: str) -> Identifier:
    """Split a namespace as paths spell it: its levels are parted by the unit separator."""
    return tuple(unquote(namespace).split("\x1f"))


def _json(content: Mapping[str, Any], status: int = 200) -> Answer:
    return Answer(status, json.dumps(content))


def _loaded(table: Table) -> Answer:
    found = TableResponse(metadata_location=table.metadata_location, metadata=table.metadata)
    return Answer(200, found.model_dump_json())


def _refusal(status: int, kind: str, message: str) -> Answer:
    return _json({"error": {"message": message, "type": kind, "code": status}}, status)


def _spoilt(outcome: Outcome) -> Answer | None:
    if outcome == "dropped":
        return None
    return _refusal(outcome, "InjectedFault", "the test asked for this")


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # stop() waits for them, so that no socket outlives the test
    request_queue_size = 64

    def __init__(self, catalog: RestCatalogServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.catalog = catalog
        self._open: list[socket.socket] = []

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._open.append(connection)
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - its shape
        """Keep what is a bug; that clients time out and break connections is no news."""
        error = sys.exception()
        if isinstance(error, Exception) and not isinstance(error, OSError):
            self.catalog.bugs.append(error)

    def stop(self) -> None:
        self.shutdown()
        for connection in self._open:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # closed already
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept, as by the real ones
    disable_nagle_algorithm = True
    server: _Server

    def _answer(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = dict(parse_qsl(url.query))
        request = Request(self.command, url.path, query, body, dict(self.headers.items()))
        answer = self.server.catalog.respond(request)
        if answer is None:
            self.close_connection = True
            return
        self.send_response(answer.status)
        content = answer.body.encode()
        if content:
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_DELETE = _answer  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Stay silent."""
