"""A question in SQL to the tables' current snapshots, answered for people or for programs.

DuckDB reads only what the question needs; it cannot write, nor reach the network or other files.
"""

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TextIO

import duckdb
import pyarrow as pa
from pyiceberg.table import Table as IcebergTable
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from quotewatch.errors import QueryError, SettingsError
from quotewatch.settings import load_settings
from quotewatch.streams import TABLES
from quotewatch.tables.catalog import Tables, catalog_properties
from quotewatch.tables.dataset import current_rows
from quotewatch.tables.failures import named

Form = Literal["table", "json", "csv"]

_SHOWN = 40  # rows, for people
_COUNTED = 1_000_000  # rows that are counted beyond those
_BATCH_ROWS = 8_192
_PIPE_WIDTH = 200
_MEMORY = "1GiB"  # beyond it DuckDB goes to disk


def run_sql(tables: Tables, query: str, out: TextIO, *, form: Form = "table") -> int:
    """Write the answer and return the exit code; QueryError for what cannot be answered."""
    there = existing(tables)
    if not there:
        raise QueryError("no tables yet; `python -m quotewatch demo` makes some")
    with connected(there) as connection, _explained(there):
        answer = connection.sql(query)
        if answer is None:
            return 0  # a statement without rows
        reader: pa.RecordBatchReader = answer.to_arrow_reader(_BATCH_ROWS)
        _WRITERS[form](reader, out)
    out.flush()
    return 0


def open_tables(data: Path | None) -> Tables:
    """Return the tables of a run's directory, or those the environment names.

    Opening a SQLite catalog makes its file: looking must not.
    """
    settings = load_settings() if data is None else None
    if settings is not None and settings.catalog:
        return Tables(
            catalog_properties(settings.catalog, settings.warehouse, settings.data_dir)
        )
    directory = data or (settings.data_dir if settings is not None else Path("data"))
    path = directory / "catalog.db"
    if not path.is_file():
        others = sorted(path.parent.glob("*/catalog.db"), key=lambda each: each.stat().st_mtime)
        hint = f"; the newest run below it: --data {others[-1].parent}" if others else ""
        raise SettingsError(
            f"no tables at {path.parent}: name the data directory of a run with --data{hint}"
        )
    return Tables(catalog_properties("", settings.warehouse if settings else "", directory))


def existing(tables: Tables) -> dict[str, IcebergTable]:
    """Return the tables that were made."""
    found = {name: tables.find(name) for name in TABLES}
    return {name: table for name, table in found.items() if table is not None}


@contextmanager
def connected(there: Mapping[str, IcebergTable]) -> Iterator[duckdb.DuckDBPyConnection]:
    """Give DuckDB the tables, and nothing else."""
    with TemporaryDirectory(prefix="quotewatch-sql-") as spill:
        options: dict[str, Any] = {
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacement_scans": False,
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
        raise QueryError(f"{error}\nthere are the tables {', '.join(there)}") from error
    except (duckdb.Error, pa.ArrowException) as error:
        raise QueryError(str(error)) from error


# For people


def _show(reader: pa.RecordBatchReader, out: TextIO) -> None:
    """Show the first rows, and count what follows."""
    console = Console(file=out, width=None if out.isatty() else _PIPE_WIDTH)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for field in reader.schema:
        right = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        table.add_column(
            escape(field.name), justify="right" if right else "left", overflow="ellipsis",
            no_wrap=True,
        )  # fmt: skip
    sizes = _Count()
    for row in islice(_rows(reader, sizes), _SHOWN):
        table.add_row(*(escape(_cell(value)) for value in row))
    console.print(table)
    while sizes.rows < _COUNTED and sizes.more(reader):
        pass
    note = _note(sizes)
    if note:
        console.print(note, highlight=False, soft_wrap=True)


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case float():
            return f"{value:.10g}"
        case datetime():
            return f"{value.astimezone(UTC) if value.tzinfo else value:%Y-%m-%d %H:%M:%S.%f}"
    plain_value = plain(value)
    return plain_value if isinstance(plain_value, str) else json.dumps(plain_value)
