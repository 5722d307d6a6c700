"""Runs of a gateway made up row by row, stored frame by frame, and their labels read back."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pyarrow as pa

from quotewatch.clock import US_PER_SECOND, SystemClock
from quotewatch.frames import Frame, FrameId
from quotewatch.metrics.recorder import Recorder
from quotewatch.stages.label import LabelReport, LabelStage
from quotewatch.streams import EVENTS, FEATURES
from quotewatch.tables.commit import Committer, read_ledger
from tests.market.brute_force import End, Row, label_of
from tests.tables.desk import NOON_S, store

EPOCH = "0001-label"
NOON_US = NOON_S * 1_000_000
# epoch, seq, row
Place = tuple[str, int, int]


@dataclass
class Run:
    """One epoch: rows of features and entries of the journal in the order they were written."""

    epoch: str = EPOCH
    rows: list[Row] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    arrival: int = -1

    def update(self, symbol: str, book: int, conn: int, us: int, price: Decimal) -> None:
        """Take one message that made a features row."""
        self.arrival += 1
        self.rows.append(Row(symbol, book, conn, us, self.arrival, price - 1, price + 1))

    def note(self, kind: str, conn: int = 1, **said: Any) -> None:
        """Write one entry of the journal, beside a message of its own."""
        self.arrival += 1
        self.entries.append({"kind": kind, "conn": conn, "arrival": self.arrival, **said})

    def invalid(self, symbol: str, book: int, conn: int) -> None:
        """End one book."""
        self.note("invalid", conn, symbol=symbol, book=book)
        self.ends.append(End(self.arrival, symbol=symbol, book=book))

    def close(self, conn: int) -> None:
        """End a connection."""
        self.note("close", conn)
        self.ends.append(End(self.arrival, conn=conn))

    def final(self, feature_frames: int) -> None:
        """End the epoch."""
        self.note("final", stream="features", to_id=feature_frames - 1)
        self.ends.append(End(self.arrival))

    def feature_frames(self, sizes: Sequence[int]) -> list[Frame]:
        """Cut the features into frames of these sizes, the last taking what is left."""
        return [
            _feature_frame(self.epoch, seq, part) for seq, part in enumerate(_cut(self.rows, sizes))
        ]

    def event_frames(self, sizes: Sequence[int]) -> list[Frame]:
        """Cut the journal likewise."""
        return [
            _event_frame(self.epoch, seq, part)
            for seq, part in enumerate(_cut(self.entries, sizes))
        ]

    def expected(self, frames: Sequence[Frame], horizon_us: int) -> dict[Place, tuple[int, float]]:
        """Return what the slow way says: label and mid at the horizon by place."""
        found = {}
        places = _places(frames)
        for place, row in zip(places, self.rows, strict=True):
            said = label_of(row, self.rows, self.ends, horizon_us)
            if said is not None:
                found[place] = said[0], float(said[1].bid + said[1].ask) / 2
        return found


def steady(seconds: float, *, symbol: str = "BTC-USD", every: float = 0.1) -> Run:
    """Make a book that moves now and then."""
    run = Run()
    rng = random.Random(7)
    for number in range(round(seconds / every)):
        price = Decimal(100) + Decimal(rng.choice((0, 0, 1, 2))) / 100
        run.update(symbol, 1, 1, round(number * every * US_PER_SECOND), price)
    return run


def _cut(values: Sequence[Any], sizes: Sequence[int]) -> list[Sequence[Any]]:
    parts = []
    at = 0
    for size in sizes:
        if at >= len(values):
            break
        parts.append(values[at : at + size])
        at += size
    if at < len(values):
        parts.append(values[at:])
    return parts


def _places(frames: Iterable[Frame]) -> Iterator[Place]:
    for each in frames:
        for number in range(each.rows.num_rows):
            yield each.id.epoch, each.id.seq, number


def _feature_frame(epoch: str, seq: int, rows: Sequence[Row]) -> Frame:
    plain = [
        {
            "symbol": row.symbol,
            "book": row.book,
            "exchange_time": NOON_US + row.us,
            "received_at": NOON_US + row.us + 5_000,
            "conn": row.conn,
            "arrival": row.arrival,
            "best_bid": row.bid,
            "best_ask": row.ask,
            "mid": float(row.bid + row.ask) / 2,
            "spread_bps": 1.0,
            "imbalance": 0.25,
            "depth": 10.0,
            "microprice_bps": 0.5,
            "order_flow_imbalance": 1.5,
            "volatility": 0.125,
            "trade_imbalance": None,
        }
        for row in rows
    ]
    return _frame(FEATURES.name, epoch, seq, plain)


def _event_frame(epoch: str, seq: int, entries: Sequence[dict[str, Any]]) -> Frame:
    nothing = dict.fromkeys(EVENTS.schema.names)
    plain = [
        {**nothing, "received_at": NOON_US + entry["arrival"] * 1_000, **entry} for entry in entries
    ]
    return _frame(EVENTS.name, epoch, seq, plain)


def _frame(stream: str, epoch: str, seq: int, rows: Sequence[dict[str, Any]]) -> Frame:
    schema = FEATURES.schema if stream == FEATURES.name else EVENTS.schema
    batch = pa.RecordBatch.from_pylist(list(rows), schema=schema)
    received_ns = NOON_US * 1_000
    return Frame(FrameId(stream, epoch, seq), "test", batch, received_ns, received_ns)


# In the tables


def store_some(committer: Committer, frames: Sequence[Frame]) -> None:
    """Store frames of either stream, those of each in one commit."""
    for stream in (EVENTS.name, FEATURES.name):
        mine = [each for each in frames if each.id.stream == stream]
        if mine:
            store(committer, mine)


def label_now(committer: Committer, *horizons_ms: int) -> LabelReport:
    """Run the stage once."""
    stage = LabelStage(committer, Recorder("test"), SystemClock(), horizons_ms or (500,))
    report = stage.run_once()
    assert report.error is None
    return report


def labels_in(committer: Committer, horizon_ms: int = 500) -> list[dict[str, Any]]:
    """Return the labels of one horizon in the order models learn them."""
    rows = committer.tables.load("labels").scan().to_arrow().to_pylist()
    mine = [row for row in rows if row["horizon_ms"] == horizon_ms]
    return sorted(mine, key=lambda row: (row["batch"], row["epoch"], row["seq"], row["row"]))


def assert_labels(
    committer: Committer, expected: dict[Place, tuple[int, float]], horizon_ms: int = 500
) -> None:
    """Say that exactly these labels are stored, each once."""
    rows = labels_in(committer, horizon_ms)
    found = {
        (row["epoch"], row["seq"], row["row"]): (row["label"], row["mid_at_horizon"])
        for row in rows
    }
    assert len(found) == len(rows)
    assert found == expected
    # The ledger says the same: whoever has rows is done.
    ledger = read_ledger(committer.tables.load("labels")).stream(f"features@{horizon_ms}")
    assert all(seq in ledger.epochs[epoch].done for epoch, seq, _ in found)
    batches = sorted({row["batch"] for row in rows})
    assert batches == list(range(1, len(batches) + 1))
