"""Mend a bus that forgot its topics while nobody publishes to it: what it takes, it keeps."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from quotewatch.errors import BusError


class Repairs:
    """Many publish at once; a repair waits for them to end and holds the next ones up.

    A topic is there before its subscription is, and what is published between the two is taken,
    acknowledged and dropped. A call that retries by itself would hit that moment by chance.
    """

    def __init__(self, repair: Callable[[], bool]) -> None:
        self._repair = repair  # returns whether topics and subscriptions are there now
        self._publishing = 0
        self._repairing = False
        self._repaired = 0  # how often it worked
        self._changed = threading.Condition()

    @contextmanager
    def publishing(self) -> Iterator[int]:
        """Publish within this; it yields what `mend` has to know of when that was."""
        with self._changed:
            self._changed.wait_for(lambda: not self._repairing)
            self._publishing += 1
            repaired = self._repaired
        try:
            yield repaired
        finally:
            with self._changed:
                self._publishing -= 1
                self._changed.notify_all()

    def mend(self, repaired: int) -> bool:
        """Repair, unless somebody has since; return whether another try is worth while."""
        with self._changed:
            self._changed.wait_for(lambda: not self._repairing)
            if self._repaired > repaired:
                return True
            self._repairing = True
            self._changed.wait_for(lambda: not self._publishing)
        mended = False
        try:
            mended = self._repair()
        except BusError:
            mended = False
        finally:
            with self._changed:
                self._repairing = False
                self._repaired += mended
                self._changed.notify_all()
        return mended
