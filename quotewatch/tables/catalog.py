"""The catalog: names of tables in, tables with today's columns and properties out.

SQLite beside the data by default, any catalog pyiceberg knows by a URI or its properties as JSON.
Tables are made on first use; columns are only ever added.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.io.pyarrow import pyarrow_to_schema, schema_to_pyarrow
from pyiceberg.partitioning import PARTITION_FIELD_ID_START, PartitionField, PartitionSpec
from pyiceberg.table import Table
from pyiceberg.transforms import DayTransform
from sqlalchemy.exc import IntegrityError

from quotewatch.errors import TableError, TableUnavailableError
from quotewatch.streams import TABLES, TableLayout
from quotewatch.tables.failures import named

NAMESPACE = "quotewatch"
_TABLE_PROPERTIES = {
    # pyiceberg's own retry would append again without asking the ledger again.
    "commit.retry.num-retries": "0",
    "commit.manifest-merge.enabled": "true",
    "commit.manifest.min-count-to-merge": "20",
    # With the default of 8 MB every merge rewrites the entries of all files there are.
    "commit.manifest.target-size-bytes": "65536",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "10",
    "write.parquet.compression-codec": "zstd",
}
_ATTEMPTS = 10
_LOCK_SECONDS = 30  # how long SQLite waits for another writer


def catalog_properties(catalog: str, warehouse: str, data_dir: Path) -> dict[str, Any]:
    """Turn the settings CATALOG and WAREHOUSE into pyiceberg's properties. Pure.

    All are text, but for `auth`: an object that says how a REST catalog is authenticated to.
    """
    own = {"warehouse": warehouse or str(data_dir.absolute() / "warehouse")}
    if not catalog:
        path = data_dir.absolute() / "catalog.db"
        return {**own, "type": "sql", "uri": f"sqlite:///{path}?timeout={_LOCK_SECONDS}"}
    if catalog.lstrip().startswith("{"):
        given = {
            name: value if isinstance(value, dict) else str(value)
            for name, value in json.loads(catalog).items()
        }
        # A REST catalog has a warehouse of its own unless one is named.
        return {**own, **given} if warehouse or given.get("type") != "rest" else given
    kind = "rest" if urlsplit(catalog).scheme in {"http", "https"} else "sql"
    if kind == "rest" and not warehouse:
        return {"type": kind, "uri": catalog}
    return {**own, "type": kind, "uri": catalog}


class Tables:
    """The tables of one catalog. Nothing connects before the first call."""

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self._properties = dict(properties)
        self._catalog: Catalog | None = None
        self._ready: set[str] = set()

    @property
    def catalog(self) -> Catalog:
        """The catalog behind all tables, connected on first use."""
        if self._catalog is None:
            self._make_room()
            with named("catalog (see QUOTEWATCH_CATALOG and QUOTEWATCH_WAREHOUSE)"):
                self._catalog = _connect(self._properties)
        return self._catalog

    def load(self, name: str) -> Table:
        """Return the table as it is now; made, or given its new columns, where needed."""
        layout = TABLES[name]
        with named(name):
            found = self._existing(name)  # one that somebody dropped is made again
            if found is not None and name in self._ready and not _wrong(found):
                return found
            table = _evolved(found or self._make(layout), layout)
        self._ready.add(name)
        return table

    def find(self, name: str) -> Table | None:
        """Return the table, or None where it was never made."""
        with named(name):
            return self._existing(name)

    def close(self) -> None:
        """Let go of connections; a later call connects again."""
        catalog, self._catalog = self._catalog, None
        if catalog is not None:
            catalog.close()

    def _existing(self, name: str) -> Table | None:
        try:
            return self.catalog.load_table((NAMESPACE, name))
        except NoSuchTableError:
            return None

    def _make(self, layout: TableLayout) -> Table:
        identifier = (NAMESPACE, layout.name)
        # Another process may make it between the look and the make.
        with suppress(NamespaceAlreadyExistsError, IntegrityError):
            self.catalog.create_namespace_if_not_exists(NAMESPACE)
        schema = pyarrow_to_schema(_numbered(layout.schema))
        day = PartitionField(
            source_id=schema.find_field(layout.day_of).field_id,
            field_id=PARTITION_FIELD_ID_START,
            transform=DayTransform(),
            name=f"{layout.day_of}_day",
        )
        # Whole in one request: not every REST catalog can stage a table.
        with suppress(TableAlreadyExistsError, CommitFailedException, IntegrityError):
            self.catalog.create_table(
                identifier,
                schema,
                partition_spec=PartitionSpec(day),
                properties={"format-version": "2", **_TABLE_PROPERTIES},
            )
        return self.catalog.load_table(identifier)

    def _make_room(self) -> None:
        uri = self._properties.get("uri", "")
        if uri.startswith("sqlite:////"):
            Path(urlsplit(uri).path[1:]).parent.mkdir(parents=True, exist_ok=True)


def _numbered(schema: pa.Schema) -> pa.Schema:
    """Return the schema with a number for each field; the catalog may number them anew."""
    numbers = count(1)
    outer = [(field, next(numbers)) for field in schema]
    return pa.schema([_with_number(field, number, numbers) for field, number in outer])


def _with_number(field: "pa.Field[Any]", number: int, rest: Iterator[int]) -> "pa.Field[Any]":
    kind: Any = field.type
    if pa.types.is_list(kind):
        kind = pa.list_(_with_number(kind.value_field, next(rest), rest))
    elif pa.types.is_struct(kind):
        kind = pa.struct([_with_number(inner, next(rest), rest) for inner in kind])
    return field.with_type(kind).with_metadata({"PARQUET:field_id": str(number)})


def _connect(properties: Mapping[str, Any]) -> Catalog:
    # Two processes that make the SQL catalog's own tables at once: the second finds them made.
    for attempt in range(_ATTEMPTS):
        try:
            return load_catalog("quotewatch", **properties)
        except Exception as error:
            if "already exists" not in str(error) or attempt == _ATTEMPTS - 1:
                raise
    raise TableUnavailableError("the catalog could not be opened; try again")


def _evolved(table: Table, layout: TableLayout) -> Table:
    """Add the columns a newer program has, and the properties without which nothing is safe."""
    for _ in range(_ATTEMPTS):
        there = table.schema().column_names
        missing = {name for name in layout.schema.names if name not in there}
        wrong = _wrong(table)
        _check(table, layout)  # before anything is changed
        if not missing and not wrong:
            return table
        try:
            with table.transaction() as transaction:
                if missing:
                    with transaction.update_schema() as schema:
                        schema.union_by_name(_optional(layout, missing))
                if wrong:
                    transaction.set_properties(wrong)
        except CommitFailedException:
            pass  # another process was first, perhaps with the same
        table = table.refresh()
    raise TableUnavailableError(f"{layout.name}: others keep changing its columns; try again")


def _optional(layout: TableLayout, names: set[str]) -> pa.Schema:
    """Return the table's columns; new ones are optional, because old rows do not have them."""
    return pa.schema(
        [each.with_nullable(True) if each.name in names else each for each in layout.schema]
    )


def _wrong(table: Table) -> dict[str, str]:
    return dict(_TABLE_PROPERTIES.items() - table.properties.items())


def _check(table: Table, layout: TableLayout) -> None:
    """Refuse a table of this name that is not ours."""
    theirs = schema_to_pyarrow(table.schema(), include_field_ids=False)
    for field in layout.schema:
        if field.name not in theirs.names:
            continue  # it will be added
        found = theirs.field(field.name).type
        if str(found).replace("large_", "") != str(field.type):
            raise _foreign(layout, f"column {field.name} is {found}, expected {field.type}")
    if not _is_cut_by_day(table, layout):
        raise _foreign(layout, f"it is cut by {table.spec()}, expected days of {layout.day_of}")


def _is_cut_by_day(table: Table, layout: TableLayout) -> bool:
    parts = table.spec().fields
    return len(parts) == 1 and (
        isinstance(parts[0].transform, DayTransform)
        and table.schema().find_column_name(parts[0].source_id) == layout.day_of
    )


def _foreign(layout: TableLayout, what: str) -> TableError:
    return TableError(
        f"{layout.name}: {what}; is this a table of QuoteWatch? Rename it, or use another catalog"
    )
