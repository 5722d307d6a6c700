"""Rows to Parquet files of a table: sorted, cut by day, with the statistics Iceberg wants.

A file that no commit takes is an orphan and nothing worse; `maintain` sweeps it.
"""

import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
    schema_to_pyarrow,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import Table
from pyiceberg.typedef import Record

from quotewatch.errors import TableError
from quotewatch.streams import TableLayout

_DAY_US = 86_400_000_000
# Small enough that a query for one product and an hour skips most of a compacted file.
_ROW_GROUP_ROWS = 131_072
# zstd's own default: 1 is faster by a tenth and larger by a tenth.
_LEVEL = 1


def write_files(table: Table, layout: TableLayout, rows: pa.Table) -> list[DataFile]:
    """Write the rows, one file for each day they fall on, and return what a commit takes."""
    if not rows.num_rows:
        return []
    ordered = in_table_order(rows, layout)
    return [_write(table, part, day) for day, part in _by_day(ordered, layout.day_of)]


def in_table_order(rows: pa.Table, layout: TableLayout) -> pa.Table:
    """Sort rows as every file of the table is sorted."""
    keys = pa.table([_sort_key(rows.column(name)) for name in layout.sort], list(layout.sort))
    order = pc.sort_indices(keys, [(name, "ascending") for name in layout.sort])
    return rows.take(order)


def _sort_key(column: "pa.ChunkedArray[Any]") -> Any:  # noqa: ANN401 - of either type
    """Return integers that sort as the column does: comparing strings costs five times as much."""
    if not pa.types.is_string(column.type):
        return column
    names = sorted(each for each in pc.unique(column).to_pylist() if each is not None)
    return pc.index_in(column, pa.array(names, column.type))


def _by_day(rows: pa.Table, time: str) -> Iterator[tuple[int, pa.Table]]:
    days = np.floor_divide(rows.column(time).cast(pa.int64()).to_numpy(), _DAY_US)
    found = np.unique(days)
    if found.size == 1:
        yield int(found[0]), rows
        return
    for day in found:
        yield int(day), rows.filter(pa.array(days == day))


def _write(table: Table, rows: pa.Table, day: int) -> DataFile:
    schema = table.schema()
    spec = table.spec()
    columns = _in_schema(rows, schema_to_pyarrow(schema))
    path = table.location_provider().new_data_location(f"{uuid.uuid4()}.parquet")
    output = table.io.new_output(path)
    with output.create() as created:
        stream: Any = created  # what pyarrow writes into, whatever its stubs say
        writer = pq.ParquetWriter(
            stream, columns.schema, compression="zstd", compression_level=_LEVEL
        )
        with writer:
            writer.write_table(columns, row_group_size=_ROW_GROUP_ROWS)
        size = stream.tell()
    statistics = data_file_statistics_from_parquet_metadata(
        parquet_metadata=writer.writer.metadata,
        stats_columns=compute_statistics_plan(schema, table.properties),
        parquet_column_mapping=parquet_path_to_id_mapping(schema),
    )
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=Record(day),
        file_size_in_bytes=size,
        sort_order_id=None,
        spec_id=spec.spec_id,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )


def _in_schema(rows: pa.Table, wanted: pa.Schema) -> pa.Table:
    """Give the rows the table's columns with their field ids; what they lack is null."""
    columns: list[Any] = []
    for field in wanted:
        if field.name in rows.schema.names:
            columns.append(rows.column(field.name).cast(field.type))
        elif field.nullable:
            columns.append(pa.nulls(rows.num_rows, field.type))
        else:
            raise TableError(f"column {field.name} of the table is required and the rows lack it")
    return pa.table(columns, schema=wanted)
