"""What the tables hold and what is wrong with it: one line a table, for people or for programs.

Rows, files and holes are read from metadata; duplicates are counted in the rows themselves.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TextIO

import duckdb
from pyiceberg.table import Table as IcebergTable
from rich.console import Console
from rich.table import Table

from quotewatch.errors import QueryError, TableError
from quotewatch.local.sql_console import connected, existing, plain
from quotewatch.streams import RAW_TRADES, TABLES
from quotewatch.tables.catalog import Tables
from quotewatch.tables.commit import ledger_bytes, read_ledger
from quotewatch.tables.dataset import current
from quotewatch.tables.failures import named

_PIPE_WIDTH = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_COLUMNS = (
    "rows", "files", "snapshots", "holes", "trade_holes", "quarantined", "duplicates", "oldest",
    "newest", "ledger_bytes",
)  # fmt: skip

# What no two rows of a table may have in common.
_KEYS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    RAW_TRADES.name: (TABLES[RAW_TRADES.name].key, ("symbol", "trade_id")),
    "gaps": (("gap_id", "state", "at"),),
}


@dataclass
class TableReport:
    """One table. What cannot be said is None, and `problem` says why."""

    rows: int = 0
    files: int = 0
    snapshots: int = 0
    holes: int | None = None  # frames that should have come
    duplicates: int | None = None  # rows
    oldest: datetime | None = None
    newest: datetime | None = None
    ledger_bytes: int = 0
    quarantined: int | None = None  # frames
    trade_holes: int | None = None  # trades between those that are stored
    problem: str | None = None


def list_tables(
    tables: Tables, out: TextIO, *, as_json: bool = False, progress: TextIO = sys.stderr
) -> int:
    """Write one line a table; return 1 if there is a problem with one, else 0.

    On `progress`, if it is a terminal, stands what is being read.
    """
    reports = examine(existing(tables), progress)
    if as_json:
        found = {name: _spelled(report) for name, report in reports.items()}
        out.write(f"{json.dumps(found, ensure_ascii=False, indent=2)}\n")
    else:
        _show(reports, Console(file=out, width=None if out.isatty() else _PIPE_WIDTH))
    out.flush()
    return int(any(report.problem for report in reports.values()))


def examine(there: Mapping[str, IcebergTable], progress: TextIO) -> dict[str, TableReport]:
    """Look at every table; a problem of one is said in its report."""
    reports = {name: TableReport() for name in there}
    console = Console(file=progress)
    for name, table in there.items():
        report = reports[name]
        with console.status("") if console.is_terminal else nullcontext() as status:
            try:
                with named(name):
                    _read_metadata(report, table)
                    if status is not None:
                        status.update(f"{name}: looking for duplicates in {report.rows:,} rows")
                    _read_rows(report, name, table)
                    _read_ledger(report, table)
            except TableError as error:
                report.problem = str(error)
    return reports


# One table


def _read_metadata(report: TableReport, table: IcebergTable) -> None:
    snapshot = table.current_snapshot()
    report.snapshots = len(table.metadata.snapshots)
    report.ledger_bytes = ledger_bytes(table)
    if snapshot is None:
        return
    said = {} if snapshot.summary is None else snapshot.summary.additional_properties
    if "total-records" in said and "total-data-files" in said:
        report.rows, report.files = int(said["total-records"]), int(said["total-data-files"])
        return
    tasks = list(table.scan().plan_files())
    report.rows, report.files = sum(task.file.record_count for task in tasks), len(tasks)


def _read_rows(report: TableReport, name: str, table: IcebergTable) -> None:
    """Read what stands in no metadata."""
    day_of = TABLES[name].day_of
    with connected({name: table}) as connection:
        keys = _KEYS.get(name, (TABLES[name].key,))
        report.duplicates = max(_surplus(connection, name, key) for key in keys)
        covered = current(table, day_of).covered
        if covered is None:
            query = f"SELECT epoch_us(min({day_of})), epoch_us(max({day_of})) FROM {name}"  # noqa: S608
            low, high = _answer(connection, query)
        else:
            low, high = covered.first, covered.last
    report.oldest, report.newest = _moment(low), _moment(high)


def _surplus(connection: duckdb.DuckDBPyConnection, name: str, key: Sequence[str]) -> int:
    """Count the rows whose key another row has."""
    # Names of ours: nothing that anybody typed. Groups go to disk where memory is short.
    columns = ", ".join(f'"{column}"' for column in key)
    (surplus,) = _answer(
        connection,
        f"SELECT coalesce(sum(n - 1), 0)::BIGINT FROM (SELECT count(*) AS n FROM {name}"  # noqa: S608
        f" GROUP BY {columns} HAVING count(*) > 1)",
    )
    return int(surplus)


def _answer(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    try:
        row = connection.execute(query).fetchone()
    except duckdb.Error as error:
        raise QueryError(str(error)) from error
    return row or ()


def _read_ledger(report: TableReport, table: IcebergTable) -> None:
    ledger = read_ledger(table)
    entries = [entry for each in ledger.streams.values() for entry in each.epochs.values()]
    report.holes = sum(entry.holes().count for entry in entries)
    report.quarantined = sum(entry.quarantined.count for entry in entries)
    if table.name()[-1] == RAW_TRADES.name:
        report.trade_holes = sum(ids.holes().count for ids in ledger.trades.values())


def _moment(us: int | None) -> datetime | None:
    return None if us is None else _EPOCH + timedelta(microseconds=us)


# What is said of it


def _spelled(report: TableReport) -> dict[str, object]:
    return {name: plain(value) for name, value in asdict(report).items()}


def _show(reports: Mapping[str, TableReport], console: Console) -> None:
    if not reports:
        console.print("no tables yet; `python -m quotewatch demo` makes some", highlight=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("table", no_wrap=True)
    for name in _COLUMNS:
        table.add_column(name.replace("_", " "), justify="right", no_wrap=True)
    for name, report in reports.items():
        table.add_row(name, *(_cell(getattr(report, column)) for column in _COLUMNS))
    console.print(table)
    for report in reports.values():
        if report.problem:
            console.print(report.problem, style="red", highlight=False, markup=False)


def _cell(value: object) -> str:
    match value:
        case None:
            return "?"
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S}"
    return f"{value:,}"
