"""What a soak published beside what its tables hold, read with pyiceberg alone."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import load_catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from benchmarks.soak_content import BROKEN, FRAME_ROWS, GOOD, LOST_NAME, STREAMS
from quotewatch.streams import RAW_TRADES

Frame = dict[str, Any]  # a line's entry, as Sent.plain() wrote it
_LINEAGE = ["epoch", "seq", "row"]
_TRADE = ["symbol", "trade_id"]


@dataclass
class Published:
    """What the bus took, and what it may have taken from a publisher that was killed."""

    taken: list[Frame] = field(default_factory=list)
    asked: list[Frame] = field(default_factory=list)

    @classmethod
    def read(cls, log: Path) -> "Published":
        """Read the log; a line that was cut off by a kill was not taken."""
        found = cls()
        for line in log.read_bytes().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            (found.taken if entry["state"] == "taken" else found.asked).extend(entry["sent"])
        return found

    def names(self, stream: str, kinds: Iterable[str]) -> set[tuple[str, int]]:
        """Name the frames that were taken, epoch and seq."""
        return {
            (each["epoch"], each["seq"])
            for each in self.taken
            if each["stream"] == stream and each["kind"] in kinds
        }

    def messages(self) -> int:
        """Count what the bus took."""
        return len(self.taken)

    def unreadable(self) -> int:
        """Count what had to be put aside."""
        return sum(each["kind"] in {BROKEN, LOST_NAME} for each in self.taken)


@dataclass(frozen=True, slots=True)
class Proof:
    """One table."""

    table: str
    expected: int
    stored: int
    missing: int
    duplicates: int
    strangers: int  # rows that nobody published, or with another content
    commits: int


def proofs(data: Path, published: Published) -> list[Proof]:
    """Compare every table with what was published."""
    catalog = load_catalog(
        "quotewatch",
        type="sql",
        uri=f"sqlite:///{data / 'catalog.db'}",
        warehouse=str(data / "warehouse"),
    )
    try:
        return [_proof(catalog.load_table(("quotewatch", name)), published) for name in STREAMS]
    finally:
        if isinstance(catalog, SqlCatalog):
            catalog.close()


def _proof(table: Table, published: Published) -> Proof:
    stream = table.name()[-1]
    fields = (*_LINEAGE, "arrival", *(_TRADE if stream == RAW_TRADES.name else ()))
    rows = _plain(table.scan(selected_fields=fields).to_arrow())
    key = _TRADE if stream == RAW_TRADES.name else _LINEAGE
    expand = _trades_of if stream == RAW_TRADES.name else _rows_of
    taken = expand(_good(published.taken, stream))
    asked = expand(_good([*published.asked, *published.taken], stream))
    columns = asked.column_names
    snapshot = table.current_snapshot()
    once = rows.group_by(key).aggregate([])
    return Proof(
        stream,
        taken.num_rows,
        rows.num_rows,
        taken.join(once, key, join_type="left anti").num_rows,
        rows.num_rows - min(once.num_rows, rows.group_by(_LINEAGE).aggregate([]).num_rows),
        rows.join(asked, columns, join_type="left anti").num_rows,
        snapshot.sequence_number or 0 if snapshot is not None else 0,
    )


def _good(frames: Iterable[Frame], stream: str) -> Iterator[Frame]:
    """Yield each readable frame of a stream once."""
    seen = set()
    for each in frames:
        name = (each["epoch"], each["seq"])
        if each["stream"] == stream and each["kind"] == GOOD and name not in seen:
            seen.add(name)
            yield each


def _rows_of(frames: Iterable[Frame]) -> pa.Table:
    """Return the lineage of every row, and the one number that tells its content."""
    listed = list(frames)
    places = np.tile(np.arange(FRAME_ROWS), len(listed))
    firsts = np.repeat(np.array([each["arrival"] for each in listed], np.int64), FRAME_ROWS)
    columns: dict[str, Any] = {
        "epoch": np.repeat(np.array([each["epoch"] for each in listed], object), FRAME_ROWS),
        "seq": np.repeat(np.array([each["seq"] for each in listed], np.int64), FRAME_ROWS),
        "row": places,
        "arrival": firsts + places,
    }
    return _plain(pa.table(columns))


def _trades_of(frames: Iterable[Frame]) -> pa.Table:
    """Return every trade, whichever gateway sent it."""
    symbols: list[str] = []
    ids: list[int] = []
    for each in frames:
        for symbol, (first, last) in each["trades"].items():
            symbols += [symbol] * (last + 1 - first)
            ids += range(first, last + 1)
    columns: dict[str, Any] = {"symbol": symbols, "trade_id": ids}
    return _plain(pa.table(columns)).group_by(_TRADE).aggregate([])


def _plain(rows: pa.Table) -> pa.Table:
    """Give equal columns equal types: tables join on those alone."""
    for place, name in enumerate(rows.column_names):
        kind = pa.string() if name in {"epoch", "symbol"} else pa.int64()
        rows = rows.set_column(place, name, pc.cast(rows.column(place), kind))
    return rows
