"""Pages in, numbered frames out: without holes, and small enough for the bus.

What cannot become a frame is a loss with a reason; the rows beside it are not lost with it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from ingest_gateway.pages import Page
from quotewatch.errors import FrameTooLargeError
from quotewatch.frames import Frame, FrameEncoder, FrameId
from quotewatch.logs import get_logger
from quotewatch.message import Message

_log = get_logger("outbox")


@dataclass(slots=True)
class Outgoing:
    """One frame on its way. Its message is let go of when memory is short and the spool has it."""

    id: FrameId
    message: Message | None
    size: int
    rows: int
    closed: float  # monotonic time at which its window closed
    spooled: bool = False


@dataclass(frozen=True, slots=True)
class Loss:
    """Rows that will not reach the bus, and the products they are of; none named: any."""

    stream: str
    count: int
    reason: str
    products: Sequence[str]


class Encoding:
    """Makes the frames of one stream and numbers them: a page that fails leaves no hole."""

    def __init__(self, stream: str, epoch: str, producer: str) -> None:
        self._stream = stream
        self._epoch = epoch
        self._producer = producer
        self._encoder = FrameEncoder()
        self.next_seq = 0

    def encode(self, page: Page, closed: float) -> Iterator[Outgoing | Loss]:
        """Yield the frames of a page, usually one, and what was lost of it, usually nothing."""
        try:
            rows = page.build()
        except Exception as error:  # noqa: BLE001  # the task's outer edge: written down as a loss
            _log.error("encode_failed", stream=self._stream, error=repr(error))
            yield Loss(self._stream, page.count, "encode_failed", page.products())
            return
        yield from self._encode(page, rows, closed)

    def _encode(self, page: Page, rows: pa.RecordBatch, closed: float) -> Iterator[Outgoing | Loss]:
        identity = FrameId(self._stream, self._epoch, self.next_seq)
        first_ns, last_ns = page.first_received_us * 1_000, page.last_received_us * 1_000
        try:
            frame = Frame(identity, self._producer, rows, first_ns, last_ns)
            message = self._encoder.encode(frame)
        except FrameTooLargeError as error:
            yield from self._encode_halves(page, rows, closed, error)
            return
        self.next_seq += 1
        yield Outgoing(identity, message, len(message.data), rows.num_rows, closed)

    def _encode_halves(
        self, page: Page, rows: pa.RecordBatch, closed: float, error: FrameTooLargeError
    ) -> Iterator[Outgoing | Loss]:
        if rows.num_rows == 1:
            _log.error("frame_too_large", stream=self._stream, error=str(error))
            symbol = str(rows.column("symbol")[0].as_py())
            yield Loss(self._stream, 1, "too_large", (symbol,))
            return
        half = rows.num_rows // 2
        yield from self._encode(page, rows.slice(0, half), closed)
        yield from self._encode(page, rows.slice(half), closed)
