"""What Terraform must have made before a deploy: what gcloud shows in, what is missing out.

Deploying never makes any of it. gcloud would, with settings that nobody chose.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deploy.names import GATEWAY, REPOSITORY, Target, job, scheduled
from deploy.programs import Ran

_ABSENT = re.compile(r"NOT_FOUND|[Nn]ot found|Cannot find|does not exist|HTTPError 404")

Missing = tuple[str, tuple[str, ...]]  # what, and the commands that cure it
Shown = Sequence[Mapping[str, Any]]  # what gcloud shows, one thing a record
Judge = Callable[[Shown, Target, tuple[str, ...]], Iterator[Missing]]


@dataclass(frozen=True, slots=True)
class Look:
    """One question to gcloud, what it takes to ask it, and what the answer means."""

    name: str
    api: str
    permission: str
    ask: Callable[[Target], Sequence[str]]
    judge: Judge

    def arguments(self, target: Target) -> tuple[str, ...]:
        """Return the command."""
        return ("gcloud", *self.ask(target), f"--project={target.project}", "--format=json")

    def is_absence(self, ran: Ran) -> bool:
        """Say whether a refusal means that there is no such thing."""
        return bool(_ABSENT.search(ran.messages))


def apply_terraform(target: Target) -> str:
    """Return the command that makes what is missing."""
    variables = f"-var project_id={target.project} -var region={target.region}"
    return f"terraform -chdir=terraform apply {variables}"


def _regions(seen: Shown, target: Target, _: tuple[str, ...]) -> Iterator[Missing]:
    known = sorted(str(each.get("locationId", each["name"].rpartition("/")[2])) for each in seen)
    if target.region not in known:
        cure = "gcloud functions regions list --gen2"
        yield (
            f"there is no region {target.region} for functions; there are {', '.join(known)}",
            (f"{cure} --project={target.project}",),
        )


def _functions(seen: Shown, target: Target, names: tuple[str, ...]) -> Iterator[Missing]:
    found: Mapping[str, Any] = {each["name"].rpartition("/")[2]: each for each in seen}
    yield from _absent("functions", names, found, target)
    for name, each in found.items():
        if name in names and each.get("state") == "DEPLOYING":
            show = f"gcloud functions describe {name} --gen2 --region={target.region}"
            yield (
                f"somebody is deploying {name} at this moment; wait until it is ACTIVE",
                (f"{show} --project={target.project}",),
            )


def elsewhere(seen: Shown, target: Target, names: tuple[str, ...]) -> list[str]:
    """Return the regions that have our functions if the one that was named has none of them."""
    places = [each["name"].split("/") for each in seen]  # projects/P/locations/R/functions/N
    regions = {place[3] for place in places if place[5] in names}
    return [] if target.region in regions else sorted(regions)


def _schedules(seen: Shown, target: Target, names: tuple[str, ...]) -> Iterator[Missing]:
    found = [each["name"].rpartition("/")[2] for each in seen]
    yield from _absent("schedules", [job(name) for name in scheduled(names)], found, target)


def _gateway(seen: Shown, target: Target, _: tuple[str, ...]) -> Iterator[Missing]:
    yield from _absent("services", [GATEWAY], [GATEWAY] if seen else [], target)


def _repository(seen: Shown, target: Target, _: tuple[str, ...]) -> Iterator[Missing]:
    yield from _absent("repositories", [REPOSITORY], [REPOSITORY] if seen else [], target)


def _absent(
    kind: str, wanted: Sequence[str], found: "Sequence[str] | Mapping[str, Any]", target: Target
) -> Iterator[Missing]:
    missing = [name for name in wanted if name not in found]
    if missing:
        yield (
            f"these {kind} are not there: {', '.join(missing)}; Terraform makes them",
            (apply_terraform(target),),
        )


REGIONS = Look(
    "the region",
    "cloudfunctions.googleapis.com",
    "cloudfunctions.locations.list",
    lambda _: ("functions", "regions", "list", "--gen2"),
    _regions,
)

# Without a region gcloud lists those of all.
ANYWHERE = ("functions", "list", "--v2", "--format=json")

LOOKS = (
    Look(
        "the functions",
        "cloudfunctions.googleapis.com",
        "cloudfunctions.functions.list",
        lambda target: ("functions", "list", "--v2", f"--regions={target.region}"),
        _functions,
    ),
    Look(
        "the schedules",
        "cloudscheduler.googleapis.com",
        "cloudscheduler.jobs.list",
        lambda target: ("scheduler", "jobs", "list", f"--location={target.region}"),
        _schedules,
    ),
    Look(
        "the gateway",
        "run.googleapis.com",
        "run.services.get",
        lambda target: ("run", "services", "describe", GATEWAY, f"--region={target.region}"),
        _gateway,
    ),
    Look(
        "the repository of images",
        "artifactregistry.googleapis.com",
        "artifactregistry.repositories.get",
        lambda target: (
            "artifacts", "repositories", "describe", REPOSITORY, f"--location={target.region}",
        ),
        _repository,
    ),
)  # fmt: skip
