"""Look before anything is touched: whatever would stop a deploy, all at once, each with its cure.

Reads only. What cannot be looked at before something else is cured is named, not guessed.
"""

import asyncio
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deploy.cloud import Cloud, signed_in
from deploy.errors import CloudError, CommandError
from deploy.names import Target
from deploy.permissions import APIS, Resource, resources
from deploy.programs import Ran, run
from deploy.provisioned import ANYWHERE, LOOKS, REGIONS, Look, apply_terraform, elsewhere

# All lines are checked against this one.
OLDEST_GCLOUD = 528
_PROJECT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")
_REGION = re.compile(r"[a-z]+-[a-z]+[0-9]{1,2}")
_COMMIT = re.compile(r"[0-9a-f]{40}(-dirty-[0-9]{14})?")


@dataclass(frozen=True, slots=True)
class Problem:
    """What would stop a deploy, and the commands that cure it."""

    what: str
    cures: tuple[str, ...]


@dataclass
class Findings:
    """What a look has shown."""

    problems: list[Problem] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)  # what could not be looked at yet

    def add(self, what: str, *cures: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(what, cures))

    def told(self) -> list[str]:
        """Return all of it in words, each cure once."""
        lines = []
        for number, (cures, whats) in enumerate(self._by_cures().items(), 1):
            lines.append(f"{number}. {whats[0]}")
            lines += [f"   {what}" for what in whats[1:]]
            lines += [f"     {cure}" for cure in cures]
        if self.unseen:
            lines.append(f"Not looked at before that is cured: {', '.join(self.unseen)}.")
        return lines

    def _by_cures(self) -> Mapping[tuple[str, ...], list[str]]:
        found: dict[tuple[str, ...], list[str]] = {}
        for problem in self.problems:
            found.setdefault(problem.cures, []).append(problem.what)
        return found


async def preflight(target: Target, functions: tuple[str, ...], found: Findings) -> None:
    """Look at everything that can be looked at, and add what is wrong to what has been found."""
    misspelt = check_variables(target, found)
    if not await _check_tools(found):
        found.unseen += ["the account", "the project", "what is in it"]
        return
    cloud = await _check_account(found)
    if cloud is None:
        found.unseen += ["the project", "what is in it"]
        return
    if misspelt or not await _check_project(target, found):
        found.unseen.append("what is in the project")
        return
    await _check_contents(target, functions, cloud, found)


def check_variables(target: Target, found: Findings) -> bool:
    """Find what is misspelt without asking anybody; say whether anything is."""
    before = len(found.problems)
    if not _PROJECT.fullmatch(target.project):
        found.add(
            f"PROJECT={target.project!r} is no project id: 6 to 30 small letters, digits and"
            " hyphens, like my-project-123 (not the project's name, not its number)",
            "gcloud projects list",
        )
    if not _REGION.fullmatch(target.region):
        found.add(
            f"REGION={target.region!r} is no region: they are spelt like europe-west1",
            "gcloud functions regions list --gen2",
        )
    if target.commit and not _COMMIT.fullmatch(target.commit):
        found.add(
            f"commit {target.commit!r} is not 40 hexadecimal digits: give it as git prints it",
            "git rev-parse HEAD",
        )
    return len(found.problems) > before


async def _check_tools(found: Findings) -> bool:
    """Return whether gcloud can be asked."""
    if shutil.which("gcloud") is None:
        found.add(
            "gcloud is not on the PATH",
            "curl https://sdk.cloud.google.com | bash",
        )
        return False
    versions: Mapping[str, str] = (await run(["gcloud", "version", "--format=json"])).must().json()
    version = versions.get("Google Cloud SDK", "")
    if _number(version) < OLDEST_GCLOUD:
        found.add(
            f"gcloud is {version or 'of unknown version'}; deploying needs {OLDEST_GCLOUD}",
            "gcloud components update",
            "sudo apt-get install --only-upgrade google-cloud-cli",
        )
    return True


def _number(version: str) -> int:
    first = version.partition(".")[0]
    return int(first) if first.isdecimal() else 0


async def _check_account(found: Findings) -> Cloud | None:
    """Return what asks in the name of gcloud's account; None if there is none that works."""
    try:
        return await signed_in()
    except CommandError as error:
        found.add(f"gcloud has no account that works: {error}", "gcloud auth login")
        return None


async def _check_project(target: Target, found: Findings) -> bool:
    ran = await run(["gcloud", "projects", "describe", target.project, "--format=json"])
    if ran.code:
        found.add(
            f"the project {target.project} does not exist, or your account may not see it:"
            f" {ran.complaint}",
            "gcloud projects list",
            "gcloud auth login",
        )
        return False
    state = ran.json().get("lifecycleState")
    if state != "ACTIVE":
        found.add(
            f"the project {target.project} is {state}: nothing can be deployed into it",
            f"gcloud projects undelete {target.project}",
        )
    return bool(state == "ACTIVE")


