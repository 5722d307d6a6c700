"""A question in SQL to the tables' current snapshots, answered for people or for programs.

DuckDB reads only what the question needs; it cannot write, nor reach the network or other files.
"""

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TextIO

import duckdb
import pyarrow as pa
from pyiceberg.table import Table as IcebergTable
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from quotewatch.errors import QueryError
from quotewatch.local.existing import settings_of_run
from quotewatch.local.proof.row_keys import plain_text
from quotewatch.streams import TABLES
from quotewatch.tables.catalog import Tables, catalog_properties
from quotewatch.tables.dataset import current_rows
from quotewatch.tables.failures import named

Form = Literal["table", "json", "csv"]

_SHOWN = 40  # rows, for people
_COUNTED = 1_000_000  # rows that are counted beyond those
_BATCH_ROWS = 8_192
_PIPE_WIDTH = 200
_WIDEST = 60  # column: a book's changes would leave no room for the others
_MEMORY = "1GiB"  # beyond it DuckDB goes to disk


def run_sql(tables: Tables, query: str, out: TextIO, *, form: Form = "table") -> int:
    """Write the answer and return the exit code; QueryError for what cannot be answered."""
    if not query.strip().strip(";"):
        raise QueryError('the query is empty; try "SELECT count(*) FROM raw_trades"')
    there = existing(tables)
    if not there:
        raise QueryError("no tables yet; `python -m quotewatch demo` makes some")
    with connected(there) as connection, _explained(there):
        answer: Any = connection.sql(query)  # None for a statement without rows
        if answer is not None:
            _WRITERS[form](answer.to_arrow_reader(_BATCH_ROWS), out)
    out.flush()
    return 0


def open_tables(data: Path | None) -> Tables:
    """Return the tables of a run's directory, or those the environment names."""
    settings = settings_of_run(data)
    return Tables(catalog_properties(settings.catalog, settings.warehouse, settings.data_dir))


def existing(tables: Tables) -> dict[str, IcebergTable]:
    """Return the tables that were made."""
    found = {name: tables.find(name) for name in TABLES}
    return {name: table for name, table in found.items() if table is not None}


@contextmanager
def connected(there: Mapping[str, IcebergTable]) -> Iterator[duckdb.DuckDBPyConnection]:
    """Give DuckDB the tables, and nothing else."""
    with TemporaryDirectory(prefix="quotewatch-sql-") as spill:
        options: dict[str, Any] = {
            # Only what the package has built in: an extension would have to be fetched.
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
            "memory_limit": _MEMORY,
            "temp_directory": spill,
        }
        connection = duckdb.connect(":memory:", config=options)
        try:
            connection.execute("SET TimeZone = 'UTC'")
            for name, table in there.items():
                with named(name):
                    connection.register(name, current_rows(table))
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            yield connection
        finally:
            connection.close()


@contextmanager
def _explained(there: Mapping[str, object]) -> Iterator[None]:
    """Turn what DuckDB throws into an error of ours that says what there is."""
    try:
        yield
    except duckdb.CatalogException as error:
        # What DuckDB would have meant instead is never one of ours.
        said = str(error).partition("\nDid you mean")[0]
        raise QueryError(f"{said}\nthere are the tables {', '.join(there)}") from error
    except (duckdb.Error, pa.ArrowException) as error:
        raise QueryError(str(error)) from error


# For people


def _show(reader: pa.RecordBatchReader, out: TextIO) -> None:
    """Show the first rows, and count what follows."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for field in reader.schema:
        right = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        table.add_column(
            escape(field.name), justify="right" if right else "left", no_wrap=True,
            overflow="ellipsis", max_width=_WIDEST,
        )  # fmt: skip
    shown = seen = 0
    for batch in reader:
        seen += batch.num_rows
        for row in _rows_in(batch.slice(0, _SHOWN - shown)):
            table.add_row(*(escape(_cell(value)) for value in row))
            shown += 1
        if seen >= _COUNTED:
            break
    console = Console(file=out, width=None if out.isatty() else _PIPE_WIDTH)
    console.print(table)
    console.print(_note(shown, seen), highlight=False, soft_wrap=True)


def _note(shown: int, seen: int) -> str:
    if seen >= _COUNTED:
        return f"{shown} rows shown of {seen:,} or more; --json has all of them"
    if seen > shown:
        return f"{shown} rows shown of {seen:,}; --json has all of them"
    return f"{seen} row{'' if seen == 1 else 's'}"


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case float():
            return f"{value:.10g}"
        case datetime():
            moment = value.astimezone(UTC) if value.tzinfo else value
            return moment.isoformat(" ", "microseconds").removesuffix("+00:00")
    spelled = plain(value)
    return spelled if isinstance(spelled, str) else json.dumps(spelled, ensure_ascii=False)


# For programs


def _write_json(reader: pa.RecordBatchReader, out: TextIO) -> None:
    names = reader.schema.names
    for batch in reader:
        for row in _rows_in(batch):
            line = dict(zip(names, map(plain, row), strict=True))
            out.write(f"{json.dumps(line, ensure_ascii=False, allow_nan=False)}\n")


def _write_csv(reader: pa.RecordBatchReader, out: TextIO) -> None:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(reader.schema.names)
    for batch in reader:
        for row in _rows_in(batch):
            writer.writerow([_csv_cell(plain(value)) for value in row])


def _csv_cell(value: object) -> object:
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False)
    return value


_WRITERS: dict[Form, Callable[[pa.RecordBatchReader, TextIO], None]] = {
    "table": _show,
    "json": _write_json,
    "csv": _write_csv,
}


def _rows_in(batch: pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    return zip(*(column.to_pylist() for column in batch.columns), strict=True)


def plain(value: object) -> object:
    """Spell a value as JSON has it: decimals and times as texts, what is no number as null."""
    match value:
        case None | bool() | int() | str():
            return value
        case Decimal() | float():
            return _plain_number(value)
        case datetime():
            return _plain_time(value)
        case list() | tuple():
            return [plain(item) for item in value]
        case dict():
            return {str(name): plain(item) for name, item in value.items()}
    return value.hex() if isinstance(value, bytes) else str(value)


def _plain_number(value: Decimal | float) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    # A sum of whole numbers is one, whatever type it needs the room of.
    return int(value) if value.as_tuple().exponent == 0 else plain_text(value)


def _plain_time(value: datetime) -> str:
    moment = value.astimezone(UTC) if value.tzinfo else value
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
