"""Keep a table quick to read and to commit to: old snapshots go, small files become large ones.

Rows and ledger stay what they are, and those who read appends see nothing of it. Safe while others
write, and in two places at once: whoever is second finds its files gone and lets them be.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue, EqualTo
from pyiceberg.expressions.visitors import manifest_evaluator
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.manifest import DataFile, FileFormat, ManifestContent, ManifestEntry, ManifestFile
from pyiceberg.table import FileScanTask, Table
from pyiceberg.transforms import DayTransform

from quotewatch.errors import TableError
from quotewatch.streams import TABLES, TableLayout
from quotewatch.tables.commit import (
    SNAPSHOTS_KEPT,
    Change,
    Committer,
    Expiry,
    ledger_bytes,
    surplus,
)
from quotewatch.tables.data_files import write_files
from quotewatch.tables.failures import named
from quotewatch.tables.groups import Piece, first_open_day, memory_of, plan_groups, widths_of
from quotewatch.tables.ledger import Ledger

# In memory, as found when read: a group that turns out larger than planned is cut here.
LONGEST_GROUP_BYTES = 256_000_000
_FILES_AT_ONCE = 16


@dataclass
class Compaction:
    """What one run did to the files of a table."""

    files: int = 0
    into: int = 0
    groups: int = 0
    skipped: str | None = None  # why something was left as it is


# Snapshots


def expire(committer: Committer, name: str) -> int:
    """Let go of all snapshots but the newest and the named; return how many went."""
    expired = 0

    def plan(table: Table, ledger: Ledger) -> Change | Expiry | None:
        nonlocal expired
        # Another program's compaction at the head takes its ledger from a snapshot below, which
        # might go now: it is written down anew in the same commit.
        lacking = table.current_snapshot() is not None and not ledger_bytes(table)
        old = surplus(table, SNAPSHOTS_KEPT - lacking)
        expired = len(old)
        if not old:
            return None
        return Change(ledger) if lacking else Expiry(old)

    committer.commit(name, plan)
    return expired


# Files


def compact(
    committer: Committer,
    name: str,
    now_ns: int,
    is_over: Callable[[], bool],
    done: Compaction,
) -> None:
    """Merge small files, one snapshot a group, until nothing is left to merge or time is over."""
    layout = TABLES[name]
    table = committer.tables.load(name)
    with named(name):
        done.skipped = why_not(table, layout)
        pieces = [] if done.skipped else pieces_of(table)
    groups = plan_groups(pieces, first_open_day(now_ns))
    for number, group in enumerate(groups):
        if is_over():
            done.skipped = f"time is over with {len(groups) - number} of {len(groups)} groups left"
            break
        _compact_group(committer, layout, group, done)


def why_not(table: Table, layout: TableLayout) -> str | None:
    """Say why the files of this table are left alone, if they are."""
    fields = table.spec().fields
    days = [each.source_id for each in fields if isinstance(each.transform, DayTransform)]
    if len(fields) != 1 or days != [table.schema().find_field(layout.day_of).field_id]:
        return f"not compacted: it is partitioned by {table.spec()}, not by day of {layout.day_of}"
    if any(each.content == ManifestContent.DELETES for each in _manifests(table)):
        return "not compacted: another program deletes its rows by delete files"
    return None


def pieces_of(table: Table) -> list[Piece]:
    """Describe the files of the newest snapshot that can be merged."""
    widths = widths_of(table.schema())
    return [
        Piece(
            entry.data_file.file_path,
            entry.data_file.partition[0],
            memory_of(entry.data_file, widths),
            entry.sequence_number or 0,
        )
        for entry in _entries(table, _manifests(table))
        if _is_mergeable(entry.data_file, table)
    ]


def _is_mergeable(file: DataFile, table: Table) -> bool:
    """Leave alone what another program wrote in its own way."""
    return (
        file.spec_id == table.spec().spec_id
        and file.file_format == FileFormat.PARQUET
        and file.partition[0] is not None
    )


def _manifests(table: Table) -> list[ManifestFile]:
    snapshot = table.current_snapshot()
    return [] if snapshot is None else snapshot.manifests(table.io)


def _entries(table: Table, manifests: Iterable[ManifestFile]) -> Iterator[ManifestEntry]:
    """Yield what is live, one manifest in memory at a time."""
    for manifest in manifests:
        if manifest.content == ManifestContent.DATA:
            yield from manifest.fetch_manifest_entry(table.io)


def _still_there(
    table: Table, layout: TableLayout, day: int, paths: set[str]
) -> list[DataFile] | None:
    """Return the files of a group from the newest snapshot; None once one of them is gone."""
    if why_not(table, layout):
        return None
    spec = table.spec()
    of_day = manifest_evaluator(spec, table.schema(), EqualTo(term=spec.fields[0].name, value=day))
    manifests = [
        each
        for each in _manifests(table)
        if each.partition_spec_id == spec.spec_id and of_day(each)
    ]
    found = [
        entry.data_file
        for entry in _entries(table, manifests)
        if entry.data_file.file_path in paths
    ]
    return found if len(found) == len(paths) else None


def _compact_group(
    committer: Committer, layout: TableLayout, group: Sequence[Piece], done: Compaction
) -> None:
    """Write one file in place of many; the commit decides whether it still can be."""
    day = group[0].day
    table = committer.tables.load(layout.name)
    with named(layout.name):
        files = _still_there(table, layout, day, {each.path for each in group})
        if files is None:
            return
        merged, into = _merge(table, layout, files)
    if len(merged) < 2:  # noqa: PLR2004 - one file alone is no group
        return
    paths = {each.file_path for each in merged}

    def plan(table: Table, ledger: Ledger) -> Change | None:
        # What was written stays an orphan if another one has merged them, or something has changed.
        there = _still_there(table, layout, day, paths)
        return None if there is None else Change(ledger, append=into, remove=there)

    if committer.commit(layout.name, plan) is not None:
        done.files += len(merged)
        done.into += len(into)
        done.groups += 1


def _merge(
    table: Table, layout: TableLayout, files: Sequence[DataFile]
) -> tuple[list[DataFile], list[DataFile]]:
    """Write the rows of these files as one; return those that were taken, and what came of it."""
    merged, rows = _read(table, files)
    expected = sum(each.record_count for each in merged)
    if rows.num_rows != expected:
        raise TableError(
            f"{layout.name}: {rows.num_rows} rows in files that say {expected}; nothing was"
            f" changed, look at {merged[0].file_path}"
        )
    into = write_files(table, layout, rows) if len(merged) > 1 else []
    return merged, into


def _read(table: Table, files: Sequence[DataFile]) -> tuple[list[DataFile], pa.Table]:
    """Read files in the columns the table has today, as many as may be in memory together."""
    scan = ArrowScan(table.metadata, table.io, table.schema(), AlwaysTrue())
    taken: list[DataFile] = []
    parts: list[pa.Table] = []
    for start in range(0, len(files), _FILES_AT_ONCE):
        some = files[start : start + _FILES_AT_ONCE]
        part = scan.to_table([FileScanTask(each) for each in some])
        size = sum(each.nbytes for each in parts) + part.nbytes
        if parts and size > LONGEST_GROUP_BYTES:
            break
        taken += some
        parts.append(part)
    return taken, pa.concat_tables(parts)
