"""Small objects by name, created once or replaced by compare-and-set on their generation.

One contract test suite holds every implementation to this page. A name is a path without a leading
slash; parts that are empty or start with a dot are refused everywhere, because files need them.
Names of local files have one more limit: `a` and `a/b` cannot both be objects.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from quotewatch.errors import ObjectError

MAX_NAME_BYTES = 1_024  # of GCS; a local file system refuses parts over 255 bytes by itself


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object as it was read."""

    name: str
    data: bytes
    generation: int


class ObjectStore(Protocol):
    """A flat space of names with `/` in them. Every call may raise ObjectStoreUnavailableError.

    After that error a create, replace or delete may have happened all the same: it is not tried
    again in here, and who tries again reads before believing a PreconditionFailedError.
    """

    def create(self, name: str, data: bytes) -> int:
        """Store a new object, return its generation; PreconditionFailedError if it exists."""
        ...

    def replace(self, name: str, data: bytes, *, generation: int) -> int:
        """Replace that generation, return the new one; PreconditionFailedError if it moved on."""
        ...

    def read(self, name: str) -> StoredObject | None:
        """Return the object, or None where there is none."""
        ...

    def names(self, prefix: str) -> Iterator[str]:
        """Yield the names that start with `prefix`, in order."""
        ...

    def delete(self, name: str) -> None:
        """Remove the object; nothing happens where there is none."""
        ...

    def close(self) -> None:
        """Let go of connections. Safe to call twice; a later call connects again."""
        ...


def check_name(name: str) -> str:
    """Return the name, or raise an ObjectError that says what is wrong with it."""
    if not all(part and not part.startswith(".") for part in name.split("/")):
        raise ObjectError(f"object name {name!r}: parts must not be empty or start with a dot")
    return check_prefix(name)


def check_prefix(prefix: str) -> str:
    """Return the beginning of a name, or raise an ObjectError: its folders must be proper parts."""
    *folders, _ = prefix.split("/")
    if not all(part and not part.startswith(".") for part in folders):
        raise ObjectError(
            f"object prefix {prefix!r}: folders must not be empty or start with a dot"
        )
    # Control characters are refused by GCS (\r \n) or by file systems (\0), and garble every log.
    if not prefix.isprintable() or len(prefix.encode()) > MAX_NAME_BYTES:
        raise ObjectError(f"object name {prefix!r}: use at most 1024 bytes of printable characters")
    return prefix
