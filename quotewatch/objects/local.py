"""Objects as plain files below one directory, safe for several processes and against kill -9.

A reader sees a whole object or none. What was stored survives a power cut (small and rare writes,
so both the file and its folder are fsynced). Lost: nothing whose call returned.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from quotewatch.errors import ObjectError, ObjectStoreUnavailableError, PreconditionFailedError
from quotewatch.objects.port import StoredObject, check_name, check_prefix

# Space comes back, file handles and stale mounts too; what is not listed here needs an operator.
_PASSING = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ESTALE}
)
_ABANDONED_SECONDS = 3_600  # an unfinished file this old has no living writer


class LocalObjects:
    """One directory of objects. The generation is the file's time of modification in nanoseconds.

    That keeps objects readable with any tool. It is set before the file gets its name, read back
    from the file system, and never equal to the one it replaces.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._backstage = root / ".objects"  # no name can reach it: parts with a dot are refused
        self._swept = False

    def create(self, name: str, data: bytes) -> int:
        """Store a new object; PreconditionFailedError if the name is taken."""
        path = self._path(name)
        with _named_errors(name), self._finished(data) as (temporary, generation):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                # A link appears at once and never over an existing file, without any lock.
                path.hardlink_to(temporary)
            except FileExistsError:
                if path.is_dir():
                    raise ObjectError(f"object {name!r}: the name is a folder already") from None
                raise PreconditionFailedError(f"object {name!r} exists already") from None
            self._sync_folders(path)
            return generation

    def replace(self, name: str, data: bytes, *, generation: int) -> int:
        """Replace the object of that generation; PreconditionFailedError if it moved on."""
        path = self._path(name)
        with (
            _named_errors(name),
            self._finished(data, newer_than=generation) as (temporary, new_generation),
            self._lock(),
        ):
            found = _generation(path)
            if found != generation:
                raise PreconditionFailedError(
                    f"object {name!r} is at generation {found}, not {generation}: read it again"
                )
            temporary.replace(path)
            _sync(path.parent)
            return new_generation

    def read(self, name: str) -> StoredObject | None:
        """Return the object, or None where there is none."""
        path = self._path(name)
        with _named_errors(name):
            try:
                file = path.open("rb")
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                return None
            with file:
                # Files are never changed in place, so what is open has one time and one content.
                generation = os.fstat(file.fileno()).st_mtime_ns
                return StoredObject(name, file.read(), generation)

    def names(self, prefix: str) -> Iterator[str]:
        """Yield the names that start with `prefix`, in order."""
        folder = check_prefix(prefix).rpartition("/")[0]
        with _named_errors(prefix):
            found = [name for name in self._walk(self._root / folder) if name.startswith(prefix)]
        yield from sorted(found)

    def delete(self, name: str) -> None:
        """Remove the object; nothing happens where there is none."""
        path = self._path(name)
        if not self._root.exists():
            return
        # Folders stay: removing them would race with a writer that has just made sure of them.
        with _named_errors(name), self._lock(), contextlib.suppress(FileNotFoundError):
            if path.is_file():
                path.unlink()
                _sync(path.parent)

    def close(self) -> None:
        """Nothing is held open between calls."""

    def _sync_folders(self, path: Path) -> None:
        """Make the object's name durable, and those of the folders it may just have got."""
        for folder in path.parents:
            _sync(folder)
            if folder == self._root:
                break

    def _path(self, name: str) -> Path:
        return self._root / check_name(name)

    def _walk(self, folder: Path) -> Iterator[str]:
        for parent, folders, files in os.walk(folder, onerror=_raise_unless_gone):
            folders[:] = [name for name in folders if not name.startswith(".")]
            inside = Path(parent).relative_to(self._root)
            yield from ((inside / name).as_posix() for name in files if not name.startswith("."))

    @contextlib.contextmanager
    def _finished(self, data: bytes, *, newer_than: int = 0) -> Iterator[tuple[Path, int]]:
        """Write a whole file backstage and give it a generation; it is gone afterwards."""
        self._prepare()
        temporary = self._backstage / f"{secrets.token_hex(8)}.tmp"
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                generation = _stamp(file.fileno(), max(time.time_ns(), newer_than + 1))
                os.fsync(file.fileno())
            yield temporary, generation
        finally:
            temporary.unlink(missing_ok=True)

    def _prepare(self) -> None:
        self._backstage.mkdir(parents=True, exist_ok=True)
        if self._swept:
            return
        oldest = time.time() - _ABANDONED_SECONDS
        for left in self._backstage.glob("*.tmp"):
            with contextlib.suppress(FileNotFoundError):
                if left.stat().st_mtime < oldest:
                    left.unlink()
        self._swept = True

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Keep other writers out for the length of one rename; the kernel frees it if we die."""
        self._backstage.mkdir(parents=True, exist_ok=True)
        with (self._backstage / "lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _stamp(descriptor: int, wanted_ns: int) -> int:
    """Set the file's generation to the first one from `wanted_ns` on that the file system keeps."""
    for step_ns in (0, 1_000, 1_000_000_000, 2_000_000_000):  # ns, µs; old HFS+ s, FAT 2 s
        os.utime(descriptor, ns=(wanted_ns + step_ns, wanted_ns + step_ns))
        kept = os.fstat(descriptor).st_mtime_ns
        if kept >= wanted_ns:
            return kept
    raise ObjectError("the file system keeps no times of modification: use another for the objects")


def _generation(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns if path.is_file() else None
    except (FileNotFoundError, NotADirectoryError):
        return None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


@contextlib.contextmanager
def _named_errors(name: str) -> Iterator[None]:
    """Turn what the operating system says into one of the two errors of the port."""
    try:
        yield
    except OSError as error:
        if error.errno in _PASSING:
            raise ObjectStoreUnavailableError(
                f"object {name!r}: {error.strerror}; free space or handles, then try again"
            ) from error
        raise ObjectError(f"object {name!r}: {error}; check the objects' directory") from error
