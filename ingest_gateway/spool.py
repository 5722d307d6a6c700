"""Frames the bus does not have yet, kept where a dying process cannot take them along.

In: frames before they are published (directory) or once publishing fails (objects). Out, after a
restart: every frame whose `add` returned and that was not removed, at least once, with its old
identity. Lost when the process dies: nothing. Lost when the machine dies: at most the newest
SYNC_FRAMES frames of a directory; nothing of objects.
"""

import contextlib
import fcntl
import itertools
import os
import re
import struct
import threading
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from quotewatch.errors import ObjectError, PreconditionFailedError, SpoolError
from quotewatch.logs import get_logger
from quotewatch.message import Message
from quotewatch.objects.opening import local_path, open_objects
from quotewatch.objects.port import ObjectStore

# A frame rests here for the few ms until the bus has it, so flushing each one to the disk would
# work all day for frames that are gone before the next one comes, and stall the features on a busy
# disk. When frames pile up the bus is down and the disk is all there is: then they are flushed, so
# that never more than this many (about 3 s) trust in the machine staying up.
SYNC_FRAMES = 32

_EPOCH = re.compile(r"[A-Za-z0-9_-]+")
_LEAF = re.compile(r"(?P<stream>[A-Za-z0-9_@-]+)\.(?P<seq>[0-9]{12,})")
_MARKER = "open"
_PREFACE = struct.Struct(">8sII")  # magic, CRC-32 of all that follows, length of the header
_MAGIC = b"QWSPOOL1"


@dataclass(frozen=True, slots=True)
class SpooledFrame:
    """One frame as the spool keeps it: its identity and what goes to the bus."""

    stream: str
    epoch: str
    seq: int
    message: Message


class Spool(Protocol):
    """Where unpublished frames wait. Every call may raise SpoolError, and come from any thread."""

    bad_frames: int  # damaged frames met so far; each was set aside as `<name>.bad` and logged

    @property
    def eager(self) -> bool:
        """True: add every frame before publishing it. False: add it once publishing has failed."""
        ...

    def add(self, frame: SpooledFrame) -> None:
        """Keep one frame of this epoch; on SpoolError nothing partial is left."""
        ...

    def read(self, stream: str, seq: int) -> SpooledFrame:
        """Return a frame of this epoch; SpoolError if it is not here, or damaged and set aside."""
        ...

    def remove(self, stream: str, seq: int) -> None:
        """Let go of a frame of this epoch that the bus has; unknown ones are ignored.

        After a SpoolError it may come back as a leftover: a duplicate with its old identity.
        """
        ...

    def leftovers(self) -> Iterator[SpooledFrame]:
        """Yield the intact frames of dead epochs, by (epoch, stream, seq)."""
        ...

    def forget(self, frame: SpooledFrame) -> None:
        """Let go of a leftover that the bus has now."""
        ...

    def crashed_epochs(self) -> list[str]:
        """Name the dead epochs that were never closed cleanly, until they are acknowledged."""
        ...

    def acknowledge_crash(self, epoch: str) -> None:
        """Stop naming a crashed epoch; call it once `events` durably says so."""
        ...

    def pending_frames(self) -> int:
        """Count the frames of this epoch in the spool."""
        ...

    def pending_bytes(self) -> int:
        """Sum their bytes."""
        ...

    def close(self, *, clean: bool) -> None:
        """End this epoch, as a crash unless `clean`. Frames stay. Safe to call twice."""
        ...


