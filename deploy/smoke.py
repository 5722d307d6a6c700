"""Is what was deployed alive? Nobody outside may call a function, so nobody does.

Scheduler calls them, a probe frame is pushed, and each says in the log what came of it.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from deploy.board import Board
from deploy.cloud import Cloud
from deploy.entries import LOOK_BACK, parse, reading
from deploy.health import Running, Verdict, function_running, gateway_running, judge
from deploy.names import GATEWAY, TOPIC, Target
from deploy.permissions import resources
from deploy.plan import Step, run_schedules
from deploy.probe import probe
from deploy.programs import Ran, run
from deploy.provisioned import LOOKS

PATIENCE_SECONDS = 600.0  # a first call installs nothing but starts cold, and stages have minutes
BETWEEN_SECONDS = 5.0  # two looks into the log: it may be read 60 times a minute


@dataclass(frozen=True, slots=True)
class Expected:
    """Who is looked at, and what they should run; None where any commit will do."""

    functions: tuple[str, ...]
    commits: Mapping[str, str]  # by function or gateway
    image: str | None = None


class Smoke:
    """One test of all functions and the gateway."""

    def __init__(
        self,
        target: Target,
        cloud: Cloud,
        board: Board,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._target = target
        self._cloud = cloud
        self._board = board
        self._patience_seconds = patience_seconds
        self._verdicts: list[Verdict] = []
        self._began = time.monotonic()

    async def run(self, expected: Expected) -> list[Verdict]:
        """Have everything called, wait for what it says, and judge."""
        self._began = time.monotonic()
        since, running = await asyncio.gather(self._now(expected), self._running(expected))
        epoch, troubles = await self._call(expected)
        running = [_with(each, troubles.get(each.name)) for each in running]
        async with self._board.showing(self._state):
            await self._wait(expected, running, since, epoch)
        for verdict in self._verdicts:
            if not verdict.settled:
                verdict.add(verdict.doubt or self._silence(verdict.name, verdict.refusal))
        return self._verdicts

    async def _now(self, expected: Expected) -> datetime:
        """Return when it began, by the cloud's clock."""
        return await self._cloud.now(resources(self._target, expected.functions)[0])

    async def _running(self, expected: Expected) -> list[Running]:
        """Look at what is there."""
        looks = [look for look in LOOKS if look.name in ("the functions", "the gateway")]
        functions, gateway = await asyncio.gather(
            *(run(look.arguments(self._target)) for look in looks)
        )
        shown = {each["name"].rpartition("/")[2]: each for each in functions.must().json()}
        return [
            *(
                function_running(shown.get(name), name, expected.commits.get(name))
                for name in expected.functions
            ),
            gateway_running(_shown(gateway), expected.image),
        ]

    async def _call(self, expected: Expected) -> tuple[str, Mapping[str, str]]:
        """Have every function called; return the probe's epoch, and who could not be called."""
        epoch, message = probe(time.time_ns())
        self._board.say(f"publishing one frame without rows to {TOPIC}: epoch {epoch}")
        steps = run_schedules(self._target, expected.functions)
        for step in steps:
            self._board.command(step.arguments)
        _, ran = await asyncio.gather(
            self._cloud.publish(self._target.project, TOPIC, message),
            asyncio.gather(*(run(step.arguments) for step in steps)),
        )
        return epoch, _not_called(steps, ran)

    async def _wait(
        self, expected: Expected, running: Sequence[Running], since: datetime, epoch: str
    ) -> None:
        """Read the log until everybody has said something, or patience ends."""
        arguments = reading(self._target, expected.functions, since)
        self._board.command(arguments)
        kept_since = since - LOOK_BACK
        self._verdicts = judge(running, (), epoch, kept_since)
        while True:
            ran = await run(arguments)
            if not ran.code:
                self._verdicts = judge(running, map(parse, ran.json()), epoch, kept_since)
            if all(verdict.settled for verdict in self._verdicts):
                return
            if self._left <= 0:
                ran.must()
                return
            await asyncio.sleep(min(BETWEEN_SECONDS, self._left))

    @property
    def _left(self) -> float:
        return self._began + self._patience_seconds - time.monotonic()

    def _state(self) -> str:
        waiting = [verdict.name for verdict in self._verdicts if not verdict.settled]
        seconds = time.monotonic() - self._began
        whom = ", ".join(waiting) or "the log"
        return f"waiting for {whom}: {seconds:.0f} of at most {self._patience_seconds:.0f} s"

    def _silence(self, name: str, refusal: str) -> str:
        waited = f"within {self._patience_seconds:.0f} s"
        if name == GATEWAY:
            return f"nothing says that it came up; look: {self._logs(name)}"
        busy = f", and a call {refusal}" if refusal else ""
        return f"said nothing {waited} of being called{busy}; look: {self._logs(name)}"

    def _logs(self, name: str) -> str:
        """Return the command that shows what somebody has logged."""
        chosen = f"resource.type=cloud_run_revision AND resource.labels.service_name={name}"
        return f"gcloud logging read '{chosen}' --project={self._target.project} --limit=50"


def _shown(ran: Ran) -> Mapping[str, Any] | None:
    if ran.code:
        return None
    found: Mapping[str, Any] = ran.json()
    return found


def _not_called(steps: Sequence[Step], ran: Sequence[Ran]) -> Mapping[str, str]:
    return {
        step.name: f"its schedule could not be run: {each.complaint}"
        for step, each in zip(steps, ran, strict=True)
        if each.code
    }


def _with(running: Running, trouble: str | None) -> Running:
    if trouble is None:
        return running
    return replace(running, troubles=(*running.troubles, trouble))
