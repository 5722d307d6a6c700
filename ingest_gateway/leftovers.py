"""What dead epochs left in the spool, published under its old identity."""

import threading

from ingest_gateway.backoff import Backoff
from ingest_gateway.publisher import Shared, count_published
from ingest_gateway.spool import Spool
from quotewatch.logs import get_logger

_log = get_logger("outbox")


class Leftovers:
    """Publishes leftovers on a thread of its own, until there are none."""

    def __init__(self, spool: Spool, shared: Shared) -> None:
        self._spool = spool
        self._shared = shared
        self.thread = threading.Thread(target=self._run, name="leftovers", daemon=True)

    def _run(self) -> None:
        backoff = Backoff()
        while not self._shared.stop.is_set():
            try:
                self._publish_all()
            except Exception as error:  # noqa: BLE001  # the task's outer edge: tried again
                _log.warning("leftovers_wait", error=str(error) or repr(error))
            else:
                return
            self._shared.pause(backoff.next_delay())

    def _publish_all(self) -> None:
        for frame in self._spool.leftovers():
            if self._shared.stop.is_set():
                return
            self._shared.publish(frame.stream, [frame.message])
            self._spool.forget(frame)
            count_published(self._shared.recorder, frame.stream, [len(frame.message.data)])
            _log.info("leftover_published", stream=frame.stream, epoch=frame.epoch, seq=frame.seq)
