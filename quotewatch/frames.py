"""Rows to one message and back: what a producer collected in one window, with its identity.

A message that decodes holds exactly the rows that were encoded; anything else is a FrameError.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import zstandard

from quotewatch.errors import FrameError, FrameTooLargeError, NewerSchemaError
from quotewatch.message import Message
from quotewatch.streams import DECIMAL, SCHEMA_VERSION, STREAMS

SOFT_LIMIT_BYTES = 256_000  # a window closes early at about this size
HARD_LIMIT_BYTES = 9_000_000  # the bus takes 10 MB, attributes included
_LARGEST = 2**63 - 1  # tables and ledgers count in 64 bits
_LEVEL = 1  # level 3 saves 5 % of the bytes for twice the time
_LONGEST_BODY_BYTES = 512_000_000  # a body that claims more is an attack or a mistake

_MOST = Decimal(10) ** 20
_NOTHING = pa.schema([])
_SURE: dict[str, pa.Schema] = {}  # stream -> the newest schema whose columns are sure to cast
_Cast = Callable[["pa.Array[Any]", "pa.Field[Any]"], "pa.Array[Any]"]

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
    frame = decode_carried(message)
    return replace(frame, rows=_conform(frame.rows, STREAMS[frame.id.stream].schema, _cast))


def decode_carried(message: Message) -> Frame:
    """Turn a message back into its frame, words as dictionaries and decimals as narrow as it came.

    As strict as decode(): what is returned casts to the stream's own columns. For those who put
    many frames together and cast once.
    """
    identity = identify(message)
    version = _number(message, "schema")
    if version > SCHEMA_VERSION:
        raise NewerSchemaError(
            f"{identity.stream} {identity.epoch}/{identity.seq}: schema {version} is newer than"
            f" {SCHEMA_VERSION}; deploy this process again, the frame waits"
        )
    rows = _as_carried(_from_ipc(message.data), identity.stream)
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
    # The length first: Python refuses to read thousands of digits.
    if len(value) > len(str(_LARGEST)) or int(value) > _LARGEST:
        raise FrameError(f"attribute {name}: {value[:40]} does not fit into 64 bits")
    return int(value)


def _from_ipc(data: bytes) -> pa.RecordBatch:
    try:
        body = zstandard.ZstdDecompressor().decompress(data, max_output_size=_LONGEST_BODY_BYTES)
        with pa.ipc.open_stream(body) as reader:
            table = reader.read_all()
        table.validate(full=True)  # an offset or an index that is wrong would end this process
        table = table.combine_chunks()
    except (zstandard.ZstdError, pa.ArrowException, OSError, ValueError) as error:
        raise FrameError(f"the body ({len(data)} bytes) is not zstd over Arrow: {error}") from error
    return table.to_batches()[0] if table.num_rows else _no_rows(table.schema)


def _no_rows(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], kind) for kind in schema.types], schema=schema)


def _conform(rows: pa.RecordBatch, schema: pa.Schema, cast: "_Cast") -> pa.RecordBatch:
    """Bring rows to the stream's columns; an optional one that an older version lacks is null."""
    columns, fields = [], []
    for field in schema:
        found = rows.schema.get_all_field_indices(field.name)
        if len(found) > 1:
            raise FrameError(f"column {field.name} is there {len(found)} times")
        if found:
            columns.append(cast(rows.column(field.name), field))
        elif field.nullable:
            columns.append(pa.nulls(rows.num_rows, field.type))
        else:
            raise FrameError(f"column {field.name} is missing")
        fields.append(pa.field(field.name, columns[-1].type, field.nullable))
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def _as_carried(rows: pa.RecordBatch, stream: str) -> pa.RecordBatch:
    """Return rows as they came if they are sure to cast, else cast what is not."""
    schema = STREAMS[stream].schema
    # Producers keep to one schema: what was found out about it once holds for all its frames.
    if not rows.schema.equals(_SURE.get(stream, _NOTHING)):
        if not _is_sure_schema(rows.schema, schema):
            return _conform(rows, schema, _checked)
        _SURE[stream] = rows.schema
    whole = zip(rows.columns, schema, strict=True)
    if all(_is_whole(column, field.type, field.nullable) for column, field in whole):
        return rows
    return _conform(rows, schema, _checked)


def _is_sure_schema(found: pa.Schema, wanted: pa.Schema) -> bool:
    return found.names == wanted.names and all(map(_is_sure_type, found.types, wanted.types))


def _is_sure_type(found: Any, wanted: Any) -> bool:  # noqa: ANN401 - of any type
    """Say whether one type is the other, or casts to it but for a few values."""
    if pa.types.is_list(wanted):
        return pa.types.is_list(found) and _is_sure_type(found.value_type, wanted.value_type)
    if pa.types.is_struct(wanted):
        return bool(
            pa.types.is_struct(found)
            and [each.name for each in found] == [each.name for each in wanted]
            and all(_is_sure_type(a.type, b.type) for a, b in zip(found, wanted, strict=True))
        )
    if pa.types.is_string(wanted) and pa.types.is_dictionary(found):
        return bool(pa.types.is_string(found.value_type))
    narrow = found.equals(NARROW_DECIMAL) and wanted.equals(DECIMAL)
    return bool(narrow or found.equals(wanted))


def _is_whole(column: Any, wanted: Any, nullable: bool) -> bool:  # noqa: ANN401 - of any type
    """Say whether no value of a column is one that is missing or does not cast."""
    if column.null_count and not nullable:
        return False
    if pa.types.is_list(wanted):
        records = column.flatten()
        return not records.null_count and all(
            _is_whole(part, each.type, nullable=False)
            for part, each in zip(records.flatten(), wanted.value_type, strict=True)
        )
    if pa.types.is_dictionary(column.type):
        return not column.dictionary.null_count
    return not column.type.equals(NARROW_DECIMAL) or _fits(column)


def _checked(column: "pa.Array[Any]", field: "pa.Field[Any]") -> "pa.Array[Any]":
    """Return a column as it was carried if it is sure to cast, else cast it now."""
    if _is_sure_type(column.type, field.type) and _is_whole(column, field.type, field.nullable):
        return column
    return _cast(column, field)


def _fits(column: Any) -> bool:  # noqa: ANN401 - the stubs know no min_max
    """Say whether narrow decimals leave room for ten more digits behind the point."""
    bounds: Any = pc.min_max(column).as_py()
    return bounds["max"] is None or -_MOST < bounds["min"] <= bounds["max"] < _MOST


def _cast(column: "pa.Array[Any]", field: "pa.Field[Any]") -> "pa.Array[Any]":
    try:
        cast = column if column.type.equals(field.type) else column.cast(field.type)
    except pa.ArrowException as error:
        raise FrameError(f"column {field.name}: {error}") from error
    if cast.null_count and not field.nullable:
        raise FrameError(f"column {field.name}: {cast.null_count} values are missing")
    return cast
