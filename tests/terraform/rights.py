"""What the grants of a plan let an account do: the answer IAM would give to one call."""

from collections.abc import Callable, Iterable

from tests.servers.guards import Need
from tests.terraform.grants import ROLES, Grant

OBJECTS = "quotewatch-test-quotewatch-objects"


def rights_of(grants: Iterable[Grant]) -> Callable[[Need], bool]:
    """Return what says whether a call may pass."""
    held = [(grant.thing, ROLES.get(grant.role, frozenset())) for grant in grants]
    return lambda need: any(
        need.permission in permissions and _covers(thing, need.thing) for thing, permissions in held
    )


def _covers(granted: str, asked: str) -> bool:
    """Say whether a grant on one thing is a grant on another: a bucket's objects, a folder's."""
    kind, _, name = granted.partition(" ")
    if kind == "bucket":
        return asked == granted or asked.startswith(f"object {name}/")
    if kind == "folder":
        return asked.startswith(f"object {OBJECTS}/{name}")
    return asked == granted or (kind == asked == "catalog")
