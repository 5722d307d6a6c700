"""Rows to one message and back: what a producer collected in one window, with its identity.

A message that decodes holds exactly the rows that were encoded; anything else is a FrameError.
"""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import zstandard

from quotewatch.errors import FrameError, FrameTooLargeError, NewerSchemaError
from quotewatch.message import Message
from quotewatch.streams import SCHEMA_VERSION, STREAMS

SOFT_LIMIT_BYTES = 256_000  # a window closes early at about this size
HARD_LIMIT_BYTES = 9_000_000  # the bus takes 10 MB, attributes included
_LEVEL = 1  # level 3 saves 5 % of the bytes for twice the time
_LONGEST_BODY_BYTES = 512_000_000  # a body that claims more is an attack or a mistake

# Eight decimals hold all that Coinbase sends in 2026 and compress far better than eighteen.
NARROW_DECIMAL = pa.decimal128(38, 8)


@dataclass(frozen=True, slots=True)
class FrameId:
    """What a frame is known by wherever it goes. Published again, it keeps it."""

    stream: str
    epoch: str
    seq: int


@dataclass(frozen=True, slots=True)
class Frame:
    """The rows of one stream that one producer collected in one window."""

    id: FrameId
    producer: str
    rows: pa.RecordBatch
    first_received_ns: int
    last_received_ns: int
    schema: int = SCHEMA_VERSION


class FrameEncoder:
    """Encode frames, one at a time: it owns the compressor that they share."""

    def __init__(self) -> None:
        # Arrow's own compression works buffer by buffer: small frames grow over the JSON they hold.
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL)

    def encode(self, frame: Frame) -> Message:
        """Turn a frame into the message that carries it."""
        body = self._compressor.compress(memoryview(_to_ipc(frame.rows)))
        if len(body) > HARD_LIMIT_BYTES:
            raise FrameTooLargeError(
                f"{frame.id.stream} {frame.id.epoch}/{frame.id.seq}: {len(body)} bytes encoded,"
                f" the bus takes {HARD_LIMIT_BYTES}; close windows earlier"
            )
        return Message(body, _attributes(frame))


def _to_ipc(rows: pa.RecordBatch) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_batch(rows)
    return sink.getvalue()


def _attributes(frame: Frame) -> dict[str, str]:
    return {
        "stream": frame.id.stream,
        "producer": frame.producer,
        "epoch": frame.id.epoch,
        "seq": str(frame.id.seq),
        "rows": str(frame.rows.num_rows),
        "schema": str(frame.schema),
        "first_received_ns": str(frame.first_received_ns),
        "last_received_ns": str(frame.last_received_ns),
    }


def decode(message: Message) -> Frame:
    """Turn a message back into its frame, the rows in the stream's own columns."""
    identity = identify(message)
    version = _number(message, "schema")
    if version > SCHEMA_VERSION:
        raise NewerSchemaError(
            f"{identity.stream} {identity.epoch}/{identity.seq}: schema {version} is newer than"
            f" {SCHEMA_VERSION}; deploy this process again, the frame waits"
        )
    rows = _conform(_from_ipc(message.data), STREAMS[identity.stream].schema)
    if rows.num_rows != _number(message, "rows"):
        raise FrameError(
            f"{identity.stream} {identity.epoch}/{identity.seq}: {rows.num_rows} rows in the body,"
            f" {message.attributes['rows']} announced"
        )
    return Frame(
        identity,
        _text(message, "producer"),
        rows,
        _number(message, "first_received_ns"),
        _number(message, "last_received_ns"),
        version,
    )


def identify(message: Message) -> FrameId:
    """Read the identity alone; the body is not looked at."""
    stream = _text(message, "stream")
    if stream not in STREAMS:
        raise FrameError(f"attribute stream: {stream!r} is none of {', '.join(STREAMS)}")
    return FrameId(stream, _text(message, "epoch"), _number(message, "seq"))


def _text(message: Message, name: str) -> str:
    value = message.attributes.get(name)
    if not value:
        raise FrameError(f"attribute {name} is missing: not a frame of QuoteWatch")
    return value


def _number(message: Message, name: str) -> int:
    value = _text(message, name)
    if not (value.isascii() and value.isdecimal()):
        raise FrameError(f"attribute {name}: {value[:40]!r} is not a whole number")
    return int(value)


def _from_ipc(data: bytes) -> pa.RecordBatch:
    try:
        body = zstandard.ZstdDecompressor().decompress(data, max_output_size=_LONGEST_BODY_BYTES)
        with pa.ipc.open_stream(body) as reader:
            table = reader.read_all().combine_chunks()
    except (zstandard.ZstdError, pa.ArrowException, OSError, ValueError) as error:
        raise FrameError(f"the body ({len(data)} bytes) is not zstd over Arrow: {error}") from error
    return table.to_batches()[0] if table.num_rows else _no_rows(table.schema)


def _no_rows(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], kind) for kind in schema.types], schema=schema)


def _conform(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Cast to the stream's columns; an optional column that an older version lacks is null."""
    columns = []
    for field in schema:
        if field.name in rows.schema.names:
            columns.append(_cast(rows.column(field.name), field))
        elif field.nullable:
            columns.append(pa.nulls(rows.num_rows, field.type))
        else:
            raise FrameError(f"column {field.name} is missing")
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _cast(column: "pa.Array[Any]", field: "pa.Field[Any]") -> "pa.Array[Any]":
    try:
        cast = column if column.type.equals(field.type) else column.cast(field.type)
    except pa.ArrowException as error:
        raise FrameError(f"column {field.name}: {error}") from error
    if cast.null_count and not field.nullable:
        raise FrameError(f"column {field.name}: {cast.null_count} values are missing")
    return cast
