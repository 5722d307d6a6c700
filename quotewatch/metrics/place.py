"""Where this process is: what tells its series from those of all others."""

import http.client
import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from quotewatch.logs import get_logger

_METADATA = "metadata.google.internal"
_SECONDS = 1.0
_NAMESPACE = "quotewatch"

_log = get_logger("metrics")


@dataclass(frozen=True)
class Place:
    """One process of one project. Two never share a `task`: their counts would mix."""

    project: str
    location: str
    job: str
    task: str

    @property
    def resource(self) -> Mapping[str, str]:
        """The labels of Cloud Monitoring's `generic_task`."""
        return {
            "project_id": self.project,
            "location": self.location,
            "namespace": _NAMESPACE,
            "job": self.job,
            "task_id": self.task,
        }


def find_place(project: str, job: str, *, in_cloud: bool, suffix: str = "") -> Place:
    """Ask the cloud which instance this is; elsewhere a name is made that nobody else has."""
    instance = _ask("instance/id") if in_cloud else None
    region = _ask("instance/region") if instance else None
    if in_cloud and instance is None:
        _log.warning("no_instance_id", place=_METADATA)
    if int(os.environ.get("WORKERS") or 1) > 1:  # gunicorn's: several processes of one instance
        suffix = f"-{os.getpid()}"
    return Place(
        project=project,
        location=region.rpartition("/")[2] if region else "global",
        job=job,
        task=(instance or f"{socket.gethostname()[:60]}-{secrets.token_hex(4)}") + suffix,
    )


def _ask(what: str) -> str | None:
    host = os.environ.get("GCE_METADATA_HOST", _METADATA)
    connection = http.client.HTTPConnection(host, timeout=_SECONDS)
    try:
        headers = {"Metadata-Flavor": "Google"}
        connection.request("GET", f"/computeMetadata/v1/{what}", headers=headers)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace").strip()
        return text[:200] if answer.status == http.HTTPStatus.OK and text else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
