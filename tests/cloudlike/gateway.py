"""The gateway as the run sees it: its health pages, its log, its epochs."""

import json
import re
from pathlib import Path
from typing import Any

import urllib3

from tests.cloudlike.component import Component, Instance

_ALL_DOWN = re.compile(r"\b(\d+) of \1 connections are down")
_HTTP_SECONDS = 5.0


def is_ready(component: Component) -> bool:
    """Whether the instance that runs has an open connection and a valid book."""
    status, _ = _ask(component.current, "/readyz")
    return status == 200


def has_read_all(component: Component) -> bool:
    """Whether all its connections are down, read to their end."""
    return bool(_ALL_DOWN.search(_ask(component.current, "/readyz")[1]))


def epoch_of(instance: Instance) -> str | None:
    """Return the epoch an instance logged; None where it died before that."""
    said = logged(instance.program.log, "settings")
    return str(said[0]["epoch"]) if said else None


def logged(log: Path, event: str) -> list[dict[str, Any]]:
    """Return the lines of one event; a kill may have cut the last one off."""
    return [each for each in read_log(log) if each.get("event") == event]


def read_log(log: Path) -> list[dict[str, Any]]:
    """Return the lines of a log that are JSON."""
    found = []
    for line in log.read_text(errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found


def _ask(instance: Instance | None, path: str) -> tuple[int, str]:
    if instance is None or not instance.port:
        return 0, ""
    url = f"http://127.0.0.1:{instance.port}{path}"
    try:
        answer = urllib3.request("GET", url, timeout=_HTTP_SECONDS, retries=False)
    except urllib3.exceptions.HTTPError:
        return 0, ""
    return answer.status, answer.data.decode()
