"""The current rows of a table as one Arrow dataset: read when they are asked for, each row once.

Exactly the data files of the newest snapshot count: whatever else lies in the warehouse (orphans,
files that a compaction replaced) is not seen.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.io.pyarrow import PyArrowFileIO, schema_to_pyarrow
from pyiceberg.manifest import DataFile, FileFormat
from pyiceberg.table import FileScanTask, Table
from pyiceberg.types import IntegerType, LongType, NestedField, StringType, TimestamptzType

from quotewatch.intervals import Intervals

# Of these the bounds in a manifest are exact, or for texts cut to something safe.
_BOUNDED = (IntegerType, LongType, StringType, TimestamptzType)

# At once in memory, beside what the caller makes of them. Arrow's own 16 batches of 4 files are
# half a gigabyte of order book.
_BATCHES_AHEAD = 2
_FILES_AHEAD = 2


@dataclass(frozen=True, slots=True)
class Current:
    """The rows of one snapshot, and where a column's values lie by the bounds of the files.

    `covered` is None where a file has no bounds.
    """

    rows: ds.Dataset
    covered: Intervals | None


def current_rows(table: Table) -> ds.Dataset:
    """Return a dataset of the rows as they are now; columns that older files lack are null."""
    return _dataset(table, list(table.scan().plan_files()), AlwaysTrue())


def current(table: Table, column: str, may_match: BooleanExpression | None = None) -> Current:
    """Return the rows as they are now; files without a row that may match are left out."""
    chosen = may_match or AlwaysTrue()
    tasks = list(table.scan(row_filter=chosen).plan_files())
    return Current(_dataset(table, tasks, chosen), _covered(table, tasks, column))


def _dataset(table: Table, tasks: list[FileScanTask], chosen: BooleanExpression) -> ds.Dataset:
    schema = schema_to_pyarrow(table.schema(), include_field_ids=False)
    if not all(_is_plain(task) for task in tasks):
        # Another program deleted rows beside their files: only pyiceberg can put that together.
        return ds.dataset(table.scan(row_filter=chosen).to_arrow().cast(schema))
    if not tasks:
        return ds.dataset(schema.empty_table())
    return _of_files(table, [task.file for task in tasks], schema)


def _covered(table: Table, tasks: Iterable[FileScanTask], column: str) -> Intervals | None:
    field = table.schema().find_field(column)
    found = [_bounds(field, task.file) for task in tasks]
    if None in found:
        return None
    return Intervals.of(each for each in found if each is not None)


def read(
    rows: ds.Dataset, columns: Sequence[str], row_filter: ds.Expression | None = None
) -> pa.Table:
    """Return those rows and columns; of each file only the row groups that may match are read."""
    scanner = rows.scanner(
        columns=list(columns),
        filter=row_filter,
        batch_readahead=_BATCHES_AHEAD,
        fragment_readahead=_FILES_AHEAD,
    )
    return scanner.to_table()


def _is_plain(task: FileScanTask) -> bool:
    return not task.delete_files and task.file.file_format == FileFormat.PARQUET


def _of_files(table: Table, files: Iterable[DataFile], schema: pa.Schema) -> ds.Dataset:
    io = table.io
    arrow_io = io if isinstance(io, PyArrowFileIO) else PyArrowFileIO(io.properties)
    parquet = ds.ParquetFileFormat()
    bounded = [
        field
        for field in table.schema().fields
        if field.required and isinstance(field.field_type, _BOUNDED)
    ]
    fragments = []
    for file in files:
        scheme, netloc, path = PyArrowFileIO.parse_location(file.file_path, io.properties)
        fragments.append(
            parquet.make_fragment(
                path,
                arrow_io.fs_by_scheme(scheme, netloc),
                partition_expression=_promise(bounded, file, schema),
                file_size=file.file_size_in_bytes,
            )
        )
    return ds.FileSystemDataset(fragments, schema, parquet)


def _promise(
    fields: Sequence[NestedField], file: DataFile, schema: pa.Schema
) -> ds.Expression | None:
    """Say what holds for all rows of a file: who asks for others never opens it."""
    terms = []
    for field in fields:
        bounds = _bounds(field, file)
        if bounds is not None:
            column, kind = ds.field(field.name), schema.field(field.name).type
            low, high = (pa.scalar(bound, kind) for bound in bounds)
            terms.append((column >= low) & (column <= high))
    return reduce(and_, terms) if terms else None


def _bounds(field: NestedField, file: DataFile) -> tuple[Any, Any] | None:
    number = field.field_id
    lower, upper = file.lower_bounds or {}, file.upper_bounds or {}
    if number not in lower or number not in upper:
        return None
    kind: Any = field.field_type
    return from_bytes(kind, lower[number]), from_bytes(kind, upper[number])
