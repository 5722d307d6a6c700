"""A strict gcloud for tests: what the real one refuses it refuses, and every call is noted.

It knows the commands that a deploy uses, each with its flags; any other line ends with 2. That the
lines it knows are ones the real gcloud takes is checked by test_lines.py.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

from deploy.names import functions, job, scheduled
from deploy.permissions import APIS
from tests.deploy.log_query import matches

PROJECT, REGION = "my-project-123", "us-east4"
ALL = functions()

Flags = Mapping[str, str]
Words = Sequence[str]


@dataclass
class World:
    """What there is in the cloud, what goes wrong in it, and what was done to it."""

    version: dict[str, str] = field(
        default_factory=lambda: {"Google Cloud SDK": "528.0.0", "core": "2025.06.20"}
    )
    account: str | None = "somebody@example.com"
    lifecycle: str = "ACTIVE"
    regions: tuple[str, ...] = (REGION, "europe-west1")
    apis: list[str] = field(default_factory=lambda: list(APIS))
    functions: dict[str, dict[str, Any]] = field(default_factory=lambda: {name: {} for name in ALL})
    jobs: list[str] = field(default_factory=lambda: [job(name) for name in scheduled(ALL)])
    gateway: dict[str, Any] | None = field(default_factory=dict)
    repositories: tuple[str, ...] = ("quotewatch",)

    failing: dict[str, str] = field(default_factory=dict)  # beginning of a line -> the reason
    hanging: str = ""  # beginning of a line that never ends
    unread: int = 0  # how often the log cannot be read
    silent: tuple[str, ...] = ()  # who reports nothing
    failed: tuple[str, ...] = ()  # who reports a failure
    entries: list[dict[str, Any]] = field(default_factory=list)  # of the log

    deployed: dict[str, str] = field(default_factory=dict)  # function -> commit, gateway -> image
    called: dict[str, str] = field(default_factory=dict)  # function -> when
    published: dict[str, dict[str, Any]] = field(default_factory=dict)  # topic -> message

    @property
    def token(self) -> str:
        """What opens the APIs at this moment: deploying takes longer than a token may last."""
        return f"token-{len(self.deployed)}"


@dataclass(frozen=True)
class Call:
    """One line that gcloud was given."""

    words: tuple[str, ...]
    line: tuple[str, ...]
    changes: bool
    folder: Path
    pid: int


class RefusedError(Exception):
    """The call ends with this code and a reason."""

    def __init__(self, reason: str, code: int = 1) -> None:
        super().__init__(reason)
        self.code = code


class HungError(Exception):
    """The call never ends."""


def refuse(reason: str, code: int = 1) -> NoReturn:
    raise RefusedError(reason, code)


class Gcloud:
    """The program, without a process."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.calls: list[Call] = []
        self._folder = Path()

    def call(self, arguments: Words, folder: Path, pid: int) -> str:
        """Do what a line says; return what it prints."""
        words = tuple(each for each in arguments if not each.startswith("--"))
        flags = dict(each[2:].partition("=")[::2] for each in arguments if each.startswith("--"))
        known = [each for each in COMMANDS if words[: len(each[0])] == each[0]]
        if not known:
            refuse(f"Invalid choice: {' '.join(words)!r}", 2)
        path, positional, allowed, run, changes = known[0]
        self.calls.append(Call(words, ("gcloud", *arguments), changes, folder, pid))
        if len(words) != len(path) + positional:
            refuse(f"unrecognized arguments or some missing: {words[len(path) :]}", 2)
        _check(flags, allowed)
        self._stumble(" ".join(words))
        return run(Asked(self.world, words[len(path) :], flags, folder))

    def _stumble(self, line: str) -> None:
        if self.world.hanging and line.startswith(self.world.hanging):
            raise HungError
        for beginning, reason in self.world.failing.items():
            if line.startswith(beginning):
                refuse(reason)


def _check(flags: Flags, allowed: Mapping[str, str]) -> None:
    """Refuse unknown flags, missing ones (those that do not begin with ?) and malformed values."""
    expected = {name.removeprefix("?"): pattern for name, pattern in allowed.items()}
    unknown = sorted(flags.keys() - expected.keys())
    missing = sorted(name for name in allowed if name[0] != "?" and name not in flags)
    if unknown or missing:
        refuse(f"unrecognized arguments: {unknown}; missing: {missing}", 2)
    for name, value in flags.items():
        if not re.fullmatch(expected[name], value):
            refuse(f"argument --{name}: Invalid value: {value!r}", 2)


@dataclass(frozen=True)
class Asked:
    """A line that was understood, on its way to be done."""

    world: World
    words: Words
    flags: Flags
    folder: Path

    def need_login(self) -> None:
        if self.world.account is None:
            refuse("You do not currently have an active account selected.")

    def need_project(self, project: str) -> None:
        self.need_login()
        if project != PROJECT:
            refuse(f"does not have permission to access projects instance [{project}]")

    def need_api(self, name: str) -> None:
        self.need_project(self.flags["project"])
        if f"{name}.googleapis.com" not in self.world.apis:
            refuse(f"{name}.googleapis.com has not been used in project before or it is disabled.")


