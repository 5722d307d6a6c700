"""The demo: a simulated exchange, the real gateway and stages, and the proof that nothing is lost.

At the end the market stops first, so that all it sent is read, then the gateway, then the stages
once everything is in the tables; the audit compares what was sent with what the tables hold.
"""

import json
import os
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from quotewatch.bus.sqlite import SqliteBus
from quotewatch.errors import SettingsError
from quotewatch.local import settling, stack
from quotewatch.local.children import Child
from quotewatch.local.console import RunConsole
from quotewatch.local.proof.audit import audit
from quotewatch.local.proof.sources import TableFrames
from quotewatch.local.stage_processes import SETTLE_SECONDS, StageProcesses
from quotewatch.local.summary import summarize
from quotewatch.local.tap import Tap
from quotewatch.local.telemetry import followed
from quotewatch.resources import Resources
from quotewatch.settings import Dialect

# Heartbeats come each second. A silence lasts 8 s and should be noticed long before; where none is
# asked for, a machine that is busy for a moment should not look like one.
_WATCHDOG_SECONDS = "5"
_WATCHDOG_OF_SILENCE_SECONDS = "2"
_HEAL_SECONDS = 20.0  # the simulated exchange may be away for a while
_TRACES = (
    "bus.db",
    "truth.jsonl",
    "spool",
    "catalog.db",
    "warehouse",
    "metrics",
)  # what a run leaves in its data directory


@dataclass(frozen=True)
class DemoPlan:
    """What a demo is asked for. Without `data` it gets a new directory of its own."""

    seconds: float
    products: tuple[str, ...]
    dialect: Dialect
    rate: float
    seed: int
    faults: tuple[str, ...] = ()
    data: Path | None = None
    truth: Path | None = None
    summary: Path | None = None
    metrics_port: int = 0


@dataclass(frozen=True)
class _Places:
    """Where a demo keeps what."""

    data: Path
    bus: Path
    truth: Path

    @classmethod
    def of(cls, plan: DemoPlan) -> "_Places":
        for flag, path in (("--summary", plan.summary), ("--truth", plan.truth)):
            if path is not None:
                stack.make_writable(path, flag)
        data = _fresh_directory(plan.data)
        return cls(data, stack.bus_path(data), plan.truth or data / "truth.jsonl")


@dataclass(frozen=True)
class _Parts:
    """What runs during a demo."""

    exchange: Child
    gateway: Child
    stages: StageProcesses
    bus: SqliteBus
    rest_url: str

    def go_on(self) -> bool:
        """Whether the market still runs; a process that died is an error."""
        self.gateway.check()
        self.stages.check()
        if self.exchange.has_spoken():  # its report: the market has ended
            return False
        self.exchange.check()
        return True


def demo(plan: DemoPlan, console: Console) -> int:
    """Run it and return the exit code."""
    places = _Places.of(plan)
    console.print(f"Data in {stack.shown(places.data)}", soft_wrap=True, highlight=False)
    with stack.stop_on_signals() as stop, ExitStack() as open_things:
        began = time.monotonic()
        parts = _start(plan, places, open_things)
        tap = Tap(parts.bus)
        title = f"QuoteWatch demo · simulated {plan.dialect} feed · {len(plan.products)} products"
        stored = parts.stages.tally
        # Not what the environment says: the demo's own place, and all else by default.
        settings = stack.own_settings(
            places.data, rest_url=parts.rest_url, http_port=plan.metrics_port
        )
        telemetry = open_things.enter_context(stack.tell(settings, parts.gateway, console))
        with RunConsole(
            title, tap.tally, plan.seconds,
            stored=stored, console=console, recorder=telemetry.recorder,
        ) as screen:  # fmt: skip
            stack.watch(tap, screen, parts.go_on, stop)
            if not parts.exchange.has_spoken():
                parts.exchange.stop()  # somebody is in a hurry: REST ends with the market
            seconds = time.monotonic() - began
            stack.wait_until_read(tap, screen, parts.gateway)
            code = parts.gateway.stop()
            tap.drain()
        parts.stages.stop()
        console.print("Storing the last frames, fetching missing trades …", highlight=False)
        settled = settling.settle(settings, parts.bus, heal_seconds=_HEAL_SECONDS)
        console.print("Comparing what was sent with what is in the tables …", highlight=False)
        resources = open_things.enter_context(closing(Resources(settings)))
        proof = audit(TableFrames(resources.tables), places.truth)
        faults = _line(parts.exchange)["faults"]
        summary = summarize(seconds, tap.tally, proof, faults, settled)
    stack.note_exit(summary, parts.gateway, code)
    shown = {
        "data": places.data,
        "metrics": telemetry.file,
        "tables": places.data / "warehouse",
        "truth": places.truth,
    }
    return stack.conclude(console, summary, {**shown, "log": parts.gateway.log}, plan.summary)


