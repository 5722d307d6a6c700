"""Files that serve no snapshot, or none any longer: swept once they are old enough.

What is there is listed before what is reachable is read, so what becomes reachable meanwhile is
seen. Nothing is deleted unless everything reachable could be read.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType, LocalFileSystem
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.manifest import ManifestFile
from pyiceberg.table import Table
from pyiceberg.utils.concurrent import ExecutorFactory

from quotewatch.tables.catalog import Tables
from quotewatch.tables.commit import ledger_files
from quotewatch.tables.failures import named

# Tells readers without a catalog which metadata is the newest; no snapshot refers to it.
_HINT = "version-hint.text"


@dataclass
class Swept:
    """What one run deleted of a table."""

    files: int = 0
    bytes: int = 0
    skipped: str | None = None  # why something was left


@dataclass(frozen=True)
class _Folder:
    """The table's own folder: nothing outside of it is touched."""

    files: FileSystem
    path: str

    def older_than(self, before_ns: int) -> list[FileInfo]:
        """List what was last written before; what has no time is never old."""
        selector = FileSelector(self.path, allow_not_found=True, recursive=True)
        found = self.files.get_file_info(selector)
        return [
            each
            for each in found
            if each.type == FileType.File and 0 < (each.mtime_ns or 0) < before_ns
        ]

    def holds(self, file: FileInfo) -> bool:
        """Say whether it really lies inside: listings follow links."""
        if not file.path.startswith(f"{self.path}/"):
            return False
        if not isinstance(self.files, LocalFileSystem):
            return True
        return Path(file.path).parent.resolve().is_relative_to(Path(self.path).resolve())


def sweep(
    tables: Tables, name: str, before_ns: int, is_over: Callable[[], bool], swept: Swept
) -> None:
    """Delete what lies in the table's folder, was last written before, and serves no snapshot."""
    table = tables.find(name)
    if table is None:
        return
    with named(name):
        if not isinstance(table.io, PyArrowFileIO):
            swept.skipped = f"not swept: {type(table.io).__name__} lists no files"
            return
        folder = _folder(table, table.io)
        old = folder.older_than(before_ns)
        table = table.refresh()
        orphans = list(_orphans(table, folder, old))
        swept.skipped = _stranger(table, folder, orphans)
        if not swept.skipped:
            _delete(folder, orphans, is_over, swept)


def _folder(table: Table, io: PyArrowFileIO) -> _Folder:
    scheme, host, path = io.parse_location(table.location(), io.properties)
    return _Folder(io.fs_by_scheme(scheme, host), path.rstrip("/"))


def _orphans(table: Table, folder: _Folder, old: Sequence[FileInfo]) -> Iterator[FileInfo]:
    """Yield what no snapshot needs.

    By their names, which are unique, not by their paths: a folder spelled in another way (with a
    scheme, through a link) must never make a live file look like an orphan.
    """
    if not old:
        return
    live = reachable_names(table)
    for each in old:
        if each.base_name not in live and folder.holds(each):
            yield each


def reachable_names(table: Table) -> set[str]:
    """Name every file that the table or one of its snapshots needs."""
    metadata = table.metadata
    paths = {table.metadata_location, _HINT}
    paths |= {each.metadata_file for each in metadata.metadata_log}
    paths |= {each.statistics_path for each in metadata.statistics}
    paths |= {each.statistics_path for each in metadata.partition_statistics}
    paths |= {each.manifest_list for each in metadata.snapshots}
    paths |= ledger_files(table)
    manifests = {each for snapshot in metadata.snapshots for each in snapshot.manifests(table.io)}
    paths |= {each.manifest_path for each in manifests}
    names = {path.rsplit("/", 1)[-1] for path in paths}
    return names | _data_names(table, manifests)


def _data_names(table: Table, manifests: Iterable[ManifestFile]) -> set[str]:
    def names(manifest: ManifestFile) -> set[str]:
        entries = manifest.fetch_manifest_entry(table.io)
        return {each.data_file.file_path.rsplit("/", 1)[-1] for each in entries}

    return set().union(*ExecutorFactory.get_or_create().map(names, manifests))


def _stranger(table: Table, folder: _Folder, orphans: Iterable[FileInfo]) -> str | None:
    """Find out whether another table with rows lives here: a catalog that was lost, perhaps.

    All of its files would look like orphans.
    """
    own = str(table.metadata.table_uuid)
    for each in orphans:
        if each.base_name.endswith(".metadata.json"):
            found = _metadata(folder, each)
            if found.get("snapshots") and found.get("table-uuid") != own:
                return (
                    f"not swept: {each.path} belongs to another table ({found.get('table-uuid')});"
                    " move that one's files away, or delete them"
                )
    return None


def _metadata(folder: _Folder, file: FileInfo) -> dict[str, object]:
    """Read metadata that no catalog knows; empty where it was never written to its end."""
    try:
        with folder.files.open_input_stream(file.path) as stream:
            found = json.loads(stream.read())
    except (ValueError, FileNotFoundError):
        return {}
    return found if isinstance(found, dict) else {}


def _delete(
    folder: _Folder, orphans: Sequence[FileInfo], is_over: Callable[[], bool], swept: Swept
) -> None:
    for number, each in enumerate(orphans):
        if is_over():
            swept.skipped = f"time is over with {len(orphans) - number} orphans left"
            break
        try:
            folder.files.delete_file(each.path)
        except FileNotFoundError:  # another sweep was first
            continue
        swept.files += 1
        swept.bytes += each.size