def version(asked: Asked) -> str:
    return json.dumps(asked.world.version)


def token(asked: Asked) -> str:
    asked.need_login()
    return asked.world.token + "\n"


def account(asked: Asked) -> str:
    return (asked.world.account or "") + "\n"


def project(asked: Asked) -> str:
    asked.need_project(asked.words[0])
    return json.dumps({"projectId": PROJECT, "lifecycleState": asked.world.lifecycle})


def apis(asked: Asked) -> str:
    asked.need_project(asked.flags["project"])
    return "\n".join(asked.world.apis) + "\n"


def regions(asked: Asked) -> str:
    asked.need_api("cloudfunctions")
    place = f"projects/{PROJECT}/locations"
    found = [{"locationId": each, "name": f"{place}/{each}"} for each in asked.world.regions]
    return json.dumps(found)


def list_functions(asked: Asked) -> str:
    asked.need_api("cloudfunctions")
    there = asked.world.functions if asked.flags.get("regions", REGION) == REGION else {}
    return json.dumps([_function(name, asked.world) for name in there])


def _function(name: str, world: World) -> dict[str, Any]:
    """Return a function as the real one shows it, after what was deployed since."""
    return {
        "environment": "GEN_2",
        "name": f"projects/{PROJECT}/locations/{REGION}/functions/{name}",
        "state": "ACTIVE",
        "labels": {"commit": world.deployed.get(name, "before")},
        "serviceConfig": {"revision": _revision(name, world), "service": name},
    } | world.functions[name]


def _revision(name: str, world: World) -> str:
    return f"{name}-00002-new" if name in world.deployed else f"{name}-00001-old"


def deploy_function(asked: Asked) -> str:
    asked.need_api("cloudfunctions")
    source = asked.flags["set-build-env-vars"].removeprefix("GOOGLE_FUNCTION_SOURCE=")
    for needed in ("main.py", "requirements.txt", source):
        if not (asked.folder / needed).is_file():
            refuse(f"Provided source directory does not have file [{needed}]")
    commit = asked.flags["update-labels"].removeprefix("commit=")
    asked.world.deployed[asked.words[0]] = commit
    return ""


def list_jobs(asked: Asked) -> str:
    asked.need_api("cloudscheduler")
    place = f"projects/{PROJECT}/locations/{REGION}/jobs"
    return json.dumps([{"name": f"{place}/{each}"} for each in asked.world.jobs])


def run_job(asked: Asked) -> str:
    asked.need_api("cloudscheduler")
    if asked.words[0] not in asked.world.jobs:
        refuse(f"NOT_FOUND: Job not found: {asked.words[0]}")
    asked.world.called[asked.words[0].removeprefix("quotewatch-")] = now()
    return ""


def describe_service(asked: Asked) -> str:
    asked.need_api("run")
    if asked.world.gateway is None:
        refuse(f"Cannot find service [{asked.words[0]}]")
    image = asked.world.deployed.get("gateway", "placeholder")
    latest = _revision("gateway", asked.world)
    shown = {
        "kind": "Service",
        "spec": {"template": {"spec": {"containers": [{"image": image}]}}},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "latestCreatedRevisionName": latest,
            "latestReadyRevisionName": latest,
        },
    }
    return json.dumps(shown | asked.world.gateway)


def update_service(asked: Asked) -> str:
    asked.need_api("run")
    asked.world.deployed["gateway"] = asked.flags["image"]
    return ""


def build(asked: Asked) -> str:
    asked.need_api("cloudbuild")
    for needed in (asked.flags["config"], asked.flags["ignore-file"]):
        if not (asked.folder / needed).is_file():
            refuse(f"Unable to read file [{needed}]")
    return ""


def repository(asked: Asked) -> str:
    asked.need_api("artifactregistry")
    if asked.words[0] not in asked.world.repositories:
        refuse("NOT_FOUND: Requested entity was not found.")
    return json.dumps({"name": asked.words[0], "format": "DOCKER"})


def read_logs(asked: Asked) -> str:
    asked.need_api("logging")
    if asked.world.unread:
        asked.world.unread -= 1
        refuse("RESOURCE_EXHAUSTED: Quota exceeded for read requests")
    found = [each for each in _entries(asked.world) if matches(asked.words[0], each)]
    found.sort(key=lambda each: str(each["timestamp"]), reverse=True)
    return json.dumps(found[: int(asked.flags["limit"])])


