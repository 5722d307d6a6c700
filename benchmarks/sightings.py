"""When the rows of a table became visible: a catalog's file is watched while others commit to it.

A row is visible once the catalog names metadata with its snapshot: from then on every query finds
it. A snapshot's own timestamp is taken before its commit, so it would flatter.
"""

import json
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog import load_catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.manifest import ManifestContent

LOOK_SECONDS = 0.01
_NEWEST = "SELECT table_name, metadata_location FROM iceberg_tables"


@dataclass
class Sightings:
    """By table, the moments at which its snapshots were first seen."""

    catalog: Path
    _newest: dict[str, str] = field(default_factory=dict)
    _seen: dict[str, dict[int, float]] = field(default_factory=dict)  # sequence -> since 1970

    def look(self) -> None:
        """Note what is new; costs a tenth of a millisecond where nothing is."""
        try:
            with closing(sqlite3.connect(f"file:{self.catalog}?mode=ro", uri=True)) as connection:
                found = dict(connection.execute(_NEWEST).fetchall())
        except sqlite3.OperationalError:  # not made yet, or locked by a commit: then the next time
            return
        now = time.time()
        for name, location in found.items():
            if self._newest.get(name) != location:
                self._newest[name] = location
                self._note(name, location, now)

    def rows(self, name: str, columns: tuple[str, ...]) -> tuple[pa.Table, list[float]]:
        """Return the rows of files that a sighted commit brought, and when each row was seen."""
        parts, times = [], []
        for path, sequence in self._files(name):
            at = self._seen.get(name, {}).get(sequence)
            if at is not None:
                part = pq.ParquetFile(path).read(list(columns))
                parts.append(part)
                times += [at] * part.num_rows
        return pa.concat_tables(parts), times

    def _note(self, name: str, location: str, now: float) -> None:
        metadata: dict[str, Any] = json.loads(_path(location).read_bytes())
        seen = self._seen.setdefault(name, {})
        for snapshot in metadata.get("snapshots", ()):
            seen.setdefault(snapshot["sequence-number"], now)

    def _files(self, name: str) -> list[tuple[Path, int]]:
        """List the files of the newest snapshot with the commits that brought them."""
        catalog = load_catalog("quotewatch", type="sql", uri=f"sqlite:///{self.catalog}")
        table = catalog.load_table(("quotewatch", name))
        snapshot = table.current_snapshot()
        manifests = [] if snapshot is None else snapshot.manifests(table.io)
        found = [
            (_path(entry.data_file.file_path), entry.sequence_number or 0)
            for manifest in manifests
            if manifest.content == ManifestContent.DATA
            for entry in manifest.fetch_manifest_entry(table.io)
        ]
        if isinstance(catalog, SqlCatalog):
            catalog.close()
        return found


def _path(location: str) -> Path:
    return Path(location.removeprefix("file://"))
