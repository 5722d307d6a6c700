"""Let go of one horizon's labels, so that they are made anew: rows and ledger in one commit.

Batches are counted on: what a model has learnt from the old ones, a new one does not mix in.
"""

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import AlwaysTrue, EqualTo
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.manifest import DataFile
from pyiceberg.table import FileScanTask, Table

from quotewatch.errors import TableError
from quotewatch.streams import TABLES
from quotewatch.tables.commit import Change, Committer
from quotewatch.tables.data_files import write_files
from quotewatch.tables.label_ledger import (
    batch_mark,
    first_batch_mark,
    line_mark,
    memory_mark,
    source,
)
from quotewatch.tables.ledger import Ledger

_LABELS = TABLES["labels"]


def forget_labels(committer: Committer, horizon_ms: int) -> int:
    """Remove the labels of a horizon and all that is known of them; return how many went."""
    gone = 0

    def plan(table: Table, ledger: Ledger) -> Change:
        nonlocal gone
        remove, kept, gone = _without(table, horizon_ms)
        return Change(_fresh(ledger, horizon_ms), append=kept, remove=remove)

    committer.commit(_LABELS.name, plan)
    return gone


def _fresh(ledger: Ledger, horizon_ms: int) -> Ledger:
    streams = {name: each for name, each in ledger.streams.items() if name != source(horizon_ms)}
    line, last = line_mark(horizon_ms), batch_mark(horizon_ms)
    return (
        replace(ledger, streams=streams)
        .mark(line, ledger.marks.get(line, 0) + 1)
        .mark(first_batch_mark(horizon_ms), ledger.marks.get(last, 0))
        .mark(memory_mark(horizon_ms), -1)
    )


def _without(table: Table, horizon_ms: int) -> tuple[Sequence[DataFile], Sequence[DataFile], int]:
    """Return the files with rows of the horizon, others with the rest of them, and the count."""
    remove: list[DataFile] = []
    kept: list[DataFile] = []
    gone = 0
    for task in table.scan(row_filter=EqualTo(term="horizon_ms", value=horizon_ms)).plan_files():
        if task.delete_files:
            raise TableError(
                "labels: another program deletes its rows by delete files; compact it there first"
            )
        rows = ArrowScan(table.metadata, table.io, table.schema(), AlwaysTrue()).to_table(
            [FileScanTask(task.file)]
        )
        mine = pc.equal(rows.column("horizon_ms"), pa.scalar(horizon_ms, pa.int32()))
        rest = rows.filter(pc.invert(mine))
        if rest.num_rows == rows.num_rows:
            continue
        gone += rows.num_rows - rest.num_rows
        remove.append(task.file)
        kept += write_files(table, _LABELS, rest)
    return remove, kept, gone
