"""Small objects by name, created once or replaced by compare-and-set on their generation."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object as it was read."""

    name: str
    data: bytes
    generation: int


class ObjectStore(Protocol):
    """A flat space of names with `/` in them. Every call may raise ObjectStoreUnavailableError."""

    def create(self, name: str, data: bytes) -> int:
        """Store a new object and return its generation; PreconditionFailedError if the name is taken."""
        ...

    def replace(self, name: str, data: bytes, *, generation: int) -> int:
        """Replace the object of that generation; PreconditionFailedError if it moved on."""
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
