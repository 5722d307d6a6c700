"""Everything that runs, started in order: subscriptions, exchange, gateway, functions, jobs."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from quotewatch.tables.catalog import Tables, catalog_properties
from tests.cloudlike import subscriptions
from tests.cloudlike.accounts import Accounts, load_grants
from tests.cloudlike.calls import Calls
from tests.cloudlike.cloud import WAREHOUSE, Cloud, catalog_of, environment_of
from tests.cloudlike.component import Component, Launch
from tests.cloudlike.front import Front
from tests.cloudlike.plan import FUNCTIONS, GATEWAY, INTERVALS, Plan
from tests.cloudlike.processes import ROOT, CloudlikeError, Guard, Program, quiet_port
from tests.cloudlike.scheduler import Scheduler
from tests.cloudlike.servers import Servers

_FUNCTION_LISTENS = r"Listening at: http://127\.0\.0\.1:(\d+)"
_GATEWAY_LISTENS = r'"port": (\d+), .*"event": "listening"'


@dataclass(frozen=True)
class Deployment:
    """A run's processes, and what is known of them."""

    plan: Plan
    folder: Path
    servers: Servers
    cloud: Cloud
    accounts: Accounts
    exchange: Program
    truth: Path
    components: Mapping[str, Component]
    fronts: Mapping[str, Front]
    calls: Calls
    scheduler: Scheduler
    tables: Tables

    @property
    def gateway(self) -> Component:
        """The one that is always on."""
        return self.components[GATEWAY]

    def check(self) -> None:
        """Raise if something is gone that should be there."""
        for component in self.components.values():
            component.check()
        for program in (self.servers.catalog, self.servers.monitoring):
            if program.returncode is not None:
                raise CloudlikeError(f"{program} is gone; its log ends:\n{program.tail()}")

    def market_has_ended(self) -> bool:
        """Whether the exchange has said its report; REST goes on."""
        if self.exchange.returncode is not None:
            raise CloudlikeError(f"{self.exchange} is gone:\n{self.exchange.tail()}")
        return len(self.exchange.lines) > 1

    def faults(self) -> dict[str, int]:
        """Return what the exchange did on purpose, as its report says."""
        report: dict[str, Any] = json.loads(self.exchange.lines[-1])
        found: dict[str, int] = report.get("faults", {})
        return found

    def stop_functions(self) -> dict[str, int | None]:
        """Let the functions end as the platform does; return their exit codes."""
        self.scheduler.stop()
        with ThreadPoolExecutor(len(FUNCTIONS)) as pool:  # each waits to export its last counts
            codes = pool.map(lambda name: self.components[name].stop(), FUNCTIONS)
        return dict(zip(FUNCTIONS, codes, strict=True))


@contextmanager
def deployed(plan: Plan, folder: Path, servers: Servers, guard: Guard) -> Iterator[Deployment]:
    """Start everything, and end with the block what still runs then."""
    truth = folder / "truth.jsonl"
    with ExitStack() as opened:
        calls = opened.enter_context(closing(Calls(folder / "calls.jsonl")))
        fronts = {name: opened.enter_context(Front(name, calls)) for name in FUNCTIONS}
        urls = {name: front.url for name, front in fronts.items()}
        subscriptions.create(servers.addresses.bus, urls)
        port = quiet_port()
        feed, rest = f"ws://127.0.0.1:{port}", f"http://127.0.0.1:{port}"
        addresses = replace(servers.addresses, feed=feed, rest=rest)
        accounts = Accounts(load_grants(plan.grants) if plan.grants else {})
        cloud = Cloud(addresses, opened.enter_context(accounts.views(addresses)))
        launcher = _Launcher(plan, folder, cloud, guard)
        components = {GATEWAY: launcher.gateway()}
        components |= {name: launcher.function(name, fronts[name]) for name in FUNCTIONS}
        for component in components.values():
            opened.callback(component.stop, at_once=True)
        _start([components[name] for name in FUNCTIONS])
        # Only now: the market's time counts from its start.
        exchange = _start_exchange(plan, port, truth, guard, opened)
        _start([components[GATEWAY]])
        scheduler = Scheduler(urls, INTERVALS)
        opened.callback(scheduler.stop)
        scheduler.start()
        tables = opened.enter_context(closing(_tables(cloud, folder)))
        yield Deployment(
            plan, folder, servers, cloud, accounts, exchange, truth, components, fronts, calls,
            scheduler, tables,
        )  # fmt: skip


def _start_exchange(plan: Plan, port: int, truth: Path, guard: Guard, opened: ExitStack) -> Program:
    flags = {
        "--port": port,
        "--products": ",".join(plan.products),
        "--rate": plan.rate,
        "--seed": plan.seed,
        "--seconds": plan.seconds,
        "--truth": truth,
    }
    written = [f"{flag}={value}" for flag, value in flags.items()]
    command = [sys.executable, "-m", "quotewatch", "simulate", "--linger", *written]
    program = Program(command, guard, log=truth.with_name("exchange.log"))
    opened.callback(program.wait)
    opened.callback(program.kill)
    program.hear(r"^\{.*\}$")
    return program


@dataclass(frozen=True)
class _Launcher:
    """How a component is started."""

    plan: Plan
    folder: Path
    cloud: Cloud
    guard: Guard

    def gateway(self) -> Component:
        command = [sys.executable, "-m", "ingest_gateway"]
        return Component(
            GATEWAY, self.folder / GATEWAY, self._launch(GATEWAY, command), _GATEWAY_LISTENS
        )

    def function(self, name: str, front: Front) -> Component:
        source = ["--source", str(ROOT / "functions" / f"{name}.py"), "--target", name]
        where = ["--host", "127.0.0.1", "--port", "0"]  # which one, its log says
        command = [sys.executable, "-m", "functions_framework", *source, *where]
        return Component(
            name,
            self.folder / name,
            self._launch(name, command),
            _FUNCTION_LISTENS,
            up=front.point_to,
            down=front.point_nowhere,
        )

    def _launch(self, name: str, command: list[str]) -> Launch:
        def launch(_: int, folder: Path, log: Path) -> Program:
            environment = environment_of(name, self.cloud, self.plan)
            return Program(
                command, self.guard, log=log, environment=environment, folder=folder,
                voice="stderr",
            )  # fmt: skip

        return launch


def _start(components: Sequence[Component]) -> None:
    """Start some at once and wait until each can be called."""
    for component in components:
        component.start()
    for component in components:
        component.wait_until_up()


def _tables(cloud: Cloud, folder: Path) -> Tables:
    """Open the tables for this process, which only looks at them."""
    return Tables(catalog_properties(catalog_of(cloud.addresses), WAREHOUSE, folder))
