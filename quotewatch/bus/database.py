"""One SQLite file shared by processes and threads: transactions that are durable once committed.

Everything a process did before it was killed is there if its transaction had committed, and
nothing of it is if it had not. The file must be on a local disk: WAL does not work over NFS.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from quotewatch.errors import BusError, BusUnavailableError

SCHEMA_VERSION = 1
SCHEMA = """
    CREATE TABLE topics (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE subscriptions (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        topic_id INTEGER NOT NULL REFERENCES topics,
        ack_deadline_ns INTEGER NOT NULL,
        dead_topic_id INTEGER REFERENCES topics,
        max_attempts INTEGER
    );
    -- AUTOINCREMENT: an id is never given twice, so a late ack cannot meet another message.
    -- data stands last: reading a size does not walk through its pages.
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        published_ns INTEGER NOT NULL,
        size INTEGER NOT NULL,
        attributes TEXT NOT NULL,
        data BLOB NOT NULL
    );
    -- One row per message and subscription that has not acked it. attempt names the lease.
    CREATE TABLE deliveries (
        message_id INTEGER NOT NULL REFERENCES messages,
        subscription_id INTEGER NOT NULL REFERENCES subscriptions,
        due_ns INTEGER NOT NULL,
        attempt INTEGER NOT NULL DEFAULT 0,
        final INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (message_id, subscription_id)
    ) WITHOUT ROWID;
    CREATE INDEX deliveries_due ON deliveries (subscription_id, due_ns, message_id);
    -- What has had its last attempt: next to nothing, so that asking for it costs nothing.
    CREATE INDEX deliveries_final ON deliveries (due_ns) WHERE final = 1;
"""

WAL_BYTES_KEPT = 64_000_000

_MAY_PASS = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}
_RETRY_SECONDS = 0.01


class Database:
    """The file, opened on first use. Threads take turns on one connection."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._turn = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        self._closed = False

    @contextmanager
    def reading(self, timeout_seconds: float) -> Iterator[sqlite3.Connection]:
        """Read one consistent state. Does not wait for writers."""
        with self._transaction("BEGIN", timeout_seconds) as connection:
            yield connection

    @contextmanager
    def writing(self, timeout_seconds: float) -> Iterator[sqlite3.Connection]:
        """Write all or nothing; on return it is on disk. Waits for its turn, not longer."""
        # IMMEDIATE: a read that turns into a write fails at once if another writer was faster.
        with self._transaction("BEGIN IMMEDIATE", timeout_seconds) as connection:
            yield connection

    def close(self) -> None:
        """Close for good. A call that is under way ends first."""
        with self._turn:
            self._closed = True
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    @contextmanager
    def _transaction(self, begin: str, timeout_seconds: float) -> Iterator[sqlite3.Connection]:
        deadline = time.monotonic() + timeout_seconds
        if not self._turn.acquire(timeout=max(0.0, timeout_seconds)):
            raise BusUnavailableError(
                f"{self.path}: other threads kept the bus busy for {timeout_seconds:g} s; try again"
            )
        try:
            with _named(self.path):
                connection = self._opened(deadline)
                _wait_until(connection, deadline)
                connection.execute(begin)
                with _committed(connection):
                    yield connection
        finally:
            self._turn.release()

    def _opened(self, deadline: float) -> sqlite3.Connection:
        if self._closed:
            raise BusError(f"{self.path}: this bus is closed; open a new one")
        if self._connection is None:
            self._connection = _open(self.path, deadline)
            self._process = os.getpid()
        elif self._process != os.getpid():
            # SQLite's locks belong to a process: a connection used on both sides of a fork
            # corrupts the file.
            raise BusError(f"{self.path}: opened before a fork; open the bus in the child")
        return self._connection


def _open(path: Path, deadline: float) -> sqlite3.Connection:
    with suppress(OSError):  # what is wrong with the folder, opening the file says as well
        path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        _use_wal(connection, deadline)
        # FULL syncs the log at each commit: what was published survives a power cut as well.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
        _wait_until(connection, deadline)
        _create_schema(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection, deadline: float) -> None:
    # SQLite does not wait, whatever the busy timeout, when two connections switch a new file to
    # WAL at the same moment: one of them is told "locked" at once.
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_SECONDS)
        else:
            return


def _create_schema(connection: sqlite3.Connection, path: Path) -> None:
    if _schema_version(connection) == SCHEMA_VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    with _committed(connection):
        version = _schema_version(connection)
        if version not in (0, SCHEMA_VERSION):
            raise BusError(
                f"{path}: bus file of version {version}, this program writes {SCHEMA_VERSION}; "
                "move the file away, or run the program that wrote it"
            )
        if version == 0:
            for statement in SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _schema_version(connection: sqlite3.Connection) -> int:
    with closing(connection.execute("PRAGMA user_version")) as cursor:
        return int(cursor.fetchone()[0])


@contextmanager
def _committed(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # some errors have rolled back already
            connection.execute("ROLLBACK")
        raise


def _wait_until(connection: sqlite3.Connection, deadline: float) -> None:
    milliseconds = max(0, int((deadline - time.monotonic()) * 1_000))
    connection.execute(f"PRAGMA busy_timeout = {milliseconds}")


def _code(error: sqlite3.Error) -> int:
    # The low byte is the kind; what stands above tells more about it.
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if _code(error) in _MAY_PASS:
            raise BusUnavailableError(
                f"{path}: {error}; try again (is the disk full, or another process writing?)"
            ) from error
        raise BusError(
            f"{path}: {error}; check that this file is a QuoteWatch bus and may be written"
        ) from error
