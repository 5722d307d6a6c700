"""Closed pages in, frames on the bus out; nothing accepted is lost while bus or spool can take it.

One thread encodes and spools, one thread a stream publishes: reading the feed never waits for
either, and a slow topic holds up no other. What is accepted is bounded in bytes; beyond that
`offer` refuses and the gateway writes the loss down.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ingest_gateway.backoff import Backoff
from ingest_gateway.repairs import Repairs
from ingest_gateway.spool import Spool, SpooledFrame
from ingest_gateway.tape import Page
from quotewatch.bus.port import Bus
from quotewatch.clock import Clock
from quotewatch.errors import BusError, BusUnavailableError, SpoolError, is_retryable
from quotewatch.frames import Frame, FrameEncoder, FrameId
from quotewatch.logs import get_logger
from quotewatch.message import Message
from quotewatch.metrics.recorder import Recorder
from quotewatch.streams import STREAMS

PUBLISH_SECONDS = 5.0  # a publish that takes longer has failed and is tried again
_AT_ONCE = 50  # frames a publish call
_AT_ONCE_BYTES = 8_000_000
_SPOOL_AFTER_SECONDS = 2.0  # where the disk is memory, frames go to the bucket after this
_SHARE_TO_PUBLISH = 0.6  # of the time to drain; the rest is for the spool
_CLOSE_SECONDS = 0.5  # a thread within a publish call is left behind: its frames are in the spool
_REFUSED_SECONDS = 5.0  # a bus that refuses needs its operator, not haste

_log = get_logger("outbox")


@dataclass(slots=True)
class Outgoing:
    """One frame on its way. Its message is let go of when memory is short and the spool has it."""

    id: FrameId
    message: Message | None
    size: int
    rows: int
    closed: float  # monotonic time at which its window closed
    spooled: bool


@dataclass(frozen=True, slots=True)
class Loss:
    """Rows that will not reach the bus, and the products they are of; none named: any."""

    stream: str
    count: int
    reason: str
    products: Sequence[str]


class Outbox:
    """Takes pages on the loop's thread; everything else happens on threads of its own."""

    def __init__(
        self,
        bus: Bus,
        spool: Spool,
        recorder: Recorder,
        clock: Clock,
        *,
        epoch: str,
        producer: str,
        memory_bytes: int,
        repair: Callable[[], bool] = lambda: False,
    ) -> None:
        self._bus = bus
        self._spool = spool
        self._recorder = recorder
        self._clock = clock
        self._epoch = epoch
        self._producer = producer
        self._memory_bytes = memory_bytes
        self._repairs = Repairs(repair)  # for a bus that refuses: an emulator that forgot us
        self._held_bytes = 0
        self._pages: queue.SimpleQueue[tuple[Page, int, float] | None] = queue.SimpleQueue()
        self._encoding = 0
        self._lanes = {stream: _Lane() for stream in STREAMS}
        self._changed = threading.Condition()
        self._keeping = threading.Lock()
        self._stop = threading.Event()
        self._callbacks: dict[FrameId, Callable[[], None]] = {}
        self.losses: deque[Loss] = deque()  # for the gateway to write down
        self._threads = [
            threading.Thread(target=self._encode_all, name="encode", daemon=True),
            threading.Thread(target=self._publish_leftovers, name="leftovers", daemon=True),
            *(
                threading.Thread(target=self._publish_all, args=(stream,), name=stream, daemon=True)
                for stream in STREAMS
            ),
        ]

    def start(self) -> None:
        """Begin to encode and publish."""
        for thread in self._threads:
            thread.start()

    def offer(self, page: Page, seq: int) -> None:
        """Take a page that `has_room` made way for, under the identity given."""
        with self._changed:
            self._held_bytes += page.held_bytes
            self._encoding += 1
        self._pages.put((page, seq, self._clock.monotonic()))

    def has_room(self) -> bool:
        """Whether another page may be offered."""
        return self._held_bytes < self._memory_bytes

    @property
    def held_bytes(self) -> int:
        """Bytes in memory that the bus does not have."""
        return self._held_bytes

    @property
    def failing_streams(self) -> list[str]:
        """The streams whose last publish failed."""
        return [stream for stream, lane in self._lanes.items() if lane.failing_since is not None]

    def when_published(self, frame: FrameId, callback: Callable[[], None]) -> None:
        """Call back, on a publishing thread, once the bus has the frame."""
        with self._changed:
            self._callbacks[frame] = callback

    def drain(self, timeout_seconds: float) -> bool:
        """Wait until the bus has everything; put the rest into the spool. Return if all is safe."""
        deadline = self._clock.monotonic() + timeout_seconds
        with self._changed:
            self._changed.wait_for(self._is_empty, timeout_seconds * _SHARE_TO_PUBLISH)
            waiting = [frame for lane in self._lanes.values() for frame in lane.frames]
            encoded = not self._encoding
        kept = [self._clock.monotonic() < deadline and self._keep(frame) for frame in waiting]
        return encoded and all(kept)

    def close(self) -> None:
        """Stop the threads; what they hold stays in the spool."""
        with self._changed:
            self._stop.set()
            self._changed.notify_all()
        self._pages.put(None)
        deadline = self._clock.monotonic() + _CLOSE_SECONDS
        for thread in self._threads:
            thread.join(timeout=max(0.0, deadline - self._clock.monotonic()))

    def _is_empty(self) -> bool:
        return not self._encoding and not any(lane.frames for lane in self._lanes.values())

    # Encoding

    def _encode_all(self) -> None:
        encoder = FrameEncoder()
        while (item := self._pages.get()) is not None:
            page, seq, closed = item
            outgoing = self._encode(encoder, page, seq, closed)
            with self._changed:
                self._encoding -= 1
                self._held_bytes -= page.held_bytes
                if outgoing is not None:
                    self._held_bytes += outgoing.size
                    self._lanes[page.stream].frames.append(outgoing)
                self._changed.notify_all()

    def _encode(
        self, encoder: FrameEncoder, page: Page, seq: int, closed: float
    ) -> Outgoing | None:
        identity = FrameId(page.stream, self._epoch, seq)
        try:
            message = encoder.encode(
                Frame(
                    identity,
                    self._producer,
                    page.build(),
                    page.first_received_us * 1_000,
                    page.last_received_us * 1_000,
                )
            )
        except Exception as error:  # noqa: BLE001  # the task's outer edge: written down as a loss
            _log.error("encode_failed", stream=page.stream, seq=seq, error=repr(error))
            self.losses.append(Loss(page.stream, page.count, "encode_failed", page.products()))
            return None
        outgoing = Outgoing(identity, message, len(message.data), page.count, closed, spooled=False)
        if self._spool.eager:
            self._keep(outgoing)
        return outgoing

    def _keep(self, frame: Outgoing) -> bool:
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

    # Publishing

    def _publish_all(self, stream: str) -> None:
        lane = self._lanes[stream]
        while frames := self._next_frames(lane):
            loaded = [(frame, message) for frame in frames if (message := self._load(lane, frame))]
            began = self._clock.monotonic()
            try:
                self._publish(stream, [message for _, message in loaded])
            except Exception as error:  # noqa: BLE001  # the task's outer edge: tried again
                self._fail(stream, lane, error, began)
            else:
                self._settle(stream, lane, [frame for frame, _ in loaded])

    def _next_frames(self, lane: "_Lane") -> list[Outgoing]:
        """Wait for frames and return some, oldest first; nothing once all is told to stop."""
        with self._changed:
            self._changed.wait_for(lambda: lane.frames or self._stop.is_set())
            if self._stop.is_set():
                return []
            chosen: list[Outgoing] = []
            size = 0
            for frame in lane.frames:
                size += frame.size
                if len(chosen) == _AT_ONCE or (chosen and size > _AT_ONCE_BYTES):
                    break
                chosen.append(frame)
            return chosen

    def _load(self, lane: "_Lane", frame: Outgoing) -> Message | None:
        """Return the message, from the spool where memory let go of it; None gives the frame up.

        What the spool cannot read now, the next start may: the file stays.
        """
        if frame.message is not None:
            return frame.message
        try:
            return self._spool.read(frame.id.stream, frame.id.seq).message
        except SpoolError as error:
            _log.error(
                "spool_unreadable", stream=frame.id.stream, seq=frame.id.seq, error=str(error)
            )
        with self._changed:
            lane.frames.remove(frame)
            self._changed.notify_all()
        self.losses.append(Loss(frame.id.stream, frame.rows, "spool_unreadable", ()))
        return None

    def _publish(self, stream: str, messages: list[Message]) -> None:
        if not messages:
            return
        try:
            with self._repairs.publishing() as repaired:
                self._bus.publish(stream, messages, timeout_seconds=PUBLISH_SECONDS)
        except BusError as error:
            if is_retryable(error) or not self._repairs.mend(repaired):
                raise
            raise BusUnavailableError(f"{error}; repaired, to be tried again") from error

    def _settle(self, stream: str, lane: "_Lane", frames: list[Outgoing]) -> None:
        if lane.failing_since is not None:
            _log.info("publish_recovered", stream=stream, waiting=len(lane.frames))
            lane.failing_since = None
            lane.backoff.reset()
        now = self._clock.monotonic()
        with self._changed:
            for frame in frames:
                lane.frames.popleft()
                self._held_bytes -= frame.size if frame.message is not None else 0
            callbacks = [self._callbacks.pop(frame.id, None) for frame in frames]
            self._changed.notify_all()
        for frame in frames:
            self._recorder.observe("gateway_publish_seconds", now - frame.closed)
            self._forget(frame)
        self._recorder.inc("gateway_frames_published_total", len(frames), stream=stream)
        self._recorder.inc(
            "gateway_bytes_published_total", sum(frame.size for frame in frames), stream=stream
        )
        for callback in callbacks:
            if callback is not None:
                callback()

    def _forget(self, frame: Outgoing) -> None:
        try:
            self._spool.remove(frame.id.stream, frame.id.seq)
        except SpoolError as error:
            # It is published again after a restart, with its old identity: a duplicate, no loss.
            _log.warning("spool_failed", stream=frame.id.stream, seq=frame.id.seq, error=str(error))

    def _fail(self, stream: str, lane: "_Lane", error: Exception, began: float) -> None:
        """Note the failure, make the frames safe, and wait before the next try."""
        now = self._clock.monotonic()
        self._recorder.inc("gateway_publish_failures_total")
        if lane.failing_since is None:
            lane.failing_since = began  # a bus that is gone shows only when the call gives up
            _log.error("publish_failed", stream=stream, error=str(error) or repr(error))
        if self._spool.eager or now - lane.failing_since >= _SPOOL_AFTER_SECONDS:
            with self._changed:
                waiting = list(lane.frames)
            for frame in waiting:
                self._keep(frame)
            self._shed(waiting)
        delay = lane.backoff.next_delay() if is_retryable(error) else _REFUSED_SECONDS
        with self._changed:
            self._changed.wait_for(self._stop.is_set, delay)

    def _shed(self, frames: list[Outgoing]) -> None:
        """Let go of messages that the spool has once a quarter of the memory is used."""
        with self._changed:
            for frame in reversed(frames):  # the oldest are needed first
                if self._held_bytes < self._memory_bytes // 4:
                    return
                if frame.spooled and frame.message is not None:
                    frame.message = None
                    self._held_bytes -= frame.size

    # What an earlier process left behind

    def _publish_leftovers(self) -> None:
        """Publish what dead epochs left in the spool, under its old identity."""
        backoff = Backoff()
        while not self._stop.is_set():
            try:
                for frame in self._spool.leftovers():
                    if self._stop.is_set():
                        return
                    self._publish(frame.stream, [frame.message])
                    self._spool.forget(frame)
                    size = len(frame.message.data)
                    self._recorder.inc("gateway_frames_published_total", stream=frame.stream)
                    self._recorder.inc("gateway_bytes_published_total", size, stream=frame.stream)
                    _log.info(
                        "leftover_published", stream=frame.stream, epoch=frame.epoch, seq=frame.seq
                    )
            except Exception as error:  # noqa: BLE001  # the task's outer edge: tried again
                _log.warning("leftovers_wait", error=str(error) or repr(error))
            else:
                return
            with self._changed:
                self._changed.wait_for(self._stop.is_set, backoff.next_delay())


class _Lane:
    """The frames of one stream that wait for the bus, oldest first."""

    def __init__(self) -> None:
        self.frames: deque[Outgoing] = deque()
        self.failing_since: float | None = None
        self.backoff = Backoff(first_seconds=0.1, longest_seconds=2.0)


def producer_name(environment: Mapping[str, str], host: str) -> str:
    """Name this producer for those who look at a frame: where it runs."""
    return environment.get("K_REVISION") or f"gateway@{host}"