async def _check_contents(
    target: Target, functions: tuple[str, ...], cloud: Cloud, found: Findings
) -> None:
    """Look at APIs, region and permissions; then at what may be looked at."""
    regions = await _elsewhere(target, functions)
    if regions:
        here = f"REGION={target.region}"
        found.add(
            f"{here}: the functions of {target.project} are in {', '.join(regions)}",
            *(f"make deploy PROJECT={target.project} REGION={each}" for each in regions),
        )
        found.unseen.append(f"what is in {target.region}")
        return
    member, apis, lacking = await asyncio.gather(
        _member(), _disabled(target, found), _lacking(target, functions, cloud, found)
    )
    if apis:
        found.add(
            f"these APIs are not enabled in {target.project}: {', '.join(apis)}",
            apply_terraform(target),
            f"gcloud services enable {' '.join(apis)} --project={target.project}",
        )
    for resource, permissions in lacking:
        found.add(
            f"your account lacks on the {resource.kind} {resource.name}: {', '.join(permissions)}",
            " ".join(resource.granted_to(member)),
        )
    refused = {name for resource, names in lacking if resource.kind == "project" for name in names}
    looks = [
        look
        for look in (REGIONS, *LOOKS)
        if look.api not in apis and look.permission not in refused
    ]
    before = len(found.problems)
    if REGIONS in looks:
        await _look(REGIONS, target, functions, found)
    if len(found.problems) > before:  # nothing else can be there either
        looks = [REGIONS]
    found.unseen += [look.name for look in (REGIONS, *LOOKS) if look not in looks]
    wanted = [look for look in looks if look is not REGIONS]
    await asyncio.gather(*(_look(look, target, functions, found) for look in wanted))


async def _elsewhere(target: Target, functions: tuple[str, ...]) -> list[str]:
    """Return where else the functions are; nothing where nobody may ask, which is told later."""
    ran = await run(["gcloud", *ANYWHERE, f"--project={target.project}"])
    return [] if ran.code else elsewhere(ran.json(), target, functions)


async def _member() -> str:
    """Return who is asking, as bindings spell it."""
    ran = await run(["gcloud", "auth", "list", "--filter=status:ACTIVE", "--format=value(account)"])
    account = ran.output.strip() or "YOUR_ACCOUNT"
    kind = "serviceAccount" if account.endswith(".gserviceaccount.com") else "user"
    return f"{kind}:{account}"


async def _disabled(target: Target, found: Findings) -> list[str]:
    """Return the APIs that are missing."""
    ran = await run(
        [
            "gcloud", "services", "list", "--enabled",
            f"--project={target.project}",
            "--format=value(config.name)",
        ]
    )  # fmt: skip
    if ran.code:
        _cannot_see("the APIs", ran, found)
        return []
    enabled = set(ran.output.split())
    return [api for api in APIS if api not in enabled]


async def _lacking(
    target: Target, functions: tuple[str, ...], cloud: Cloud, found: Findings
) -> list[tuple[Resource, Sequence[str]]]:
    """Return what is missing, by what it is missing on; note what is not there at all."""

    async def ask(resource: Resource) -> tuple[Resource, Collection[str] | None]:
        try:
            return resource, await cloud.allowed(resource)
        except CloudError as error:
            what = f"permissions on {resource.name} cannot be asked for: {error}"
            found.add(what, "gcloud auth login")
            return resource, resource.permissions

    answers = await asyncio.gather(*map(ask, resources(target, functions)))
    absent = [resource for resource, allowed in answers if allowed is None]
    if absent:  # of a topic that is not there, too, Pub/Sub says that one may do nothing with it
        absent += [each for each, allowed in answers if each.kind == "topic" and not allowed]
    for resource in absent:
        what = f"the {resource.kind} {resource.name} is not there; Terraform makes it"
        found.add(what, apply_terraform(target))
    lacking = [
        (resource, [each for each in resource.permissions if each not in (allowed or ())])
        for resource, allowed in answers
        if resource not in absent
    ]
    return [(resource, missing) for resource, missing in lacking if missing]


async def _look(look: Look, target: Target, functions: tuple[str, ...], found: Findings) -> None:
    """Look at something that Terraform makes."""
    ran = await run(look.arguments(target))
    if ran.code and not look.is_absence(ran):
        _cannot_see(look.name, ran, found)
        return
    shown: Any = [] if ran.code else ran.json()
    for what, cures in look.judge(shown if isinstance(shown, list) else [shown], target, functions):
        found.add(what, *cures)


def _cannot_see(what: str, ran: Ran, found: Findings) -> None:
    found.add(f"{what} cannot be looked at: {ran.complaint}", ran.line)
