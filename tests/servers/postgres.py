"""A real PostgreSQL from Debian's packages, on a free loopback port, gone with its block."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.availability import cannot_run
from tests.emulator import free_port

START_SECONDS = 60.0
STOP_SECONDS = 20.0
START_ATTEMPTS = 3
READY_LINE = 7  # of postmaster.pid: the line that pg_ctl waits for, too
UNPRIVILEGED = ("postgres", "nobody")
SETTINGS = {
    # synchronous_commit stays on: without it crash() would lose what was committed.
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "50",
    "autovacuum": "off",
    "unix_socket_directories": "",  # the default, in /var/run, belongs to the system's own server
}


class Postgres:
    """One server and its data. Stopped and started again it keeps port and data."""

    def __init__(self, programs: Path, home: Path, log: Path, account: str | None) -> None:
        self.port = free_port()
        self.log = log
        self._programs, self._home, self._account = programs, home, account
        self._data = home / "data"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """The address for SQLAlchemy, and so for pyiceberg's SqlCatalog."""
        return f"postgresql+psycopg2://quotewatch@127.0.0.1:{self.port}/postgres"

    def create(self) -> None:
        """Make the data directory; every local connection is trusted."""
        options = ["--username=quotewatch", "--auth=trust", "--encoding=UTF8", "--no-locale"]
        done = self._popen("initdb", f"--pgdata={self._data}", "--no-sync", *options)
        if done.wait(START_SECONDS) != 0:
            cannot_run(f"initdb failed: {self._last_words()}")

    def start(self) -> None:
        """Serve; if another process took the port meanwhile, on another one the first time."""
        for _ in range(START_ATTEMPTS):
            if self._try_start():
                return
            self.port = free_port()
        cannot_run(f"PostgreSQL did not start: {self._last_words()}")

    def restart(self) -> None:
        """End an outage, or make a short one: connections break, the address stays."""
        self.stop()
        if not self._try_start():
            raise RuntimeError(f"PostgreSQL did not come back: {self._last_words()}")

    def stop(self) -> None:
        """Begin an outage: connections are cut, new ones refused. Nothing committed is lost."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """End at once without a checkpoint, as after a power cut: the next start recovers."""
        self._end(signal.SIGQUIT)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(STOP_SECONDS)
        finally:
            process.kill()  # its children notice and end by themselves
            process.wait()

    def _try_start(self) -> bool:
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        where = [f"--port={self.port}", "--listen_addresses=127.0.0.1"]
        self._process = self._popen("postgres", "-D", str(self._data), *where, *settings)
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            if self._is_ready(self._process.pid):
                return True
            time.sleep(0.01)
        self._end(signal.SIGQUIT)
        return False

    def _is_ready(self, pid: int) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return lines[:1] == [str(pid)] and [w.strip() for w in lines[READY_LINE:]] == ["ready"]

    def _popen(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as output:
            return subprocess.Popen(
                [self._programs / program, *arguments],
                cwd=self._home,
                env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=self._account,
                group=None if self._account is None else pwd.getpwnam(self._account).pw_gid,
                extra_groups=None if self._account is None else [],
                start_new_session=True,  # Ctrl-C ends the tests; they end the server
            )

    def _last_words(self) -> str:
        return self.log.read_text()[-2_000:]


@contextmanager
def running_postgres(tmp: Path) -> Iterator[Postgres]:
    """Run a server that a test may stop and restart; its log stands in tmp."""
    programs = find_programs()
    account = unprivileged_account() if os.geteuid() == 0 else None
    with own_directory(account) as home:
        server = Postgres(programs, home, tmp / "postgres.log", account)
        server.create()
        try:
            server.start()
            yield server
        finally:
            server.crash()  # nothing to keep


@contextmanager
def postgres(tmp: Path) -> Iterator[str]:
    """Run a server and yield its SQLAlchemy address."""
    with running_postgres(tmp) as server:
        yield server.uri


def find_programs() -> Path:
    """Find the newest installed server: Debian keeps initdb and postgres off the PATH."""
    packaged = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[4])
    )
    on_path = shutil.which("initdb")
    if packaged:
        return packaged[-1].parent
    if on_path is None:
        cannot_run("PostgreSQL is missing: apt-get install postgresql")
    return Path(on_path).resolve().parent


def unprivileged_account() -> str:
    """Name whom to run as: initdb and postgres refuse root."""
    known = {entry.pw_name for entry in pwd.getpwall()}
    account = next((name for name in UNPRIVILEGED if name in known), None)
    if account is None:
        cannot_run(f"PostgreSQL refuses to run as root, and there is no user of {UNPRIVILEGED}")
    return account


@contextmanager
def own_directory(account: str | None) -> Iterator[Path]:
    """Make a directory that the account can reach; pytest's tmp_path is closed to others."""
    with tempfile.TemporaryDirectory(prefix="quotewatch-postgres-") as name:
        if account is not None:
            shutil.chown(name, account)
        yield Path(name)
