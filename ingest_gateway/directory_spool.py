"""The spool on a disk that outlives the process: one file per frame, one lock per living epoch.

Lost when the process dies: nothing. Lost when the machine dies: at most the newest SYNC_FRAMES.
"""

import contextlib
import fcntl
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from ingest_gateway.spool_account import MARKER, Pending, present, report_bad, spool_errors
from ingest_gateway.spool_codec import (
    EPOCH,
    SpooledFrame,
    checked_epoch,
    decode,
    encode,
    in_order,
    leaf_name,
    leaf_of,
)
from quotewatch.errors import SpoolError

# A frame rests here for the few ms until the bus has it, so flushing each one to the disk would
# work all day for frames that are gone before the next one comes, and stall the features on a busy
# disk. When frames pile up the bus is down and the disk is all there is: then they are flushed, so
# that never more than this many (about 3 s) trust in the machine staying up.
SYNC_FRAMES = 32


class DirectorySpool:
    """One file per frame: `<root>/<epoch>/<stream>.<seq>.frame`. For disks that outlive a process.

    A living epoch holds a flock on `<root>/<epoch>.lock`. Who finds it free takes it and with it
    the dead epoch, so gateways sharing a directory share no leftovers. The lock belongs to the open
    file: do not fork while a spool is open.
    """

    eager = True

    def __init__(self, root: Path, epoch: str) -> None:
        self.bad_frames = 0
        self._root = root
        self._epoch = checked_epoch(epoch)
        self._directory = root / epoch
        self._pending = Pending()
        self._tries = itertools.count()
        self._unsynced: dict[Path, None] = {}  # in the order they were added
        self._locks: dict[str, int] = {}  # descriptors: this epoch's and those of dead ones taken
        with spool_errors(f"spool {root}: epoch {epoch} cannot start"):
            root.mkdir(parents=True, exist_ok=True)
            with self._among_gateways():
                self._start()

    def add(self, frame: SpooledFrame) -> None:
        """Keep one frame of this epoch; on SpoolError nothing partial is left."""
        path = self._path(leaf_name(frame, self._epoch))
        temporary = path.with_suffix(f".{next(self._tries)}.tmp")  # two threads may try at once
        data = encode(frame)
        with spool_errors(f"spool {path}: {len(data)} bytes not kept"):
            self._sync_backlog()
            try:
                temporary.write_bytes(data)
                temporary.rename(path)
            except OSError:
                with contextlib.suppress(OSError):
                    temporary.unlink()
                raise
        self._unsynced[path] = None
        self._pending.put(path.stem, len(data))

    def read(self, stream: str, seq: int) -> SpooledFrame:
        """Return a frame of this epoch; SpoolError if it is not here, or damaged and set aside."""
        leaf = leaf_of(stream, seq)
        return present(self._read(self._epoch, leaf), self._epoch, leaf)

    def remove(self, stream: str, seq: int) -> None:
        """Let go of a frame of this epoch that the bus has; unknown ones are ignored."""
        path = self._path(leaf_of(stream, seq))
        # Not flushed either: a removal undone by a power cut is a duplicate with its old identity.
        with spool_errors(f"spool {path}: not removed"):
            path.unlink(missing_ok=True)
        self._unsynced.pop(path, None)
        self._pending.drop(path.stem)

    def leftovers(self) -> Iterator[SpooledFrame]:
        """Yield the intact frames of dead epochs, by (epoch, stream, seq)."""
        for epoch in self._dead_epochs():
            with spool_errors(f"spool {self._root / epoch}: not listed"):
                leaves = in_order(path.stem for path in (self._root / epoch).glob("*.frame"))
            for leaf in leaves:
                frame = self._read(epoch, leaf)
                if frame is not None:
                    yield frame

    def forget(self, frame: SpooledFrame) -> None:
        """Let go of a leftover that the bus has now."""
        path = self._path(leaf_name(frame, frame.epoch), frame.epoch)
        self._let_go(frame.epoch, path)

    def crashed_epochs(self) -> list[str]:
        """Name the dead epochs that were never closed cleanly, until they are acknowledged."""
        return [epoch for epoch in self._dead_epochs() if (self._root / epoch / MARKER).exists()]

    def acknowledge_crash(self, epoch: str) -> None:
        """Stop naming a crashed epoch; call it once `events` durably says so."""
        self._let_go(epoch, self._root / checked_epoch(epoch) / MARKER)

    def pending_frames(self) -> int:
        """Count the frames of this epoch in the spool."""
        return self._pending.frames

    def pending_bytes(self) -> int:
        """Sum their bytes."""
        return self._pending.bytes

    def close(self, *, clean: bool) -> None:
        """End this epoch, as a crash unless `clean`. Frames stay. Safe to call twice."""
        if self._epoch not in self._locks:
            return
        try:
            with spool_errors(f"spool {self._directory}: not closed"), self._among_gateways():
                if clean:
                    (self._directory / MARKER).unlink(missing_ok=True)
                self._tidy(self._epoch)
        finally:
            while self._locks:
                os.close(self._locks.popitem()[1])

    def _path(self, leaf: str, epoch: str | None = None) -> Path:
        return self._root / (epoch or self._epoch) / f"{leaf}.frame"

    def _start(self) -> None:
        if not self._claim(self._epoch):
            raise SpoolError(f"spool {self._directory}: a living process has this epoch already")
        try:
            self._directory.mkdir()  # fails if it exists: an epoch is one life of one process
            (self._directory / MARKER).touch()
            _sync(self._directory)
            _sync(self._root)
        except OSError:
            os.close(self._locks.pop(self._epoch))
            raise

    @contextlib.contextmanager
    def _among_gateways(self) -> Iterator[None]:
        """Start, take over and clean up one gateway at a time: no half-started epoch is seen."""
        with (self._root / ".lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _dead_epochs(self) -> list[str]:
        with spool_errors(f"spool {self._root}: not searched"), self._among_gateways():
            for epoch in self._epochs() - self._locks.keys():
                if self._claim(epoch):
                    self._sweep(epoch)
            return sorted(self._locks.keys() - {self._epoch})

    def _epochs(self) -> set[str]:
        # Known by their locks, so that a folder of somebody else in here is never cleaned up.
        names = {path.name.removesuffix(".lock") for path in self._root.glob("?*.lock")}
        return {name for name in names if EPOCH.fullmatch(name)}

    def _claim(self, epoch: str) -> bool:
        """Take the epoch's lock for the rest of this process; False if somebody lives there."""
        descriptor = os.open(self._root / f"{epoch}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return False
            raise
        self._locks[epoch] = descriptor
        return True

    def _sweep(self, epoch: str) -> None:
        """Remove what the dead process had not finished: no `add` of it ever returned."""
        for unfinished in (self._root / epoch).glob("*.tmp"):
            unfinished.unlink()
        self._tidy(epoch)

    def _let_go(self, epoch: str, path: Path) -> None:
        with spool_errors(f"spool {path}: not removed"), self._among_gateways():
            # Otherwise it is no leftover of ours: its owner lives, or it is gone already.
            if epoch != self._epoch and epoch in self._locks:
                path.unlink(missing_ok=True)
                self._tidy(epoch)

    def _tidy(self, epoch: str) -> None:
        """Remove the epoch if nothing is left in it: no frame, no marker, no damaged frame."""
        with contextlib.suppress(FileNotFoundError):
            try:
                (self._root / epoch).rmdir()
            except OSError as error:
                if isinstance(error, FileNotFoundError):
                    raise
                return
        (self._root / f"{epoch}.lock").unlink(missing_ok=True)
        os.close(self._locks.pop(epoch))

    def _read(self, epoch: str, leaf: str) -> SpooledFrame | None:
        path = self._path(leaf, epoch)
        try:
            return decode(path.read_bytes(), epoch, leaf)
        except FileNotFoundError:
            return None  # forgotten since it was listed
        except OSError as error:  # of the disk or of this process, not of the frame: it stays
            raise SpoolError(f"spool {path}: not read: {error}; it is tried again") from error
        except SpoolError as error:
            self.bad_frames += 1
            report_bad(path, error)
            with contextlib.suppress(OSError):  # then it is met and reported again next time
                path.rename(path.with_name(f"{path.name}.bad"))
            return None

    def _sync_backlog(self) -> None:
        if len(self._unsynced) < SYNC_FRAMES:
            return
        for path in list(self._unsynced):
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile: the bus has it
                _sync(path)
            self._unsynced.pop(path, None)
        _sync(self._directory)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
