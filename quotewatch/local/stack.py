"""What every run on this machine shares: the bus in a file, the gateway as a process, a console.

What runs is what is deployed: the gateway is `python -m ingest_gateway`, told by environment.
"""

import http.client
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import FrameType

from rich.console import Console

from quotewatch.bus.sqlite import SqliteBus
from quotewatch.bus.topology import topology
from quotewatch.errors import SettingsError
from quotewatch.local.children import Child
from quotewatch.local.console import REFRESHES, RunConsole
from quotewatch.local.stack_metrics import forget_pages, told_where
from quotewatch.local.summary import Summary, show_summary, write_summary
from quotewatch.local.tap import Tap, console_subscriptions
from quotewatch.local.telemetry import Telemetry, followed
from quotewatch.settings import Settings, fixed_settings

OK, LOSS = 0, 1
PREFIX = "QUOTEWATCH_"
FRAME_MS_FEATURES = "100"

_QUERY = (
    "SELECT symbol, count(*) AS trades, round(sum(price::DOUBLE * size::DOUBLE), 2) AS turnover"
    " FROM raw_trades GROUP BY symbol ORDER BY symbol"
)
_READ_ALL_SECONDS = 20.0
_LOOK_SECONDS = 0.05
_HTTP_SECONDS = 2.0
_ALL_DOWN = re.compile(rb"\b(\d+) of \1 connections are down")


def bus_path(data: Path) -> Path:
    """Return where the bus of a data directory is, whatever the environment says."""
    return Settings.model_construct(data_dir=data).bus_path


def open_local_bus(path: Path) -> SqliteBus:
    """Open the bus with everything that has to exist before the first frame comes."""
    bus = SqliteBus(path)
    wanted = topology()
    bus.create(wanted.topics, [*wanted.subscriptions, *console_subscriptions()])
    return bus


def own_settings(data: Path, **own: object) -> Settings:
    """Return the defaults with what a run says itself; of the environment, only exports."""
    told = followed(os.environ, PREFIX)
    exports = {name.removeprefix(PREFIX).lower(): value for name, value in told.items()}
    return fixed_settings({**exports, "data_dir": data, **own})


@contextmanager
def tell(settings: Settings, gateway: Child, console: Console) -> Iterator[Telemetry]:
    """Serve /metrics of the whole run, and say where."""
    with Telemetry(settings, lambda: _port_of(gateway)) as telemetry:
        console.print(f"Metrics at {telemetry.url}", soft_wrap=True, highlight=False)
        yield telemetry


def _port_of(gateway: Child) -> int | None:
    return listening_port(gateway.log) if gateway.returncode is None else None


def start_gateway(data: Path, environment: Mapping[str, str]) -> Child:
    """Start the gateway; its log is beside the data."""
    forget_pages(data)
    told = {**environment, **told_where(data, "gateway")}
    return Child("gateway", ["ingest_gateway"], data / "gateway.log", told)


def wait_until_listening(gateway: Child) -> None:
    """Wait until the gateway is up and about to connect."""
    deadline = time.monotonic() + _READ_ALL_SECONDS
    while listening_port(gateway.log) is None and time.monotonic() < deadline:
        gateway.check()
        time.sleep(_LOOK_SECONDS)


@contextmanager
def stop_on_signals() -> Iterator[Event]:
    """Turn the first Ctrl-C or SIGTERM into an event; the second one ends the program."""
    stop = Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def ask(_: int, __: FrameType | None) -> None:
        stop.set()
        for number in numbers:
            signal.signal(number, signal.default_int_handler)

    for number in numbers:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def watch(tap: Tap, screen: RunConsole, goes_on: Callable[[], bool], stop: Event) -> None:
    """Follow a run until it is over or somebody stops it."""
    while goes_on() and not stop.is_set():
        tap.follow(1 / REFRESHES)
        screen.update()
        stop.wait(1 / REFRESHES)


def wait_until_read(tap: Tap, screen: RunConsole, gateway: Child) -> None:
    """Wait until the gateway has read its closed connections to their end.

    SIGTERM would stop it from reading what its sockets still hold.
    """
    deadline = time.monotonic() + _READ_ALL_SECONDS
    while time.monotonic() < deadline:
        gateway.check()
        if _ALL_DOWN.search(_ready_page(gateway)):
            return
        tap.follow(_LOOK_SECONDS)
        screen.update()
        time.sleep(_LOOK_SECONDS)


def _ready_page(gateway: Child) -> bytes:
    """Return what /readyz says; nothing while nobody answers."""
    port = listening_port(gateway.log)
    if port is None:
        return b""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_HTTP_SECONDS)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().read()
    except OSError:
        return b""
    finally:
        connection.close()


def listening_port(log: Path) -> int | None:
    """Find the port in the log's last `listening` line: another run may have written before."""
    port = None
    for line in log.read_text(errors="replace").splitlines():
        if '"listening"' in line:
            port = int(json.loads(line)["port"])
    return port


def conclude(
    console: Console, summary: Summary, places: Mapping[str, Path], file: Path | None = None
) -> int:
    """Write and show the summary; return the exit code."""
    if file is not None:
        write_summary(file, summary)
        places = {**places, "summary": file}
    show_summary(console, summary, places)
    # Spelled as one would type it here: `make demo` leaves no environment active.
    data, python = shown(places["data"]), shown(Path(sys.executable))
    console.print(
        f'Try: {python} -m quotewatch sql --data {data} "{_QUERY}"',
        soft_wrap=True,
        highlight=False,
    )
    return LOSS if "loss" in summary else OK


def shown(path: Path) -> Path:
    """Return a path as short as it can be typed from here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def note_exit(summary: Summary, gateway: Child, code: int) -> None:
    """Put into the summary what a gateway that did not end well may have lost."""
    if code:
        loss = f"the gateway stopped with exit code {code}: something may be unpublished"
        summary.setdefault("loss", []).append(f"{loss}, see {gateway.log}")


def make_writable(path: Path, what: str) -> None:
    """Make the folder of a file that will be written at the end; better refuse now than then."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() or not os.access(path.parent, os.W_OK):
            raise SettingsError(f"{what} {path}: expected a file that can be written")
    except OSError as error:
        raise SettingsError(f"{what} {path}: cannot be written: {error}") from error
