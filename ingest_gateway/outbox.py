"""Closed pages in, frames on the bus out; nothing accepted is lost while bus or spool can take it.

Each stream has a thread that encodes and spools and one that publishes: reading the feed waits for
neither, and features never for a large page of the book. What is accepted is bounded in bytes;
where there is no room the gateway drops a page and writes the loss down.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping

from ingest_gateway.encoding import Encoding, Loss, Outgoing
from ingest_gateway.keeper import Keeper
from ingest_gateway.leftovers import Leftovers
from ingest_gateway.pages import Page
from ingest_gateway.publisher import Publisher, Shared
from ingest_gateway.repairs import Repairs
from ingest_gateway.spool import Spool
from quotewatch.bus.port import Bus
from quotewatch.clock import Clock
from quotewatch.metrics.recorder import Recorder
from quotewatch.streams import CAPTURED, FEATURES

_SHARE_TO_PUBLISH = 0.6  # of the time to drain; the rest is for the spool
_CLOSE_SECONDS = 0.5  # a thread within a publish call is left behind: its frames are in the spool

Published = Callable[[], None]
Handed = tuple[Page, float, Published | None]  # with the time its window closed


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
        self._clock = clock
        self._keeper = Keeper(spool, recorder, memory_bytes)
        self._recorder = recorder
        self._encodings = {stream: Encoding(stream, epoch, producer) for stream in CAPTURED}
        self._pages: dict[str, queue.SimpleQueue[Handed | None]] = {
            stream: queue.SimpleQueue() for stream in CAPTURED
        }
        self._unencoded = 0  # pages handed over and not yet frames, under `changed`
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self.losses: deque[Loss] = deque()  # for the gateway to write down
        repairs = Repairs(repair)  # for a bus that refuses: an emulator that forgot us
        shared = Shared(
            bus, self._keeper, repairs, recorder, clock, self._changed, self._stop, self.losses
        )
        self._publishers = {stream: Publisher(stream, shared) for stream in CAPTURED}
        self._threads = [
            *(
                threading.Thread(target=self._encode_all, args=(stream,), daemon=True)
                for stream in CAPTURED
            ),
            Leftovers(spool, shared).thread,
            *(publisher.thread for publisher in self._publishers.values()),
        ]

    def start(self) -> None:
        """Begin to encode and publish."""
        for thread in self._threads:
            thread.start()

    def offer(self, page: Page, published: Published | None = None) -> None:
        """Take a page that there is room for; call back once the bus has all of it."""
        self._keeper.hold(page.held_bytes)
        with self._changed:
            self._unencoded += 1
        self._pages[page.stream].put((page, self._clock.monotonic(), published))

    def has_room(self) -> bool:
        """Whether another page may be offered."""
        return self._keeper.has_room()

    @property
    def held_bytes(self) -> int:
        """Bytes in memory that the bus does not have."""
        return self._keeper.held_bytes

    @property
    def failing_streams(self) -> list[str]:
        """The streams whose last publish failed."""
        publishers = self._publishers.values()
        return [each.stream for each in publishers if each.failing_since is not None]

    def next_seq(self, stream: str) -> int:
        """Return the number that the next frame of the stream will carry."""
        return self._encodings[stream].next_seq

    def finish_encoding(self, timeout_seconds: float) -> bool:
        """Wait until every page offered is frames or a loss; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._unencoded, timeout_seconds)

    def drain(self, timeout_seconds: float) -> bool:
        """Wait until the bus has everything; put the rest into the spool. Return if all is safe."""
        deadline = self._clock.monotonic() + timeout_seconds
        with self._changed:
            self._changed.wait_for(self._is_empty, timeout_seconds * _SHARE_TO_PUBLISH)
            waiting = [frame for each in self._publishers.values() for frame in each.frames]
            encoded = not self._unencoded
        keep = self._keeper.keep
        kept = [self._clock.monotonic() < deadline and keep(frame) for frame in waiting]
        return encoded and all(kept) and not self.losses

    def close(self) -> None:
        """Stop the threads; what they hold stays in the spool."""
        with self._changed:
            self._stop.set()
            self._changed.notify_all()
        for pages in self._pages.values():
            pages.put(None)
        deadline = self._clock.monotonic() + _CLOSE_SECONDS
        for thread in self._threads:
            thread.join(timeout=max(0.0, deadline - self._clock.monotonic()))

    def _is_empty(self) -> bool:
        return not self._unencoded and not any(each.frames for each in self._publishers.values())

    def _encode_all(self, stream: str) -> None:
        pages, encoding = self._pages[stream], self._encodings[stream]
        while (handed := pages.get()) is not None:
            page, closed, published = handed
            began = self._clock.monotonic()
            frames: list[Outgoing] = []
            for made in encoding.encode(page, closed):
                if isinstance(made, Loss):
                    self.losses.append(made)
                    continue
                self._keeper.hold(made.size)
                if self._keeper.eager:
                    self._keeper.keep(made)
                frames.append(made)
            self._keeper.hold(-page.held_bytes)
            if stream == FEATURES.name:
                self._time(began)
            self._hand_on(stream, frames, published)

    def _time(self, began: float) -> None:
        seconds = self._clock.monotonic() - began
        self._recorder.observe("pipeline_callback_duration_seconds", seconds, stage="features")

    def _hand_on(self, stream: str, frames: list[Outgoing], published: Published | None) -> None:
        publisher = self._publishers[stream]
        with self._changed:
            self._unencoded -= 1
            for frame in frames:
                publisher.append(frame, published if frame is frames[-1] else None)
            self._changed.notify_all()


def producer_name(environment: Mapping[str, str], host: str) -> str:
    """Name this producer for those who look at a frame: where it runs."""
    return environment.get("K_REVISION") or f"gateway@{host}"
