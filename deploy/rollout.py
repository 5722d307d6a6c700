"""Carry out a plan: steps in, each run once or left out, and at any moment who is how far."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from deploy.board import Board
from deploy.errors import CommandError
from deploy.plan import Step
from deploy.programs import Ran, run

AT_ONCE = 8  # each is a Python program of 200 MB that mostly waits


class State(Enum):
    """How far a step is."""

    WAITING = "not started"
    RUNNING = "under way"
    DONE = "done"
    FAILED = "FAILED"
    LEFT_OUT = "left out"
    INTERRUPTED = "interrupted"


@dataclass
class Progress:
    """One step."""

    state: State = State.WAITING
    began: float = 0.0
    seconds: float = 0.0
    reason: str = ""


class Rollout:
    """A plan that is being carried out. One step that fails ends no other."""

    def __init__(self, steps: Iterable[Step], folder: Path, board: Board) -> None:
        self._steps = tuple(steps)
        self._folder = folder
        self._board = board
        self.progress = {step.name: Progress() for step in self._steps}
        self._ended = {step.name: asyncio.Event() for step in self._steps}
        self._places = asyncio.Semaphore(AT_ONCE)

    @property
    def succeeded(self) -> bool:
        """Whether all steps were done."""
        return all(each.state is State.DONE for each in self.progress.values())

    async def run(self) -> None:
        """Run the steps, several at once."""
        async with self._board.showing(self._at_work), asyncio.TaskGroup() as group:
            for step in self._steps:
                group.create_task(self._take(step))

    def names(self, *states: State) -> list[str]:
        """Name the steps that are so far."""
        return [name for name, each in self.progress.items() if each.state in states]

    def summary(self) -> list[str]:
        """Say of every step what became of it."""
        return [
            f"  {name:<10} {each.state.value}"
            + (f" after {each.seconds:.0f} s" if each.seconds else "")
            + (f": {each.reason}" if each.reason else "")
            for name, each in self.progress.items()
        ]

    async def _take(self, step: Step) -> None:
        for name in step.after:
            await self._ended[name].wait()
        missed = [name for name in step.after if self.progress[name].state is not State.DONE]
        try:
            if missed:
                self.progress[step.name].state = State.LEFT_OUT
                self.progress[step.name].reason = f"it comes after {', '.join(missed)}"
                return
            async with self._places:
                await self._run(step)
        finally:
            self._ended[step.name].set()

    async def _run(self, step: Step) -> None:
        mine = self.progress[step.name]
        mine.state, mine.began = State.RUNNING, time.monotonic()
        self._board.command(step.arguments)
        try:
            ran = await run(step.arguments, self._folder)
        except asyncio.CancelledError:
            mine.state = State.INTERRUPTED
            mine.reason = "what it had begun may still be going on in the cloud"
            raise
        except CommandError as error:
            mine.state, mine.reason = State.FAILED, str(error)
        else:
            mine.state = State.FAILED if ran.code else State.DONE
            mine.reason = ran.complaint if ran.code else ""
            self._tell(step, ran)
        finally:
            mine.seconds = time.monotonic() - mine.began
        self._board.say(f"{step.name}: {mine.state.value} after {mine.seconds:.0f} s")

    def _tell(self, step: Step, ran: Ran) -> None:
        """Show what a step said that failed, in one piece: others say something meanwhile."""
        if ran.code:
            said = f"{ran.output}\n{ran.messages}".strip()
            lines = [f"  {step.name} | {line}" for line in said.splitlines()]
            self._board.say("\n".join(lines))

    def _at_work(self) -> str:
        now = time.monotonic()
        running = [
            f"{name} {now - self.progress[name].began:.0f} s" for name in self.names(State.RUNNING)
        ]
        done = len(self.names(State.DONE))
        return f"{done} of {len(self.progress)} done; at work: {', '.join(running) or 'nobody'}"
