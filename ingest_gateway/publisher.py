"""The frames of one stream, oldest first, onto the bus: tried until the bus has them."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ingest_gateway.backoff import Backoff
from ingest_gateway.encoding import Loss, Outgoing
from ingest_gateway.keeper import Keeper
from ingest_gateway.repairs import Repairs
from quotewatch.bus.port import Bus
from quotewatch.clock import Clock
from quotewatch.errors import BusError, BusUnavailableError, is_retryable
from quotewatch.logs import get_logger
from quotewatch.message import Message
from quotewatch.metrics.recorder import Recorder

PUBLISH_SECONDS = 5.0  # a publish that takes longer has failed and is tried again
_AT_ONCE = 50  # frames a publish call
_AT_ONCE_BYTES = 8_000_000
_SPOOL_AFTER_SECONDS = 2.0  # where the disk is memory, frames go to the bucket after this
_REFUSED_SECONDS = 5.0  # a bus that refuses needs its operator, not haste

_log = get_logger("outbox")


@dataclass(frozen=True, slots=True)
class Shared:
    """What all publishers of one outbox share."""

    bus: Bus
    keeper: Keeper
    repairs: Repairs
    recorder: Recorder
    clock: Clock
    changed: threading.Condition
    stop: threading.Event
    losses: deque[Loss]

    def publish(self, stream: str, messages: Sequence[Message]) -> None:
        """Publish, mending a bus that forgot its topics."""
        try:
            with self.repairs.publishing() as repaired:
                self.bus.publish(stream, messages, timeout_seconds=PUBLISH_SECONDS)
        except BusError as error:
            if is_retryable(error) or not self.repairs.mend(repaired):
                raise
            raise BusUnavailableError(f"{error}; repaired, to be tried again") from error

    def pause(self, seconds: float) -> None:
        """Wait so long, or until all is told to stop."""
        with self.changed:
            self.changed.wait_for(self.stop.is_set, seconds)


class Publisher:
    """Publishes one stream on a thread of its own: a slow topic holds up no other."""

    def __init__(self, stream: str, shared: Shared) -> None:
        self.stream = stream
        self.frames: deque[Outgoing] = deque()  # under `changed`
        self.failing_since: float | None = None
        self._shared = shared
        self._backoff = Backoff(first_seconds=0.1, longest_seconds=2.0)
        self._callbacks: dict[int, Callable[[], None]] = {}  # by seq
        self.thread = threading.Thread(target=self._run, name=stream, daemon=True)

    def append(self, frame: Outgoing, published: Callable[[], None] | None = None) -> None:
        """Take a frame, under `changed`; call back once the bus has it."""
        self.frames.append(frame)
        if published is not None:
            self._callbacks[frame.id.seq] = published

    def _run(self) -> None:
        keeper, clock = self._shared.keeper, self._shared.clock
        while frames := self._next_frames():
            loaded = [(frame, keeper.load(frame)) for frame in frames]
            self._give_up([frame for frame, message in loaded if message is None])
            ready = [(frame, message) for frame, message in loaded if message is not None]
            began = clock.monotonic()
            try:
                if ready:
                    self._shared.publish(self.stream, [message for _, message in ready])
            except Exception as error:  # noqa: BLE001  # the task's outer edge: tried again
                self._fail(error, began)
            else:
                self._settle([frame for frame, _ in ready])

    def _next_frames(self) -> list[Outgoing]:
        """Wait for frames and return some, oldest first; nothing once all is told to stop."""
        changed, stop = self._shared.changed, self._shared.stop
        with changed:
            changed.wait_for(lambda: self.frames or stop.is_set())
            if stop.is_set():
                return []
            chosen: list[Outgoing] = []
            size = 0
            for frame in self.frames:
                size += frame.size
                if len(chosen) == _AT_ONCE or (chosen and size > _AT_ONCE_BYTES):
                    break
                chosen.append(frame)
            return chosen

    def _give_up(self, frames: Sequence[Outgoing]) -> None:
        """Go on without frames that the spool cannot give back now."""
        with self._shared.changed:
            for frame in frames:
                self.frames.remove(frame)
            self._shared.changed.notify_all()
        for frame in frames:
            self._shared.losses.append(Loss(self.stream, frame.rows, "spool_unreadable", ()))

    def _settle(self, frames: Sequence[Outgoing]) -> None:
        if self.failing_since is not None:
            _log.info("publish_recovered", stream=self.stream, waiting=len(self.frames))
            self.failing_since = None
            self._backoff.reset()
        now = self._shared.clock.monotonic()
        for frame in frames:
            self._shared.recorder.observe("gateway_publish_seconds", now - frame.closed)
            self._shared.keeper.forget(frame)
        count_published(self._shared.recorder, self.stream, [frame.size for frame in frames])
        with self._shared.changed:
            for _ in frames:
                self.frames.popleft()
            callbacks = [self._callbacks.pop(frame.id.seq, None) for frame in frames]
            self._shared.changed.notify_all()
        for callback in callbacks:
            if callback is not None:
                callback()

    def _fail(self, error: Exception, began: float) -> None:
        """Note the failure, make the frames safe, and wait before the next try."""
        keeper, clock = self._shared.keeper, self._shared.clock
        self._shared.recorder.inc("gateway_publish_failures_total")
        if self.failing_since is None:
            self.failing_since = began  # a bus that is gone shows only when the call gives up
            _log.error("publish_failed", stream=self.stream, error=str(error) or repr(error))
        if keeper.eager or clock.monotonic() - self.failing_since >= _SPOOL_AFTER_SECONDS:
            with self._shared.changed:
                waiting = list(self.frames)
            for frame in waiting:
                keeper.keep(frame)
            keeper.shed(waiting)
        retry = is_retryable(error)
        self._shared.pause(self._backoff.next_delay() if retry else _REFUSED_SECONDS)


def count_published(recorder: Recorder, stream: str, sizes: Sequence[int]) -> None:
    """Count frames that the bus has."""
    recorder.inc("gateway_frames_published_total", len(sizes), stream=stream)
    recorder.inc("gateway_bytes_published_total", sum(sizes), stream=stream)
