"""Holds frames until the bus has them: in memory, bounded, and in the spool beside it."""

import threading
from collections.abc import Sequence

from ingest_gateway.encoding import Outgoing
from ingest_gateway.spool import Spool, SpooledFrame
from quotewatch.errors import SpoolError
from quotewatch.logs import get_logger
from quotewatch.message import Message
from quotewatch.metrics.recorder import Recorder

_SHED_SHARE = 4  # above this part of the memory, messages that the spool has are let go of

_log = get_logger("outbox")


class Keeper:
    """Counts what memory holds and moves frames between it and the spool."""

    def __init__(self, spool: Spool, recorder: Recorder, memory_bytes: int) -> None:
        self._spool = spool
        self._recorder = recorder
        self._memory_bytes = memory_bytes
        self._held_bytes = 0
        self._counting = threading.Lock()
        self._keeping = threading.Lock()

    @property
    def eager(self) -> bool:
        """Whether every frame goes to the spool before it is published."""
        return self._spool.eager

    @property
    def held_bytes(self) -> int:
        """Bytes in memory that the bus does not have."""
        return self._held_bytes

    def has_room(self) -> bool:
        """Whether memory may take more."""
        return self._held_bytes < self._memory_bytes

    def hold(self, size: int) -> None:
        """Count bytes that memory takes, or with a minus lets go of."""
        with self._counting:
            self._held_bytes += size

    def keep(self, frame: Outgoing) -> bool:
        """Put a frame into the spool unless it is there; return whether it is safe."""
        if frame.spooled or frame.message is None:
            return True
        identity = frame.id
        spooled = SpooledFrame(identity.stream, identity.epoch, identity.seq, frame.message)
        try:
            with self._keeping:  # draining and publishing may both want to keep a frame
                if not frame.spooled:
                    self._spool.add(spooled)
        except SpoolError as error:
            self._recorder.inc("gateway_spool_failures_total")
            _log.error("spool_failed", stream=identity.stream, seq=identity.seq, error=str(error))
            return False
        frame.spooled = True
        return True

    def load(self, frame: Outgoing) -> Message | None:
        """Return the message, from the spool where memory let go of it; None where it cannot.

        What the spool cannot read now, the next start may: the file stays.
        """
        message = frame.message
        if message is not None:
            return message
        identity = frame.id
        try:
            return self._spool.read(identity.stream, identity.seq).message
        except SpoolError as error:
            _log.error(
                "spool_unreadable", stream=identity.stream, seq=identity.seq, error=str(error)
            )
            return None

    def forget(self, frame: Outgoing) -> None:
        """Let go of a frame that the bus has."""
        if frame.message is not None:
            self.hold(-frame.size)
        try:
            self._spool.remove(frame.id.stream, frame.id.seq)
        except SpoolError as error:
            # It is published again after a restart, with its old identity: a duplicate, no loss.
            _log.warning("spool_failed", stream=frame.id.stream, seq=frame.id.seq, error=str(error))

    def shed(self, frames: Sequence[Outgoing]) -> None:
        """Let go of messages that the spool has, once much of the memory is used."""
        for frame in reversed(frames):  # the oldest are needed first
            if self._held_bytes < self._memory_bytes // _SHED_SHARE:
                return
            if frame.spooled and frame.message is not None:
                frame.message = None
                self.hold(-frame.size)
