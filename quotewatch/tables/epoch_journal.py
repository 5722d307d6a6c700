"""What the journal of one epoch says about the ends of its books: `events` in, facts out."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from pyiceberg.expressions import EqualTo

from quotewatch.clock import US_PER_SECOND
from quotewatch.market.labels import NEVER, Sighting
from quotewatch.streams import FEATURES
from quotewatch.tables.dataset import current, read
from quotewatch.tables.histories import History

# A window of features closes at the latest a minute after its first row.
_LONGEST_WINDOW_US = 61 * US_PER_SECOND
_COLUMNS = (
    "kind", "seq", "arrival", "conn", "symbol", "book", "stream", "to_id", "at", "received_at",
)  # fmt: skip

Row = Mapping[str, Any]


@dataclass
class EpochJournal:
    """What a stretch of the journal tells, from one message of the epoch on."""

    features_until: int = -1  # every features row up to this arrival is stored
    events_until: int = -1  # every event before this arrival is stored
    conn_ends: dict[int, int] = field(default_factory=dict)
    sightings: list[Sighting] = field(default_factory=list)
    invalid: dict[tuple[str, int], int] = field(default_factory=dict)
    snapshots: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    final: int | None = None

    def end_of(self, symbol: str, book: int, conn: int) -> int | None:
        """Return the arrival of what ended a book, if something did."""
        found = [arrival for number, arrival in self.snapshots.get(symbol, ()) if number > book]
        told = (self.invalid.get((symbol, book)), self.conn_ends.get(conn), self.final)
        return min([*found, *(each for each in told if each is not None)], default=None)

    def take(self, row: Row, features: int) -> None:
        """Take one row; `features` is the last of their frames that is certain."""
        arrival, conn = row["arrival"], row["conn"]
        self.events_until = max(self.events_until, arrival)
        if row["at"] is not None:
            self.sightings.append(Sighting(conn, row["at"], arrival))
        match row["kind"]:
            case "invalid":
                self.invalid.setdefault((row["symbol"], row["book"]), arrival)
            case "snapshot":
                self.snapshots[row["symbol"]].append((row["book"], arrival))
            case "close":
                self.conn_ends.setdefault(conn, arrival)
            case "final":
                self.final = arrival
                self.events_until = NEVER
                if row["stream"] == FEATURES.name and _reaches(features, row["to_id"]):
                    self.features_until = NEVER


def read_epoch_journal(history: History, from_arrival: int) -> EpochJournal:
    """Read what an epoch wrote down from one of its messages on."""
    journal = EpochJournal()
    if history.over:
        journal.features_until = journal.events_until = NEVER
    rows = _rows(history, from_arrival)
    for row in rows:
        journal.take(row, history.until)
    journal.features_until = max(journal.features_until, _closed_windows(rows, history.until))
    return journal


def _closed_windows(rows: Iterable[Row], features: int) -> int:
    """Return the arrival up to which every window has closed and is stored.

    Where no features come for long, the journal tells that none is on its way: it names the last
    frame each time, and no window stays open from one minute to the next.
    """
    listed = list(rows)
    said = [
        row["received_at"]
        for row in listed
        if row["kind"] == "high_water"
        and row["stream"] == FEATURES.name
        and _reaches(features, row["to_id"])
    ]
    before = max(said, default=0) - _LONGEST_WINDOW_US
    return max((row["arrival"] for row in listed if row["received_at"] <= before), default=-1)


def _reaches(features: int, to_id: int | None) -> bool:
    return to_id is None or to_id <= features


def _rows(history: History, from_arrival: int) -> list[Row]:
    if history.events is None:
        return []
    epoch = history.epoch
    there = current(history.events, "arrival", EqualTo(term="epoch", value=epoch)).rows
    chosen = (ds.field("epoch") == epoch) & (ds.field("arrival") >= from_arrival)
    rows = read(there, _COLUMNS, chosen)
    for name in ("at", "received_at"):
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, name, rows.column(name).cast(pa.int64()))
    certain = history.events_stored.holds(rows.column("seq").to_numpy())
    return list(rows.filter(pa.array(certain)).to_pylist())
