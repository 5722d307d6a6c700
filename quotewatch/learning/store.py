"""The versions of one horizon's model, each written once, and which of them is served.

Any number of processes may create, advance, pin and prune at once. `current` moves by
compare-and-set: forwards by itself, elsewhere by hand only. After an ObjectStoreUnavailableError
the change may have happened: every call reads again before it decides.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from quotewatch.errors import (
    ModelError,
    ModelMismatchError,
    NewerModelError,
    PreconditionFailedError,
)
from quotewatch.learning.document import Version, decode, encode, same_numbers
from quotewatch.objects.port import ObjectStore, StoredObject

__all__ = ["Current", "Found", "ModelStore", "Version"]

_VERSION = re.compile(r"\d{3}-\d{9}")
_FORMAT = 1
_NAMED_IN_ERRORS = 5


@dataclass(frozen=True, slots=True)
class Current:
    """Which version is served, and whether it stays when there is a newer one."""

    version: str
    pinned: bool
    generation: int


@dataclass(frozen=True, slots=True)
class Found:
    """The newest version that loads, and why newer ones do not."""

    version: Version | None
    refused: dict[str, str]


class _Pointer(msgspec.Struct):
    """What `current` holds."""

    version: str
    pinned: bool
    format: int = _FORMAT


class ModelStore:
    """One horizon's versions in an object store."""

    def __init__(self, objects: ObjectStore, horizon_ms: int) -> None:
        self._objects = objects
        self._horizon_ms = horizon_ms
        self._versions = f"models/{horizon_ms}ms/versions/"
        self._current = f"models/{horizon_ms}ms/current"

    # Versions

    def versions(self) -> list[str]:
        """Return the names of all versions, oldest first."""
        names = [name.removeprefix(self._versions) for name in self._objects.names(self._versions)]
        return sorted(name for name in names if _VERSION.fullmatch(name))

    def load(self, version: str) -> Version:
        """Return a version; ModelError, ModelMismatchError or NewerModelError says why not."""
        stored = self._read(version)
        if stored is None:
            raise self._missing(version)
        return decode(stored.data, stored.name, self._horizon_ms)

    def create(self, version: Version) -> bool:
        """Store a version; False if it was there, which must have learnt the same."""
        model = version.model
        if model.horizon_ms != self._horizon_ms:
            raise ModelMismatchError(
                f"a model of {model.horizon_ms} ms does not belong into {self._versions}: "
                "use the store of its horizon"
            )
        try:
            self._objects.create(self._versions + model.version, encode(version))
        except PreconditionFailedError:
            self._check_same(version)
            return False
        return True

    def newest(self) -> Found:
        """Return the newest version that loads; a newer format is raised, not passed over."""
        refused: dict[str, str] = {}
        for version in reversed(self.versions()):
            stored = self._read(version)
            if stored is None:
                continue  # pruned meanwhile
            try:
                return Found(decode(stored.data, stored.name, self._horizon_ms), refused)
            except ModelError as error:
                refused[version] = str(error)
        return Found(None, refused)

    def prune(self, keep: int = 50) -> list[str]:
        """Remove the oldest versions beyond `keep`, never the current one; return their names."""
        if keep < 1:
            raise ValueError(f"keep {keep} versions: keep 1 or more")
        return [version for version in self.versions()[:-keep] if self._remove(version)]

    # Which one is served

    def current(self) -> Current | None:
        """Return which version is served, or None before the first."""
        stored = self._objects.read(self._current)
        return None if stored is None else _pointed(stored)

    def advance(self, version: str) -> bool:
        """Serve a newer version; False if it is no newer, or if another is pinned."""
        while True:
            current = self.current()
            if current is not None and (current.pinned or version <= current.version):
                return False
            if self._point(version, current, pinned=False):
                return True

    def pin(self, version: str) -> None:
        """Serve this version, older or newer, until `follow`; ModelError if it does not load."""
        data = self._pinnable(version)
        while not self._point(version, self._objects.read(self._current), pinned=True):
            pass
        if self._read(version) is None:  # pruned since it was loaded
            self._restore(version, data)

    def follow(self) -> str:
        """Serve the newest version that loads, and newer ones as they come; return its name."""
        while True:
            # Read before the versions: who advances meanwhile makes this a second turn.
            stored = self._objects.read(self._current)
            found = self.newest()
            if found.version is None:
                raise ModelError(
                    f"{self._versions} has no version that loads ({found.refused}): train one"
                )
            if self._point(found.version.model.version, stored, pinned=False):
                return found.version.model.version

    def _point(self, version: str, seen: Current | StoredObject | None, *, pinned: bool) -> bool:
        """Write `current`; False if it is not what was seen any more."""
        data = msgspec.json.encode(_Pointer(version, pinned))
        try:
            if seen is None:
                self._objects.create(self._current, data)
            else:
                self._objects.replace(self._current, data, generation=seen.generation)
        except PreconditionFailedError:
            return False
        return True

    def _read(self, version: str) -> StoredObject | None:
        if not _VERSION.fullmatch(version):
            raise self._missing(version)
        return self._objects.read(self._versions + version)

    def _remove(self, version: str) -> bool:
        """Delete a version that is not current, nor becomes it at the same moment."""
        stored = self._read(version)
        if stored is None or self._is_current(version):
            return False
        self._objects.delete(stored.name)
        # Who pins looks after pointing, we look after deleting: one of both sees the other.
        if self._is_current(version):
            self._restore(version, stored.data)
            return False
        return True

    def _restore(self, version: str, data: bytes) -> None:
        with suppress(PreconditionFailedError):  # the other one was faster
            self._objects.create(self._versions + version, data)

    def _is_current(self, version: str) -> bool:
        current = self.current()
        return current is not None and current.version == version

    def _pinnable(self, version: str) -> bytes:
        stored = self._read(version)
        if stored is None:
            raise self._missing(version)
        try:
            decode(stored.data, stored.name, self._horizon_ms)
        except ModelError as error:
            raise ModelError(f"{error}; the newest are {self._newest_names()}") from error
        return stored.data

    def _check_same(self, version: Version) -> None:
        name = version.model.version
        if not same_numbers(self.load(name).model, version.model):
            raise ModelError(
                f"{self._versions}{name} exists and learnt something else from the same batches: "
                "find out which process differs, then train a new line"
            )

    def _missing(self, version: str) -> ModelError:
        return ModelError(
            f"{self._versions}{version} does not exist; the newest are {self._newest_names()}"
        )

    def _newest_names(self) -> Sequence[str]:
        return self.versions()[-_NAMED_IN_ERRORS:]


def _pointed(stored: StoredObject) -> Current:
    try:
        pointer = msgspec.json.decode(stored.data, type=_Pointer)
    except ValueError as error:  # also what is not UTF-8
        raise ModelError(
            f"{stored.name} names no version ({error}): pin one, or follow the newest"
        ) from error
    if pointer.format > _FORMAT:
        raise NewerModelError(
            f"{stored.name} is of format {pointer.format}, this process reads {_FORMAT}: "
            "deploy this process again"
        )
    return Current(pointer.version, pointer.pinned, stored.generation)
