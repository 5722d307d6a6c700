"""The rows of many frames as one table with their lineage. Cast once, not once a frame.

Words stay dictionaries: Parquet stores them as such, and nobody compares them on the way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from quotewatch.frames import Frame
from quotewatch.streams import LINEAGE, STREAMS, TABLES
from quotewatch.tables.ledger import Seen


@dataclass(frozen=True, slots=True)
class Arrived:
    """A frame and when the bus took it."""

    frame: Frame
    published_ns: int

    @property
    def seen(self) -> Seen:
        """What the ledger notes of it."""
        return Seen(self.frame.id.epoch, self.frame.id.seq, self.published_ns)


def rows_of(stream: str, frames: Sequence[Arrived]) -> pa.Table:
    """Put the rows of frames into one table, with their lineage."""
    schema = TABLES[stream].schema
    found: dict[str, Any] = dict(zip(LINEAGE.names, _lineage(frames), strict=True))
    for field in STREAMS[stream].schema:  # an answer says itself which row it is of
        parts = [each.frame.rows.column(field.name) for each in frames]
        found[field.name] = _gathered(parts, field.type)
    columns = [found[field.name] for field in schema]
    fields = [
        pa.field(field.name, column.type, field.nullable)
        for field, column in zip(schema, columns, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _lineage(frames: Sequence[Arrived]) -> list[Any]:
    counts = [each.frame.rows.num_rows for each in frames]
    names = list(dict.fromkeys(each.frame.id.epoch for each in frames))
    codes = [names.index(each.frame.id.epoch) for each in frames]
    epochs: Any = pa.array(np.repeat(np.array(codes, np.int32), counts))
    seqs = np.repeat(np.array([each.frame.id.seq for each in frames], np.int64), counts)
    starts = np.concatenate(([0], np.cumsum(counts)[:-1])) if counts else np.empty(0, np.int64)
    places = np.arange(seqs.size) - np.repeat(starts, counts)
    return [
        pa.DictionaryArray.from_arrays(epochs, pa.array(names, pa.string())),
        pa.array(seqs, pa.int64()),
        pa.array(places.astype(np.int32), pa.int32()),
    ]


def _gathered(parts: Sequence[Any], wanted: Any) -> Any:  # noqa: ANN401 - of any type
    """Put the parts of one column together; their types differ where producers do."""
    if not parts:
        return pa.array([], wanted)
    if pa.types.is_list(wanted):
        return _gathered_lists(parts, wanted)
    if any(part.type != parts[0].type for part in parts):
        parts = [part if part.type == wanted else part.cast(wanted) for part in parts]
    whole: Any = pa.chunked_array(parts).unify_dictionaries().combine_chunks()
    if pa.types.is_dictionary(whole.type) or whole.type == wanted:
        return whole
    return whole.cast(wanted)


def _gathered_lists(parts: Sequence[Any], wanted: Any) -> Any:  # noqa: ANN401 - of records
    """Put lists of records together field by field: each field is cast once."""
    records = [part.flatten() for part in parts]
    fields = [
        _gathered([each.field(at) for each in records], field.type)
        for at, field in enumerate(wanted.value_type)
    ]
    element = pa.StructArray.from_arrays(
        fields,
        fields=[
            pa.field(field.name, values.type, field.nullable)
            for field, values in zip(wanted.value_type, fields, strict=True)
        ],
    )
    lengths = np.concatenate([part.value_lengths().to_numpy() for part in parts])
    offsets: Any = pa.array(np.concatenate(([0], np.cumsum(lengths))).astype(np.int32))
    kind: Any = pa.list_(pa.field("element", element.type, nullable=False))
    return pa.ListArray.from_arrays(offsets, element, type=kind)
