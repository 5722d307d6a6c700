"""What tests of tables work with: frames of every stream, a catalog of their own, and a clock."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyiceberg.table import Table

from quotewatch.clock import NS_PER_SECOND, US_PER_SECOND
from quotewatch.frames import Frame, FrameId
from quotewatch.streams import CHANGES, DECIMAL, STREAMS, TABLES
from quotewatch.tables.catalog import Tables, catalog_properties
from quotewatch.tables.commit import Change, Committed, Committer, Expiry, Plan
from quotewatch.tables.gathering import Arrived, rows_of
from quotewatch.tables.intake import Intake, Stored
from quotewatch.tables.ledger import Ledger, Seen

DAY_SECONDS = 86_400
NOON_S = 20_700 * DAY_SECONDS + DAY_SECONDS // 2  # of some day in 2026
NOON_NS = NOON_S * NS_PER_SECOND
EPOCH = "0001-desk"
SYMBOLS = ("BTC-USD", "ETH-USD", "SOL-USD")
IDS_APART = 1_000_000_000  # no two products share a trade id

# What a required string column says, where it matters.
_WORDS = {
    "kind": {"raw_orderbook": "update", "events": "high_water"},
    "taker_side": {"raw_trades": "buy"},
    "source": {"raw_trades": "ws"},
}


@dataclass(slots=True)
class DeskClock:
    """Stands still until it is set, or somebody sleeps on it."""

    ns: int = NOON_NS
    seconds: float = 0.0

    def now_ns(self) -> int:
        return self.ns

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.ns += round(seconds * NS_PER_SECOND)
        self.seconds += seconds


class RunningClock(DeskClock):
    """Wall time as set, durations as they are: for what waits for other processes."""

    def monotonic(self) -> float:
        return time.monotonic()


def desk(directory: Path, clock: DeskClock | None = None) -> Committer:
    """Return a committer on a SQLite catalog with real files below the directory."""
    tables = Tables(catalog_properties("", "", directory))
    if clock is None:
        return Committer(tables)
    return Committer(tables, clock=clock, sleep=clock.sleep)


@contextmanager
def open_desk(directory: Path, clock: DeskClock | None = None) -> Iterator[Committer]:
    """Return the same, closed in the end: an open connection is a warning, and thus an error."""
    committer = desk(directory, clock)
    try:
        yield committer
    finally:
        committer.tables.close()


# Frames


def frame(
    stream: str,
    seq: int = 0,
    *,
    rows: int = 3,
    epoch: str = EPOCH,
    at_s: float = NOON_S,
    changes: int = 2,
    first_id: int | None = None,
) -> Frame:
    """Make a frame whose rows are a millisecond apart; the same arguments, the same frame.

    Trades of each product are numbered from first_id on (a billion apart), by default where the
    frame with the seq before has ended: without holes, as long as all frames have as many rows.
    """
    each_id = -(-rows // len(SYMBOLS))
    first = seq * each_id + 1 if first_id is None else first_id
    numbers = np.arange(rows, dtype=np.int64)
    times = round(at_s * US_PER_SECOND) + numbers * 1_000
    columns = [
        pa.array(numbers, each.type)
        if each.name == "row"
        else _column(stream, each, numbers + first, times, changes)
        for each in _schema(stream)
    ]
    batch = pa.RecordBatch.from_arrays(columns, schema=_schema(stream))
    received_ns = round(at_s * NS_PER_SECOND)
    return Frame(FrameId(stream, epoch, seq), "desk", batch, received_ns, received_ns)


def frames(stream: str, count: int, *, start: int = 0, **given: Any) -> list[Frame]:
    """Make frames with consecutive seqs."""
    return [frame(stream, seq, **given) for seq in range(start, start + count)]


def _schema(stream: str) -> pa.Schema:
    return STREAMS[stream].schema


def _column(stream: str, field: "pa.Field[Any]", numbers: Any, times: Any, changes: int) -> Any:
    """Fill a column with what could stand there; every third value is null where one may be."""
    kind: Any = field.type
    if field.name == "changes":
        return _changes(len(numbers), changes)
    if field.name == "trade_id":
        places = np.arange(len(numbers))
        own = places % len(SYMBOLS) * IDS_APART
        return pa.array(own + numbers[0] + places // len(SYMBOLS))
    if pa.types.is_decimal(kind):
        return _decimals(numbers)
    mask = np.zeros(len(numbers), np.bool_)
    if field.nullable:
        mask[2::3] = True
    if pa.types.is_timestamp(kind):
        return pa.array(times, pa.int64(), mask=mask).cast(kind)
    if pa.types.is_string(kind):
        return pa.array(_words(stream, field.name, len(numbers)), kind, mask=mask)
    scaled = numbers / 8 if pa.types.is_floating(kind) else numbers
    return pa.array(scaled.astype(kind.to_pandas_dtype()), mask=mask)


def _words(stream: str, name: str, count: int) -> Any:
    if name == "symbol":
        return np.array(SYMBOLS, dtype=object)[np.arange(count) % len(SYMBOLS)]
    word = _WORDS.get(name, {}).get(stream, f"some {name}")
    return np.full(count, word, dtype=object)


def _decimals(numbers: Any) -> "pa.Array[Any]":
    """Return numbers with two digits after the point."""
    return pa.array(numbers, pa.int64()).cast(pa.decimal128(20, 0)).cast(DECIMAL)


def _changes(rows: int, changes: int) -> "pa.Array[Any]":
    total = rows * changes
    sides = np.array(["bid", "ask"], dtype=object)[np.arange(total) % 2]
    levels = pa.StructArray.from_arrays(
        [
            pa.array(sides, pa.string()),
            _decimals(np.arange(total)),
            _decimals(np.arange(total) + 7),
        ],
        fields=list(CHANGES.value_type),
    )
    offsets = pa.array(np.arange(rows + 1) * changes, pa.int32())
    return pa.ListArray.from_arrays(offsets, levels, type=CHANGES)


# Into the table and out of it


def arrived(given: Sequence[Frame], published_ns: int | None = None) -> list[Arrived]:
    """Say that the bus took them when they were received, or then."""
    return [Arrived(each, published_ns or each.last_received_ns) for each in given]


def store(
    committer: Committer,
    given: Sequence[Frame],
    *,
    aside: Sequence[Seen] = (),
    published_ns: int | None = None,
) -> Stored:
    """Store frames of one stream, in one commit."""
    intake = Intake(committer, given[0].id.stream)
    return intake.store(arrived(given, published_ns), aside)


def store_each(committer: Committer, given: Sequence[Frame]) -> None:
    """Store frames of one stream, each in a commit of its own."""
    for each in given:
        store(committer, [each])


def expected_rows(given: Sequence[Frame]) -> pa.Table:
    """Return what a table holds that got these frames, each once."""
    stream = given[0].id.stream
    return _ordered(rows_of(stream, arrived(given)).cast(TABLES[stream].schema))


def rows_in(table: Table) -> pa.Table:
    """Return all rows of the newest snapshot in the order of their lineage."""
    found = table.scan().to_arrow()
    wanted = pa.schema([TABLES[table.name()[-1]].schema.field(name) for name in found.schema.names])
    return _ordered(found.cast(wanted))


def assert_rows(committer: Committer, given: Sequence[Frame]) -> None:
    """Say that the table holds the rows of these frames, each once, and no others."""
    found, wanted = rows_in(committer.tables.load(given[0].id.stream)), expected_rows(given)
    assert found.num_rows == wanted.num_rows
    assert found.select(wanted.schema.names).equals(wanted)


def _ordered(rows: pa.Table) -> pa.Table:
    by: list[Any] = [("epoch", "ascending"), ("seq", "ascending"), ("row", "ascending")]
    return rows.sort_by(by).combine_chunks()


def data_files(table: Table) -> list[str]:
    """Return the paths of the files of the newest snapshot."""
    return sorted(task.file.file_path for task in table.scan().plan_files())


def operations(table: Table) -> list[str]:
    """Return what kind each snapshot is of, the oldest first."""
    ordered = sorted(table.snapshots(), key=lambda each: each.sequence_number or 0)
    return [str(each.summary.operation.value) for each in ordered if each.summary is not None]


def never() -> bool:
    """Return that time is never over."""
    return False


class DisturbedCommitter(Committer):
    """Lets something happen between what a plan has read and its commit, once."""

    def __init__(self, committer: Committer, step: Callable[[], object]) -> None:
        super().__init__(committer.tables, sleep=lambda _: None)
        self._steps = [step]

    def commit(self, name: str, plan: Plan, **given: Any) -> Committed | None:
        def disturbed(table: Table, ledger: Ledger) -> Change | Expiry | None:
            change = plan(table, ledger)
            if change is not None and self._steps:
                self._steps.pop()()
            return change

        return super().commit(name, disturbed, **given)
