"""Grafana's own word on our files: its types as a JSON Schema, and its SDK's models.

The types come from npm, at the versions of package.json, into a folder outside the repository.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard
from grafana_foundation_sdk.models.googlecloudmonitoring import CloudMonitoringQuery
from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError, relevance

from tests.availability import cannot_run

_HERE = Path(__file__).parent
_SOURCES = ("package.json", "dashboard_file.ts")
_TYPE = "DashboardFile"
_INSTALL_SECONDS = 240.0
_GENERATE_SECONDS = 120.0
_COMPILER = {
    "compilerOptions": {
        "module": "nodenext", "moduleResolution": "nodenext", "skipLibCheck": True,
        "strict": True, "target": "es2022",
    },
    "files": ["dashboard_file.ts"],
}  # fmt: skip

UNITS = frozenset(value for value in vars(units).values() if isinstance(value, str))

register_default_plugins()


def refusals(dashboard: Any) -> list[str]:
    """Say where a dashboard departs from Grafana's types, nearest to the cause."""
    return [_said(error) for error in _validator().iter_errors(dashboard)]


def lost_in_dashboard(dashboard: Any) -> list[str]:
    """List what the SDK's model of a dashboard does not give back as it came."""
    return list(_lost(dashboard, _through(Dashboard.from_json, dashboard), ""))


def lost_in_target(target: Any) -> list[str]:
    """List what the SDK's model of a Cloud Monitoring query does not give back as it came."""
    return list(_lost(target, _through(CloudMonitoringQuery.from_json, target), ""))


def _through(from_json: Callable[[dict[str, Any]], object], given: dict[str, Any]) -> Any:
    return json.loads(JSONEncoder().encode(from_json(given)))


def _lost(given: Any, back: Any, path: str) -> Iterator[str]:
    match given, back:
        case dict(), dict():
            for key, value in given.items():
                if key in back:
                    yield from _lost(value, back[key], f"{path}/{key}")
                else:
                    yield f"{path}/{key} is gone"
        case list(), list() if len(given) == len(back):
            for at, (value, its) in enumerate(zip(given, back, strict=True)):
                yield from _lost(value, its, f"{path}/{at}")
        case _ if given != back:
            yield f"{path} was {given!r} and is {back!r}"


def _said(error: ValidationError) -> str:
    """Go down into alternatives to the one that was meant: the panel's or the query's own type."""
    while error.context:
        meant = [each for each in error.context if not _is_other_type(each, error)]
        if not meant:
            break
        error = max(meant, key=relevance)
    place = "/".join(map(str, error.absolute_path))
    return f"{place}: {error.message[:300]}"


def _is_other_type(error: ValidationError, parent: ValidationError) -> bool:
    """Say whether this alternative was of another `type` or `queryType`."""
    branch = error.schema_path[0]
    alike = (each for each in parent.context or () if each.schema_path[0] == branch)
    return any(
        each.validator == "const" and list(each.path) in (["type"], ["queryType"]) for each in alike
    )


@cache
def _validator() -> Draft7Validator:
    schema = json.loads(_schema_file().read_text())
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema)


def _schema_file() -> Path:
    """Return the generated schema; made once for each version of what it is made from."""
    home = _home()
    made = home / "schema.json"
    if made.is_file():
        return made
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix="making-") as name:
        making = Path(name) / "home"
        making.mkdir()
        _generate(making)
        try:
            making.rename(home)
        except OSError:  # another run was faster
            if not made.is_file():
                raise
    return made


def _home() -> Path:
    sources = b"".join((_HERE / name).read_bytes() for name in _SOURCES)
    cache_folder = os.environ.get("QUOTEWATCH_NODE_CACHE")
    base = Path(cache_folder) if cache_folder else Path(tempfile.gettempdir()) / "quotewatch-node"
    return base / hashlib.sha256(sources).hexdigest()[:16]


def _generate(folder: Path) -> None:
    for name in _SOURCES:
        shutil.copy(_HERE / name, folder)
    (folder / "tsconfig.json").write_text(json.dumps(_COMPILER))
    install = ["install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
    _run(folder, [_program("npm"), *install], _INSTALL_SECONDS, "npm could not install")
    generate = "node_modules/ts-json-schema-generator/bin/ts-json-schema-generator.js"
    # Nothing but the root is named: several of Grafana's types share a name.
    flags = ["--tsconfig", "tsconfig.json", "--path", "dashboard_file.ts", "--expose", "none"]
    done = subprocess.run(
        [_program("node"), generate, *flags, "--type", _TYPE, "--out", "schema.json"],
        cwd=folder, capture_output=True, check=False, timeout=_GENERATE_SECONDS,
    )  # fmt: skip
    if done.returncode != 0:
        raise ValueError(f"no schema from dashboard_file.ts: {done.stderr.decode()[-2_000:]}")


def _run(folder: Path, command: list[str], seconds: float, failed: str) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False,
                              timeout=seconds)  # fmt: skip
    except subprocess.TimeoutExpired:
        cannot_run(f"{failed} within {seconds:g} s")
    if done.returncode != 0:
        cannot_run(f"{failed}: {done.stderr.decode()[-500:]}")


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        cannot_run(f"{name} is missing: install Node.js 20 or newer with npm")
    return found
