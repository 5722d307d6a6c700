"""How long messages take to be received and to reach the bus: rows in, durations counted.

Once a frame and off the reading loop: a row costs a tenth of a microsecond.
"""

import pyarrow as pa

from quotewatch.clock import Clock
from quotewatch.frames import decode_carried
from quotewatch.message import Message
from quotewatch.metrics.latency import LATENCY, Sent, messages, until_received
from quotewatch.metrics.recorder import Recorder
from quotewatch.streams import FEATURES, RAW_ORDERBOOK, RAW_TRADES

_MESSAGES = frozenset({RAW_ORDERBOOK.name, RAW_TRADES.name})  # a row of these is one message


class Timing:
    """Counts the durations of one gateway."""

    def __init__(self, recorder: Recorder, clock: Clock) -> None:
        self._recorder = recorder
        self._clock = clock

    def received(self, stream: str, rows: pa.RecordBatch) -> Sent | None:
        """Count how long messages took to us; return when they were sent, if they are messages."""
        if stream not in _MESSAGES:
            return None
        told = messages(rows)
        took, ahead = until_received(told)
        self._recorder.observe_all(LATENCY, took, stamp="received")
        self._recorder.inc("pipeline_clock_ahead_total", ahead)
        return Sent(told.column("exchange_time"))

    def published(self, stream: str, message: Message, sent: Sent | None) -> None:
        """Count how long the messages of a frame took to the bus."""
        if stream not in _MESSAGES:
            return
        if sent is None:  # let go of while the bus was away
            sent = Sent(messages(decode_carried(message).rows).column("exchange_time"))
        now_us = self._clock.now_ns() // 1_000
        self._recorder.observe_all(LATENCY, sent.until(now_us), stamp="published")

    def encoded(self, stream: str, began: float) -> None:
        """Count how long a page of features took to become a frame."""
        if stream == FEATURES.name:
            seconds = self._clock.monotonic() - began
            self._recorder.observe(
                "pipeline_callback_duration_seconds", seconds, stage=FEATURES.name
            )
