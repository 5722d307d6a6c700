"""Follow the bus through subscriptions of its own: frames come in, a tally goes out.

The subscriptions `<stream>.console` are made on the SQLite bus only. They take nothing from any
other reader; what nobody follows any more waits in them.
"""

import time
from collections.abc import Callable

from quotewatch.bus.port import Bus, Subscription
from quotewatch.errors import FrameError
from quotewatch.local.tally import Tally
from quotewatch.streams import STREAMS

_AT_ONCE = 50  # frames a pull
_MOST_BYTES = 20_000_000  # of them


def console_subscription(stream: str) -> str:
    """Name the subscription the console reads a stream through."""
    return f"{stream}.console"


def console_subscriptions() -> list[Subscription]:
    """List what has to exist before the first frame is published."""
    return [Subscription(console_subscription(stream), stream) for stream in STREAMS]


class Tap:
    """Adds up what it finds on the bus, in turns as short as wanted."""

    def __init__(self, bus: Bus, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._bus = bus
        self._monotonic = monotonic
        self.tally = Tally()
        self.unreadable = 0

    def follow(self, seconds: float) -> bool:
        """Read what waits, for about so long; return whether there may be more."""
        ends = self._monotonic() + seconds
        more = True
        while more:
            more = sum(map(self._read, STREAMS)) > 0
            if self._monotonic() >= ends:
                return more
        return False

    def drain(self) -> None:
        """Read everything that waits."""
        while self.follow(60.0):
            pass

    def _read(self, stream: str) -> int:
        name = console_subscription(stream)
        deliveries = self._bus.pull(name, max_messages=_AT_ONCE, max_bytes=_MOST_BYTES)
        for delivery in deliveries:
            try:
                self.tally.add(delivery.message, delivery.published_ns)
            except FrameError:
                self.unreadable += 1  # the audit and the writer say more; here it must not repeat
        if deliveries:
            self._bus.ack(name, [delivery.ack_id for delivery in deliveries])
        return len(deliveries)