def open_spool(url: str, epoch: str) -> Spool:
    """Open the spool at gs://bucket/prefix, file:///path or a plain path and start the epoch."""
    if url.startswith("gs://"):
        return ObjectSpool(open_objects(url), "", epoch)
    return DirectorySpool(local_path(url), epoch)


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
        self._epoch = _checked_epoch(epoch)
        self._directory = root / epoch
        self._pending = _Pending()
        self._tries = itertools.count()
        self._unsynced: dict[Path, None] = {}  # in the order they were added
        self._locks: dict[str, int] = {}  # descriptors: this epoch's and those of dead ones taken
        with _spool_errors(f"spool {root}: epoch {epoch} cannot start"):
            root.mkdir(parents=True, exist_ok=True)
            with self._among_gateways():
                self._start()

    def add(self, frame: SpooledFrame) -> None:
        """Keep one frame of this epoch; on SpoolError nothing partial is left."""
        path = self._path(_leaf(frame, self._epoch))
        temporary = path.with_suffix(f".{next(self._tries)}.tmp")  # two threads may try at once
        data = _encode(frame)
        with _spool_errors(f"spool {path}: {len(data)} bytes not kept"):
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
        leaf = _leaf_of(stream, seq)
        return _found(self._read(self._epoch, leaf), self._epoch, leaf)

    def remove(self, stream: str, seq: int) -> None:
        """Let go of a frame of this epoch that the bus has; unknown ones are ignored."""
        path = self._path(_leaf_of(stream, seq))
        # Not flushed either: a removal undone by a power cut is a duplicate with its old identity.
        with _spool_errors(f"spool {path}: not removed"):
            path.unlink(missing_ok=True)
        self._unsynced.pop(path, None)
        self._pending.drop(path.stem)

    def leftovers(self) -> Iterator[SpooledFrame]:
        """Yield the intact frames of dead epochs, by (epoch, stream, seq)."""
        for epoch in self._dead_epochs():
            with _spool_errors(f"spool {self._root / epoch}: not listed"):
                leaves = _in_order(path.stem for path in (self._root / epoch).glob("*.frame"))
            for leaf in leaves:
                frame = self._read(epoch, leaf)
                if frame is not None:
                    yield frame

    def forget(self, frame: SpooledFrame) -> None:
        """Let go of a leftover that the bus has now."""
        path = self._path(_leaf(frame, frame.epoch), frame.epoch)
        self._let_go(frame.epoch, path)

    def crashed_epochs(self) -> list[str]:
        """Name the dead epochs that were never closed cleanly, until they are acknowledged."""
        return [epoch for epoch in self._dead_epochs() if (self._root / epoch / _MARKER).exists()]

    def acknowledge_crash(self, epoch: str) -> None:
        """Stop naming a crashed epoch; call it once `events` durably says so."""
        self._let_go(epoch, self._root / _checked_epoch(epoch) / _MARKER)

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
            with _spool_errors(f"spool {self._directory}: not closed"), self._among_gateways():
                if clean:
                    (self._directory / _MARKER).unlink(missing_ok=True)
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
            (self._directory / _MARKER).touch()
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
        with _spool_errors(f"spool {self._root}: not searched"), self._among_gateways():
            for epoch in self._epochs() - self._locks.keys():
                if self._claim(epoch):
                    self._sweep(epoch)
            return sorted(self._locks.keys() - {self._epoch})

    def _epochs(self) -> set[str]:
        # Known by their locks, so that a folder of somebody else in here is never cleaned up.
        names = {path.name.removesuffix(".lock") for path in self._root.glob("?*.lock")}
        return {name for name in names if _EPOCH.fullmatch(name)}

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
        with _spool_errors(f"spool {path}: not removed"), self._among_gateways():
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
            return _decode(path.read_bytes(), epoch, leaf)
        except FileNotFoundError:
            return None  # forgotten since it was listed
        except (OSError, SpoolError) as error:
            self.bad_frames += 1
            _report_bad(path, error)
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