def _start(plan: DemoPlan, places: _Places, open_things: ExitStack) -> _Parts:
    """Start the exchange, make the bus meanwhile, and start the gateway once it can connect."""
    log = places.data / "exchange.log"
    exchange = Child("exchange", _simulate(plan, places.truth), log, os.environ, speaks=True)
    open_things.callback(exchange.kill)
    bus = open_things.enter_context(closing(stack.open_local_bus(places.bus)))
    ready = _line(exchange)
    gateway = stack.start_gateway(places.data, _environment(plan, places.data, ready["url"]))
    open_things.callback(gateway.kill)
    stack.wait_until_listening(gateway)  # it has the machine for itself until then
    stages = StageProcesses(places.data, _stage_environment(places.data, ready["rest_url"]))
    open_things.callback(stages.kill)
    stages.listen()
    return _Parts(exchange, gateway, stages, bus, ready["rest_url"])


def _line(exchange: Child) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(exchange.next_line())
    return said


def _simulate(plan: DemoPlan, truth: Path) -> list[str]:
    flags: dict[str, object] = {
        "--port": 0,
        "--products": ",".join(plan.products),
        "--dialect": plan.dialect,
        "--rate": plan.rate,
        "--seed": plan.seed,
        "--seconds": plan.seconds,
        "--truth": truth,
    }
    if plan.faults:
        flags["--faults"] = ",".join(plan.faults)
    # With "=", or a value that begins with a dash would be taken for a flag.
    written = [f"{flag}={value}" for flag, value in flags.items()]
    return ["quotewatch", "simulate", "--linger", *written]


def _environment(plan: DemoPlan, data: Path, url: str) -> dict[str, str]:
    """Tell the gateway everything; settings of another run must not leak in."""
    own = {
        "BUS": "sqlite",
        "DATA_DIR": str(data),
        "PRODUCTS": ",".join(plan.products),
        "FEED_DIALECT": plan.dialect,
        "FEED_URL": url,
        "FRAME_MS_FEATURES": stack.FRAME_MS_FEATURES,
        "WATCHDOG_S": (
            _WATCHDOG_OF_SILENCE_SECONDS if "silence" in plan.faults else _WATCHDOG_SECONDS
        ),
        "HTTP_PORT": "0",
    }
    return _only(own)


def _stage_environment(data: Path, rest_url: str) -> dict[str, str]:
    return _only({"DATA_DIR": str(data), "REST_URL": rest_url, "SETTLE_S": SETTLE_SECONDS})


def _only(own: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with these settings of ours and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(stack.PREFIX)}
    set_here = {stack.PREFIX + name: value for name, value in own.items()}
    passed = followed(os.environ, stack.PREFIX)
    return {**kept, "ENVIRONMENT": "local", **passed, **set_here}


def _fresh_directory(asked: Path | None) -> Path:
    """Return a directory without traces of another run; nothing is ever deleted."""
    try:
        if asked is None:
            return _new_directory(Path("data"))
        asked.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"--data: {error}") from error
    found = [name for name in _TRACES if (asked / name).exists()]
    if found:
        raise SettingsError(
            f"--data {asked}: holds an earlier run ({', '.join(found)}), and runs must not mix;"
            " name another directory, or leave --data out and get a new one"
        )
    return asked.resolve()


def _new_directory(parent: Path) -> Path:
    name = f"demo-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    number = 1
    while True:
        place = parent / (name if number == 1 else f"{name}-{number}")
        try:
            place.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return place.resolve()
