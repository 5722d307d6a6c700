"""One deployment from the first look to the last verdict: options in, an exit code out."""

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from deploy.board import Board
from deploy.cloud import signed_in
from deploy.errors import DeployError, SourceError
from deploy.health import Verdict
from deploy.names import GATEWAY, ROOT, Target, functions
from deploy.plan import Step, only, plan, run_schedules
from deploy.preflight import Findings, check_variables, preflight
from deploy.rollout import Rollout, State
from deploy.smoke import Expected, Smoke
from deploy.source import Source, check_syntax, choose, shipped

WELL, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130


@dataclass
class Deployment:
    """One call of the command."""

    options: argparse.Namespace
    board: Board
    root: Path = ROOT
    rollout: Rollout | None = None
    smoking: bool = False

    @property
    def functions(self) -> tuple[str, ...]:
        """What there is to deploy."""
        return functions(self.root / "functions")

    @property
    def _has_begun(self) -> bool:
        """Whether anything but looking has been done."""
        return self.rollout is not None or self.smoking

    async def run(self) -> int:
        """Do what was asked; return how it ended."""
        try:
            return await self._run()
        except asyncio.CancelledError:
            self._tell_interrupted()
            return INTERRUPTED
        except DeployError as error:
            self.board.say(f"stopped: {error}")
            if not self._has_begun:
                self.board.say("Nothing was changed.")
                return REFUSED
            self._tell_state()
            self._tell_untested()
            return FAILED

    async def _run(self) -> int:
        options = self.options
        found = Findings()
        source = None if self._as_deployed else await self._source(found)
        # What git has refused already is not looked at a second time.
        asked = (options.commit or "") if self._as_deployed else ""
        label = source.label if source else asked
        target = Target(options.project, options.region, label)
        if options.commit == "":
            found.add("commit '' is empty: leave it out, or name one", "git rev-parse HEAD")
        if options.dry_run:
            check_variables(target, found)
            steps = self._steps(target, found)
            return self._refuse(found) if found.problems else self._show(target, steps)
        steps = self._steps(target, found)
        self.board.say(f"preflight: {options.project} in {options.region}")
        await preflight(target, self.functions, found)
        if found.problems:
            return self._refuse(found)
        self.board.say("preflight: nothing stands in the way")
        if options.preflight_only:
            return WELL
        if source is not None and not await self._deploy(source, steps):
            return FAILED
        if options.no_smoke:
            return WELL
        return await self._smoke(target, _expected(target, self.functions, steps))

    @property
    def _as_deployed(self) -> bool:
        """Whether git need not be asked: nothing ships, or what ships is here already."""
        looks = self.options.smoke_only or self.options.preflight_only
        return bool(looks and (self.options.commit is not None or self.options.smoke_only))

    async def _source(self, found: Findings) -> Source | None:
        options = self.options
        dirty = options.allow_dirty or (options.dry_run and options.commit is None)
        try:
            now = datetime.now(UTC)
            return await choose(options.commit, allow_dirty=dirty, now=now, root=self.root)
        except DeployError as error:
            cures = error.cures if isinstance(error, SourceError) else ()
            found.add(str(error), *cures)
        return None

    def _steps(self, target: Target, found: Findings) -> tuple[Step, ...]:
        """Return what was asked for, else everything."""
        steps = plan(target, self.functions)
        wanted = [name.strip() for name in self.options.only.split(",") if name.strip()]
        try:
            return only(steps, wanted) if wanted else steps
        except DeployError as error:
            found.add(str(error), self._command("--dry-run"))
            return ()

    def _refuse(self, found: Findings) -> int:
        self.board.say("\nTo be put right before anything is deployed:\n")
        for line in found.told():
            self.board.say(line)
        self.board.say("\nNothing was changed.")
        return REFUSED

    def _show(self, target: Target, steps: Sequence[Step]) -> int:
        """Show all lines, in the order in which they could be run one by one."""
        self.board.say(f"# from a checkout of {target.commit}; this run changes nothing")
        for step in steps:
            self.board.command(step.arguments)
        if not self.options.no_smoke:
            self.board.say("# then the smoke test: one frame without rows to the topic features,")
            self.board.say("# every schedule once, and what all of them say of it in the log")
            for step in run_schedules(target, self.functions):
                self.board.command(step.arguments)
        return WELL

    async def _deploy(self, source: Source, steps: Sequence[Step]) -> bool:
        what = "the working tree" if source.dirty else f"commit {source.commit}"
        self.board.say(f"deploying {what}: {', '.join(step.name for step in steps)}")
        async with shipped(source) as folder:
            self.board.say(f"sources: {folder}")
            check_syntax(folder)
            self._check_doors(folder, steps)
            self.rollout = Rollout(steps, folder, self.board)
            await self.rollout.run()
        self._tell_state()
        if not self.rollout.succeeded:
            self.board.say(f"What is not deployed runs on as it was. Then: {self._again()}")
        return self.rollout.succeeded

    def _check_doors(self, folder: Path, steps: Sequence[Step]) -> None:
        """Refuse an older commit for a function that it does not know yet."""
        doors = functions(folder / "functions")
        unknown = [s.name for s in steps if s.name in self.functions and s.name not in doors]
        if unknown:
            rest = [step.name for step in steps if step.name not in unknown]
            again = self._command(f"--commit={self.options.commit}", f"--only={','.join(rest)}")
            cure = f"leave it out: {again}" if rest else "choose a newer one"
            raise SourceError(f"that commit has no function {', '.join(unknown)} yet; {cure}")

    async def _smoke(self, target: Target, expected: Expected) -> int:
        self.smoking = True
        self.board.say("smoke test: is everything alive?")
        cloud, patience = await signed_in(), self.options.smoke_seconds
        smoke = Smoke(target, cloud, self.board, patience_seconds=patience)
        verdicts = await smoke.run(expected)
        ill = [verdict for verdict in verdicts if verdict.troubles]
        for verdict in verdicts:
            self.board.say(f"  {verdict.name:<10} {'NOT HEALTHY' if verdict in ill else 'healthy'}")
            for trouble in verdict.troubles:
                self.board.say(f"    {trouble}")
        if ill:
            self._tell_ill(ill)
        return FAILED if ill else WELL

    def _tell_ill(self, ill: Sequence[Verdict]) -> None:
        names = ",".join(verdict.name for verdict in ill)
        self.board.say(
            f"{len(ill)} NOT HEALTHY: {names}. To go back to an older commit:"
            f" {self._command('--commit=COMMIT', f'--only={names}')}"
        )

    def _tell_interrupted(self) -> None:
        self.board.say("interrupted")
        if not self._has_begun:
            self.board.say("Nothing was changed.")
            return
        self._tell_state()
        self._tell_untested()
        if not self.smoking:
            self.board.say(f"To bring the rest up to date: {self._again()}")

    def _tell_untested(self) -> None:
        if self.smoking:
            self.board.say(f"The smoke test has not ended; again: {self._command('--smoke-only')}")

    def _tell_state(self) -> None:
        for line in self.rollout.summary() if self.rollout else ():
            self.board.say(line)

    def _again(self) -> str:
        """Return the command that deploys what is not deployed."""
        options = self.options
        names = self.rollout.names(*(set(State) - {State.DONE})) if self.rollout else []
        left = [name for name in names if name in (*self.functions, GATEWAY)] or [GATEWAY]
        dirty = ["--allow-dirty"] if options.allow_dirty else []
        commit = [f"--commit={options.commit}"] if options.commit else []
        return self._command(*commit, *dirty, f"--only={','.join(left)}")

    def _command(self, *options: str) -> str:
        where = f"PROJECT={self.options.project} REGION={self.options.region}"
        return f'make deploy {where} ARGS="{" ".join(options)}"'


def _expected(target: Target, names: tuple[str, ...], steps: Sequence[Step]) -> Expected:
    """Say what should run now: what was deployed; of anything else, only that it is healthy."""
    deployed = [step.name for step in steps] if target.commit else []
    image = target.image if GATEWAY in deployed else None
    return Expected(names, dict.fromkeys(deployed, target.commit), image)