class ObjectSpool:
    """One object per frame: `<prefix>/<epoch>/<stream>.<seq>`. For hosts whose disk is memory.

    Nothing tells a living neighbour's epoch from a dead one here, by choice: whoever asks gets what
    is there. A neighbour's frame published twice keeps its identity and does no harm; a neighbour
    named as crashed during a redeploy is taken back by the `final` event of its own epoch.
    """

    eager = False

    def __init__(self, store: ObjectStore, prefix: str, epoch: str) -> None:
        self.bad_frames = 0
        self._store = store  # ours from here on: close() closes it
        self._prefix = f"{prefix.strip('/')}/".lstrip("/")
        self._epoch = _checked_epoch(epoch)
        self._pending = _Pending()
        self._unsure: set[str] = set()  # frames whose create was never answered: perhaps there
        with _spool_errors(f"spool epoch {epoch} cannot start"):
            self._create(self._name(_MARKER), b"")

    def add(self, frame: SpooledFrame) -> None:
        """Keep one frame of this epoch; on SpoolError nothing partial is left."""
        leaf = _leaf(frame, self._epoch)
        data = _encode(frame)
        self._unsure.add(leaf)
        with _spool_errors(f"spool object {self._name(leaf)}: {len(data)} bytes not kept"):
            self._create(self._name(leaf), data)
        self._pending.put(leaf, len(data))
        self._unsure.discard(leaf)

    def read(self, stream: str, seq: int) -> SpooledFrame:
        """Return a frame of this epoch; SpoolError if it is not here, or damaged and set aside."""
        leaf = _leaf_of(stream, seq)
        return _found(self._read(self._epoch, leaf), self._epoch, leaf)

    def remove(self, stream: str, seq: int) -> None:
        """Let go of a frame of this epoch that the bus has; free of cost for one never added."""
        leaf = _leaf_of(stream, seq)
        if leaf in self._pending or leaf in self._unsure:
            self._delete(self._name(leaf))
            self._pending.drop(leaf)
            self._unsure.discard(leaf)

    def leftovers(self) -> Iterator[SpooledFrame]:
        """Yield the intact frames of all other epochs, by (epoch, stream, seq)."""
        epochs = self._other_epochs()
        for epoch in sorted(epochs):
            for leaf in _in_order(epochs[epoch]):
                frame = self._read(epoch, leaf)
                if frame is not None:
                    yield frame

    def forget(self, frame: SpooledFrame) -> None:
        """Let go of a leftover that the bus has now."""
        self._delete(self._name(_leaf(frame, frame.epoch), frame.epoch))

    def crashed_epochs(self) -> list[str]:
        """Name the other epochs whose marker is there, until they are acknowledged."""
        return sorted(epoch for epoch, leaves in self._other_epochs().items() if _MARKER in leaves)

    def acknowledge_crash(self, epoch: str) -> None:
        """Stop naming a crashed epoch; call it once `events` durably says so."""
        if epoch != self._epoch:
            self._delete(self._name(_MARKER, _checked_epoch(epoch)))

    def pending_frames(self) -> int:
        """Count the frames of this epoch in the spool."""
        return self._pending.frames

    def pending_bytes(self) -> int:
        """Sum their bytes."""
        return self._pending.bytes

    def close(self, *, clean: bool) -> None:
        """End this epoch, as a crash unless `clean`. Frames stay. Safe to call twice."""
        try:
            if clean:
                self._delete(self._name(_MARKER))
        finally:
            self._store.close()

    def _name(self, leaf: str, epoch: str | None = None) -> str:
        return f"{self._prefix}{epoch or self._epoch}/{leaf}"

    def _create(self, name: str, data: bytes) -> None:
        # Only this process makes names of this epoch, so one that exists is an earlier try of ours
        # that was stored and never answered.
        with contextlib.suppress(PreconditionFailedError):
            self._store.create(name, data)

    def _delete(self, name: str) -> None:
        with _spool_errors(f"spool object {name}: not removed"):
            self._store.delete(name)

    def _other_epochs(self) -> dict[str, set[str]]:
        """Group what is stored: epoch → leaves."""
        found: dict[str, set[str]] = {}
        with _spool_errors(f"spool objects {self._prefix!r}: not listed"):
            for name in self._store.names(self._prefix):
                epoch, _, leaf = name.removeprefix(self._prefix).partition("/")
                if leaf and epoch != self._epoch and _EPOCH.fullmatch(epoch):
                    found.setdefault(epoch, set()).add(leaf)
        return found

    def _read(self, epoch: str, leaf: str) -> SpooledFrame | None:
        name = self._name(leaf, epoch)
        with _spool_errors(f"spool object {name}: not read"):
            stored = self._store.read(name)
        if stored is None:
            return None  # another gateway was faster
        try:
            return _decode(stored.data, epoch, leaf)
        except SpoolError as error:
            self.bad_frames += 1
            _report_bad(name, error)
            with _spool_errors(f"spool object {name}: not set aside"):
                self._create(f"{name}.bad", stored.data)
            self._delete(name)
            return None