def _entries(world: World) -> list[dict[str, Any]]:
    """Return the whole log: what was called has reported, unless the world says otherwise."""
    said = list(world.entries)
    for name, at in world.called.items():
        report = {"event": "called", "failed": name in world.failed, "report": {"error": "x"}}
        said.append({"of": name, "timestamp": at, "jsonPayload": report})
    for message in world.published.values():
        answer = {"event": "probed", "epoch": message["attributes"]["epoch"]}
        answer["report"] = {"error": "x" if "predict" in world.failed else None}
        said.append({"of": "predict", "timestamp": message["at"], "jsonPayload": answer})
    up = now() if "gateway" in world.deployed else now(ago_seconds=3 * 86_400)
    said.append({"of": "gateway", "timestamp": up, "jsonPayload": {"event": "listening"}})
    told = [each for each in said if each in world.entries or each["of"] not in world.silent]
    return [_entry(each, world) for each in told]


def _entry(said: Mapping[str, Any], world: World) -> dict[str, Any]:
    """Return an entry as the real one prints it; `of` is who says it, or whose schedule."""
    name = said["of"]
    if said.get("kind") == "job":
        kind, labels = "cloud_scheduler_job", {"job_id": job(name)}
    else:
        kind, labels = "cloud_run_revision", {"service_name": name}
    revision = said.get("revision", _revision(name, world))
    resource = {"type": kind, "labels": labels | {"location": REGION, "revision_name": revision}}
    rest = {key: value for key, value in said.items() if key not in ("of", "kind", "revision")}
    return {"severity": "DEFAULT", "resource": resource} | rest


def now(*, ago_seconds: float = 0) -> str:
    return f"{datetime.now(UTC) - timedelta(seconds=ago_seconds):%Y-%m-%dT%H:%M:%S.%fZ}"


_PROJECT = r"[a-z][a-z0-9-]{4,28}[a-z0-9]"
_REGION = r"[a-z]+-[a-z]+\d+"
_ACCOUNT = rf"projects/{_PROJECT}/serviceAccounts/[a-z-]+@{_PROJECT}\.iam\.gserviceaccount\.com"
_IMAGE = rf"{_REGION}-docker\.pkg\.dev/{_PROJECT}/quotewatch/gateway:[\w.-]{{1,128}}"
_IN_PROJECT = {"project": _PROJECT, "?quiet": ""}
_JSON = {**_IN_PROJECT, "format": "json"}

# The words, how many more there are, the flags with the form of their values, what it does, and
# whether that changes anything.
Handler = Callable[[Asked], str]
COMMANDS: tuple[tuple[tuple[str, ...], int, Mapping[str, str], Handler, bool], ...] = (
    (("version",), 0, {"format": "json"}, version, False),
    (("auth", "print-access-token"), 0, {}, token, False),
    (
        ("auth", "list"), 0,
        {"filter": "status:ACTIVE", "format": r"value\(account\)"}, account, False,
    ),
    (("projects", "describe"), 1, {"format": "json"}, project, False),
    (
        ("services", "list"), 0,
        {**_IN_PROJECT, "enabled": "", "format": r"value\(config\.name\)"}, apis, False,
    ),
    (("functions", "regions", "list"), 0, {**_JSON, "gen2": ""}, regions, False),
    (("functions", "list"), 0, {**_JSON, "v2": "", "?regions": _REGION}, list_functions, False),
    (
        ("functions", "deploy"), 1,
        {
            **_IN_PROJECT, "gen2": "", "region": _REGION, "runtime": r"python3\d+", "source": r"\.",
            "entry-point": r"\w+", "trigger-http": "", "build-service-account": _ACCOUNT,
            "set-build-env-vars": r"GOOGLE_FUNCTION_SOURCE=functions/\w+\.py",
            "update-labels": r"commit=[a-z0-9_-]{1,63}",
        },
        deploy_function, True,
    ),
    (("scheduler", "jobs", "list"), 0, {**_JSON, "location": _REGION}, list_jobs, False),
    (("scheduler", "jobs", "run"), 1, {**_IN_PROJECT, "location": _REGION}, run_job, True),
    (
        ("run", "services", "describe"), 1,
        {**_JSON, "region": _REGION}, describe_service, False,
    ),
    (
        ("run", "services", "update"), 1,
        {**_IN_PROJECT, "region": _REGION, "image": _IMAGE}, update_service, True,
    ),
    (
        ("builds", "submit"), 1,
        {
            **_IN_PROJECT, "region": _REGION, "config": r".+", "ignore-file": r".+",
            "gcs-source-staging-dir": "gs://[a-z0-9-]+/gateway", "service-account": _ACCOUNT,
            "substitutions": rf"_IMAGE={_IMAGE},_COMMIT=[\w.-]{{40,63}}",
        },
        build, True,
    ),
    (
        ("artifacts", "repositories", "describe"), 1,
        {**_JSON, "location": _REGION}, repository, False,
    ),
    (("logging", "read"), 1, {**_JSON, "limit": r"\d+"}, read_logs, False),
)  # fmt: skip
