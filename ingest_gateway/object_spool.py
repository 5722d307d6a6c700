"""The spool in a bucket: one object per frame, created once publishing has failed.

Lost when the process or its machine dies: nothing whose `add` returned.
"""

import contextlib
from collections.abc import Iterator

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
from quotewatch.errors import PreconditionFailedError, SpoolError
from quotewatch.objects.port import ObjectStore


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
        self._epoch = checked_epoch(epoch)
        self._pending = Pending()
        self._unsure: set[str] = set()  # frames whose create was never answered: perhaps there
        with spool_errors(f"spool epoch {epoch} cannot start"):
            self._create(self._name(MARKER), b"")

    def add(self, frame: SpooledFrame) -> None:
        """Keep one frame of this epoch; on SpoolError nothing partial is left."""
        leaf = leaf_name(frame, self._epoch)
        data = encode(frame)
        self._unsure.add(leaf)
        with spool_errors(f"spool object {self._name(leaf)}: {len(data)} bytes not kept"):
            self._create(self._name(leaf), data)
        self._pending.put(leaf, len(data))
        self._unsure.discard(leaf)

    def read(self, stream: str, seq: int) -> SpooledFrame:
        """Return a frame of this epoch; SpoolError if it is not here, or damaged and set aside."""
        leaf = leaf_of(stream, seq)
        return present(self._read(self._epoch, leaf), self._epoch, leaf)

    def remove(self, stream: str, seq: int) -> None:
        """Let go of a frame of this epoch that the bus has; free of cost for one never added."""
        leaf = leaf_of(stream, seq)
        if leaf in self._pending or leaf in self._unsure:
            self._delete(self._name(leaf))
            self._pending.drop(leaf)
            self._unsure.discard(leaf)

    def leftovers(self) -> Iterator[SpooledFrame]:
        """Yield the intact frames of all other epochs, by (epoch, stream, seq)."""
        epochs = self._other_epochs()
        for epoch in sorted(epochs):
            for leaf in in_order(epochs[epoch]):
                frame = self._read(epoch, leaf)
                if frame is not None:
                    yield frame

    def forget(self, frame: SpooledFrame) -> None:
        """Let go of a leftover that the bus has now."""
        self._delete(self._name(leaf_name(frame, frame.epoch), frame.epoch))

    def crashed_epochs(self) -> list[str]:
        """Name the other epochs whose marker is there, until they are acknowledged."""
        return sorted(epoch for epoch, leaves in self._other_epochs().items() if MARKER in leaves)

    def acknowledge_crash(self, epoch: str) -> None:
        """Stop naming a crashed epoch; call it once `events` durably says so."""
        if epoch != self._epoch:
            self._delete(self._name(MARKER, checked_epoch(epoch)))

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
                self._delete(self._name(MARKER))
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
        with spool_errors(f"spool object {name}: not removed"):
            self._store.delete(name)

    def _other_epochs(self) -> dict[str, set[str]]:
        """Group what is stored: epoch → leaves."""
        found: dict[str, set[str]] = {}
        with spool_errors(f"spool objects {self._prefix!r}: not listed"):
            for name in self._store.names(self._prefix):
                epoch, _, leaf = name.removeprefix(self._prefix).partition("/")
                if leaf and epoch != self._epoch and EPOCH.fullmatch(epoch):
                    found.setdefault(epoch, set()).add(leaf)
        return found

    def _read(self, epoch: str, leaf: str) -> SpooledFrame | None:
        name = self._name(leaf, epoch)
        with spool_errors(f"spool object {name}: not read"):
            stored = self._store.read(name)
        if stored is None:
            return None  # another gateway was faster
        try:
            return decode(stored.data, epoch, leaf)
        except SpoolError as error:
            self.bad_frames += 1
            report_bad(name, error)
            with spool_errors(f"spool object {name}: not set aside"):
                self._create(f"{name}.bad", stored.data)
            self._delete(name)
            return None