class _Pending:
    """Sizes of this epoch's frames in the spool, counted so that metrics cost nothing."""

    def __init__(self) -> None:
        self.frames = 0
        self.bytes = 0
        self._sizes: dict[str, int] = {}
        self._lock = threading.Lock()  # frames come from the publisher, removals from its answers

    def __contains__(self, leaf: str) -> bool:
        return leaf in self._sizes

    def put(self, leaf: str, size: int) -> None:
        with self._lock:
            self.bytes += size - self._sizes.get(leaf, 0)
            self._sizes[leaf] = size
            self.frames = len(self._sizes)

    def drop(self, leaf: str) -> None:
        with self._lock:
            self.bytes -= self._sizes.pop(leaf, 0)
            self.frames = len(self._sizes)


class _Header(msgspec.Struct, frozen=True):
    """What stands before the data. The identity is there so that a renamed file is noticed."""

    stream: str
    epoch: str
    seq: int
    attributes: dict[str, str]


def _encode(frame: SpooledFrame) -> bytes:
    attributes = dict(frame.message.attributes)
    header = msgspec.json.encode(_Header(frame.stream, frame.epoch, frame.seq, attributes))
    checksum = zlib.crc32(frame.message.data, zlib.crc32(header))
    preface = _PREFACE.pack(_MAGIC, checksum, len(header))
    return b"".join((preface, header, frame.message.data))


def _decode(stored: bytes, epoch: str, leaf: str) -> SpooledFrame:
    """Return the frame, or raise a SpoolError that says how it is damaged."""
    if len(stored) < _PREFACE.size or not stored.startswith(_MAGIC):
        raise SpoolError(f"{leaf}: {len(stored)} bytes without the head of a spooled frame")
    _, checksum, header_size = _PREFACE.unpack_from(stored)
    header_bytes = stored[_PREFACE.size : _PREFACE.size + header_size]
    data = stored[_PREFACE.size + header_size :]
    if zlib.crc32(data, zlib.crc32(header_bytes)) != checksum:
        raise SpoolError(f"{leaf}: checksum does not match, torn or changed")
    try:
        header = msgspec.json.decode(header_bytes, type=_Header)
    except msgspec.MsgspecError as error:
        raise SpoolError(f"{leaf}: header unreadable: {error}") from error
    if (header.epoch, _leaf_of(header.stream, header.seq)) != (epoch, leaf):
        raise SpoolError(f"{leaf}: holds {header.stream} {header.seq} of epoch {header.epoch}")
    return SpooledFrame(header.stream, header.epoch, header.seq, Message(data, header.attributes))


def _found(frame: SpooledFrame | None, epoch: str, leaf: str) -> SpooledFrame:
    if frame is None:
        raise SpoolError(f"spool: frame {leaf} of epoch {epoch} is not here, or was damaged")
    return frame


def _leaf(frame: SpooledFrame, epoch: str) -> str:
    """Name a frame of that epoch; ValueError for another's: that is a mistake in the program."""
    if frame.epoch != epoch:
        raise ValueError(f"{frame.stream} {frame.seq} is of epoch {frame.epoch}, not {epoch}")
    return _leaf_of(frame.stream, frame.seq)


def _leaf_of(stream: str, seq: int) -> str:
    leaf = f"{stream}.{seq:012d}"
    if not _LEAF.fullmatch(leaf):
        raise ValueError(f"stream {stream!r}, seq {seq}: not an identity of a frame")
    return leaf


def _checked_epoch(epoch: str) -> str:
    if not _EPOCH.fullmatch(epoch):
        raise ValueError(f"epoch {epoch!r}: use letters, digits, - and _ only")
    return epoch


def _in_order(leaves: Iterable[str]) -> list[str]:
    """Sort frames by (stream, seq), leaving out what is none. Text order would differ at 10¹²."""
    matches = [match for match in map(_LEAF.fullmatch, leaves) if match]
    return [match[0] for match in sorted(matches, key=lambda match: (match[1], int(match[2])))]


def _report_bad(place: object, error: Exception) -> None:
    get_logger("spool").error("spool_frame_bad", place=str(place), reason=str(error))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _spool_errors(what: str) -> Iterator[None]:
    """Say what failed, and why, as a SpoolError."""
    try:
        yield
    except OSError as error:
        raise SpoolError(f"{what}: {error}; free space or mend the disk") from error
    except ObjectError as error:
        raise SpoolError(f"{what}: {error}") from error
