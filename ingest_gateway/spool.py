"""Frames the bus does not have yet, kept where a dying process cannot take them along.

In: frames before they are published (directory) or once publishing fails (objects). Out, after a
restart: every frame whose `add` returned and that was not removed, at least once, with its old
identity. Lost when the process dies: nothing. Lost when the machine dies: at most the newest
SYNC_FRAMES frames of a directory; nothing of objects.
"""

from collections.abc import Iterator
from typing import Protocol

from ingest_gateway.directory_spool import DirectorySpool
from ingest_gateway.object_spool import ObjectSpool
from ingest_gateway.spool_codec import SpooledFrame
from quotewatch.objects.opening import local_path, open_objects

__all__ = ["DirectorySpool", "ObjectSpool", "Spool", "SpooledFrame", "open_spool"]


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
