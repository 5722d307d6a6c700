"""One run from the first process to the proof: started, killed, stopped as in the cloud."""

import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from rich.console import Console

from quotewatch.local import stack
from quotewatch.local.summary import Summary, write_summary
from tests.cloudlike import counters, gateway, proof, report, watching
from tests.cloudlike.deployment import Deployment, deployed
from tests.cloudlike.killing import Killer
from tests.cloudlike.plan import GATEWAY, Plan
from tests.cloudlike.processes import PATIENCE_SECONDS, CloudlikeError, Guard
from tests.cloudlike.servers import running_servers
from tests.cloudlike.settling import settle

OK, LOSS = 0, 1
SUMMARY = "summary.json"
_LOOK_SECONDS = 0.2
_TELL_SECONDS = 5.0
_KILLS_SECONDS = 180.0


def run(plan: Plan, console: Console) -> int:
    """Run it, show what came of it, and return the exit code."""
    folder = _folder(plan)
    console.print(f"Data in {folder}", soft_wrap=True, highlight=False)
    with stack.stop_on_signals() as stop, ExitStack() as opened:
        guard = opened.enter_context(Guard())
        servers = opened.enter_context(running_servers(folder / "servers", guard))
        deployment = opened.enter_context(deployed(plan, folder, servers, guard))
        summary = _Run(deployment, console, stop).to_the_end()
    write_summary(folder / SUMMARY, summary)
    good = not summary["loss"]
    kept = plan.keep or plan.data is not None or not good
    report.show(console, summary, {"data": folder, "summary": folder / SUMMARY} if kept else {})
    if not kept:
        shutil.rmtree(folder)
    return OK if good else LOSS


def _folder(plan: Plan) -> Path:
    if plan.data is None:
        return Path(tempfile.mkdtemp(prefix="cloudlike-"))
    plan.data.mkdir(parents=True, exist_ok=True)
    if any(plan.data.iterdir()):
        raise CloudlikeError(f"--data {plan.data}: is not empty, and runs must not mix")
    return plan.data.resolve()


@dataclass
class _Run:
    """A deployment on its way from the market's first message to the proof."""

    deployment: Deployment
    console: Console
    stop: Event

    def __post_init__(self) -> None:
        self._killer = Killer(self.deployment)
        self._began = time.monotonic()
        self._told = self._began

    def to_the_end(self) -> Summary:
        """Let the market end, then the gateway, then all work, then the functions."""
        deployment, killer = self.deployment, self._killer
        killer.start()
        self._until(lambda: deployment.market_has_ended() or self.stop.is_set(), float("inf"))
        if not deployment.market_has_ended():
            deployment.exchange.end()  # somebody is in a hurry: REST ends with the market
        seconds = time.monotonic() - self._began
        killer.end()
        late = [] if self._until(killer.is_done, _KILLS_SECONDS) else ["not all were killed"]
        self._say("The market has ended; reading what is left of it")
        self._until(lambda: gateway.has_read_all(deployment.gateway), PATIENCE_SECONDS)
        codes = {GATEWAY: deployment.gateway.stop()}
        last_kill = max((kill.at for kill in killer.kills), default=0.0)
        left = settle(deployment, last_kill, self._tell)
        self._say("Nothing is left to do; stopping the functions")
        codes |= deployment.stop_functions()
        deployment.servers.monitoring.end()
        self._say("Comparing what was sent with what is in the tables")
        found = proof.prove(deployment, killer.kills)
        exports = counters.judge(deployment, {n: t.rows for n, t in found.tables.items()})
        codes["catalog"] = deployment.servers.catalog.end()  # 1 where it has a bug of its own
        stray = [str(p) for c in deployment.components.values() for p in c.stray_files()]
        losses = [
            *late, *left, *found.losses, *exports.losses, *_not_back(deployment, killer),
            *(f"{name} ended with {code}" for name, code in codes.items() if code),
            *(f"{c.name}: {d}" for c in deployment.components.values() for d in c.deaths),
            *(f"a file on an instance's disk: {path}" for path in stray),
            *(f"{name} may not {what}" for name, what in deployment.accounts.refused().items()),
        ]  # fmt: skip
        outcome = report.Outcome(
            seconds, killer.kills, found, exports, codes, stray, losses
        )  # fmt: skip
        return report.summary_of(deployment, outcome)

    def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Follow the run until something holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() >= deadline:
                return False
            self.deployment.check()
            self._tell("")
            self.stop.wait(_LOOK_SECONDS)
        return True

    def _tell(self, waits_for: str) -> None:
        """Say how things stand, each five seconds."""
        now = time.monotonic()
        if now - self._told < _TELL_SECONDS:
            return
        self._told = now
        suffix = f"; waiting: {waits_for}" if waits_for else ""
        self._say(f"{watching.line(self.deployment, self._killer.kills)}{suffix}")

    def _say(self, text: str) -> None:
        since = time.monotonic() - self._began
        self.console.print(f"{since:5.0f} s  {text}", soft_wrap=True, highlight=False)


def _not_back(deployment: Deployment, killer: Killer) -> list[str]:
    """Name those that were killed and never worked again."""
    newest = {kill.component: kill for kill in killer.kills}
    return [
        f"{name}: killed and never back at work"
        for name, kill in newest.items()
        if not _has_worked(deployment, name, kill.instance)
    ]


def _has_worked(deployment: Deployment, name: str, since_instance: int) -> bool:
    if name == GATEWAY:
        later = deployment.gateway.instances[since_instance:]
        return any(gateway.logged(each.program.log, "snapshot") for each in later)
    return any(call.ok and call.instance > since_instance for call in deployment.calls.of(name))
