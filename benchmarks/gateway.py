"""The gateway's hot path without its sockets: messages in, encoded frames out."""

import logging
from collections.abc import Iterable

import pyarrow as pa

from benchmarks.workloads import Message, Source
from ingest_gateway.advanced_reader import AdvancedReader
from ingest_gateway.exchange_reader import ExchangeReader
from ingest_gateway.journal import Journal
from ingest_gateway.lane import Lane
from ingest_gateway.reader import Reader
from ingest_gateway.tape import Tape
from quotewatch.frames import Frame, FrameEncoder, FrameId
from quotewatch.logs import configure_logs
from quotewatch.message import Message as Frames
from quotewatch.streams import CAPTURED

_READERS: dict[str, type[Reader]] = {"exchange": ExchangeReader, "advanced": AdvancedReader}


class Gateway:
    """One connection's reader, its tape, and frames of at least so many rows."""

    def __init__(self, source: Source) -> None:
        configure_logs(level=logging.CRITICAL)
        self.tape = Tape()
        lanes: dict[str, Lane] = {}
        for product in source.products:
            lanes[product] = Lane(product, len(self.tape.symbols))
            self.tape.symbols.append(product)
        self.reader = _READERS[source.dialect](1, self.tape, lanes, Journal(self.tape))
        self._encoder = FrameEncoder()
        self._seq = dict.fromkeys(CAPTURED, 0)

    def read(self, messages: Iterable[Message]) -> None:
        """Read messages and leave their rows on the tape."""
        read = self.reader.read
        for raw, received_us in messages:
            read(raw, received_us)

    def run(self, messages: list[Message], rows: int) -> None:
        """Read messages, closing the frames of a stream once it has the rows; at the end, all."""
        for begin in range(0, len(messages), rows):
            self.read(messages[begin : begin + rows])
            self.frames(rows)
        self.frames(1)

    def frames(self, rows: int = 1) -> list[Frames]:
        """Encode the open page of every stream that has at least so many rows."""
        return [self.frame(stream) for stream in CAPTURED if self.tape.rows_of(stream) >= rows]

    def frame(self, stream: str) -> Frames:
        """Encode the open page of one stream."""
        return self.built(stream)[1]

    def built(self, stream: str) -> tuple[pa.RecordBatch, Frames]:
        """Encode the open page of one stream; return its rows, too."""
        page = self.tape.take(stream)
        seq = self._seq[stream]
        self._seq[stream] = seq + 1
        rows = page.build()
        times = page.first_received_us * 1000, page.last_received_us * 1000
        frame = Frame(FrameId(stream, "bench", seq), "bench", rows, *times)
        return rows, self._encoder.encode(frame)
