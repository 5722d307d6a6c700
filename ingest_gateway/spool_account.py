"""What both spools keep account of: what waits, what was damaged, what failed and why."""

import contextlib
import threading
from collections.abc import Iterator

from ingest_gateway.spool_codec import SpooledFrame
from quotewatch.errors import ObjectError, SpoolError
from quotewatch.logs import get_logger

MARKER = "open"  # stands in an epoch's place until the epoch is closed cleanly


class Pending:
    """Sizes of this epoch's frames in the spool, counted so that metrics cost nothing."""

    def __init__(self) -> None:
        self.frames = 0
        self.bytes = 0
        self._sizes: dict[str, int] = {}
        self._lock = threading.Lock()  # frames come from the publisher, removals from its answers

    def __contains__(self, leaf: str) -> bool:
        return leaf in self._sizes

    def put(self, leaf: str, size: int) -> None:
        """Count a frame; one tried again is counted once."""
        with self._lock:
            self.bytes += size - self._sizes.get(leaf, 0)
            self._sizes[leaf] = size
            self.frames = len(self._sizes)

    def drop(self, leaf: str) -> None:
        """Count a frame no longer; unknown ones are ignored."""
        with self._lock:
            self.bytes -= self._sizes.pop(leaf, 0)
            self.frames = len(self._sizes)


def present(frame: SpooledFrame | None, epoch: str, leaf: str) -> SpooledFrame:
    """Return the frame, or say with a SpoolError that there is none."""
    if frame is None:
        raise SpoolError(f"spool: frame {leaf} of epoch {epoch} is not here, or was damaged")
    return frame


def report_bad(place: object, error: Exception) -> None:
    """Log that a damaged frame was met."""
    get_logger("spool").error("spool_frame_bad", place=str(place), reason=str(error))


@contextlib.contextmanager
def spool_errors(what: str) -> Iterator[None]:
    """Say what failed, and why, as a SpoolError."""
    try:
        yield
    except OSError as error:
        raise SpoolError(f"{what}: {error}; free space or mend the disk") from error
    except ObjectError as error:
        raise SpoolError(f"{what}: {error}") from error
