"""What tables of a run say about each features row, compared: nothing may differ by a bit.

Recomputed from raw rows, stored as features, copied into labels, answered by a model: the same
numbers everywhere; and each label is what the slow way makes of the rows.
"""

from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from quotewatch.learning.inputs import inputs_of
from quotewatch.learning.store import ModelStore
from quotewatch.market.replay import recompute
from quotewatch.streams import FEATURE_COLUMNS, LINEAGE
from quotewatch.tables.catalog import Tables
from quotewatch.tables.reader import Reader
from tests.market.brute_force import End, Row, label_of

EVER = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
_COPIED = (
    "symbol", "book", "conn", "exchange_time", "received_at", "arrival", "best_bid", "best_ask",
    "mid", *FEATURE_COLUMNS,
)  # fmt: skip

Place = tuple[str, int, int]


def rows_of(tables: Tables, name: str) -> pa.Table:
    """Return a table's rows in the order of their lineage."""
    table = tables.find(name)
    assert table is not None
    return table.scan().to_arrow().sort_by([(each, "ascending") for each in LINEAGE.names])


def words_in(rows: pa.Table, name: str) -> list[str]:
    return sorted({str(word) for word in rows.column(name).to_pylist()})


def by_place(rows: pa.Table) -> dict[Place, dict[str, Any]]:
    return {(row["epoch"], row["seq"], row["row"]): row for row in rows.to_pylist()}


def assert_recomputed(tables: Tables) -> int:
    """Say that features follow from raw rows, bit for bit; return how many there are."""
    reader = Reader(tables)
    count = 0
    for epoch in reader.epochs():
        features = rows_of(tables, "features")
        symbols = words_in(features, "symbol")
        computed = defaultdict(list)
        for row in recompute(reader.market(symbols, *EVER, epoch=epoch.id)):
            computed[row.symbol].append(row)
        for symbol in symbols:
            stored = list(reader.features(symbol, *EVER, epoch=epoch.id))
            assert len(stored) == len(computed[symbol])
            pairs = zip(stored, computed[symbol], strict=True)
            assert all(kept.equals(row) for kept, row in pairs)
            count += len(stored)
    return count


def assert_copied(tables: Tables) -> int:
    """Say that labels carry their features row, and that a model is asked the same of both."""
    features = rows_of(tables, "features")
    places = {
        place: number
        for number, place in enumerate(
            zip(*(features.column(name).to_pylist() for name in LINEAGE.names), strict=True)
        )
    }
    labels = rows_of(tables, "labels")
    chosen = [
        places[place]
        for place in zip(*(labels.column(name).to_pylist() for name in LINEAGE.names), strict=True)
    ]
    theirs = features.take(pa.array(chosen, pa.int64()))
    for name in _COPIED:
        assert theirs.column(name).to_pylist() == labels.column(name).to_pylist(), name
    ours, other = inputs_of(labels), inputs_of(theirs)
    assert ours.matrix.tobytes() == other.matrix.tobytes()
    return labels.num_rows


def assert_answered(tables: Tables, store: ModelStore) -> int:
    """Say that each prediction is what its version answers to the stored features row."""
    features, predictions = rows_of(tables, "features"), rows_of(tables, "predictions")
    places = {
        place: number
        for number, place in enumerate(
            zip(*(features.column(name).to_pylist() for name in LINEAGE.names), strict=True)
        )
    }
    by_version = defaultdict(list)
    for row in predictions.to_pylist():
        by_version[row["model_version"]].append(row)
    for version, given in by_version.items():
        model = store.load(version).model
        chosen = [places[row["epoch"], row["seq"], row["row"]] for row in given]
        asked = features.take(pa.array(chosen, pa.int64()))
        probabilities, said = model.answers(inputs_of(asked))
        assert np.array([row["probability"] for row in given]).tobytes() == probabilities.tobytes()
        assert [row["prediction"] for row in given] == said.tolist()
        for row, of in zip(given, asked.to_pylist(), strict=True):
            names = ("symbol", "exchange_time", "received_at")
            assert [row[name] for name in names] == [of[name] for name in names]
    return predictions.num_rows


def assert_labelled(tables: Tables, horizon_ms: int, *, every: int = 1) -> int:
    """Say that labels are those of the slow way, looking at one row in so many."""
    features, events = rows_of(tables, "features"), rows_of(tables, "events")
    labels = by_place(rows_of(tables, "labels"))
    labels = {place: row for place, row in labels.items() if row["horizon_ms"] == horizon_ms}
    seen = 0
    for epoch in words_in(features, "epoch"):
        stored = {p: row for p, row in by_place(features).items() if p[0] == epoch}
        mine = {place: _row(row) for place, row in stored.items()}
        mids = {_row(row): row["mid"] for row in stored.values()}
        ends = [_end(row) for row in events.to_pylist() if row["epoch"] == epoch]
        everything = list(mine.values())
        told = [end for end in ends if end is not None]
        for place, row in list(mine.items())[::every]:
            said = label_of(row, everything, told, horizon_ms * 1_000)
            found = labels.get(place)
            assert (found is None) == (said is None), (place, found, said)
            if found is not None and said is not None:
                assert found["label"] == said[0]
                assert found["mid_at_horizon"] == mids[said[1]]
                seen += 1
    return seen


def _row(row: dict[str, Any]) -> Row:
    us = round(row["exchange_time"].timestamp() * 1e6)
    return Row(
        row["symbol"], row["book"], row["conn"], us, row["arrival"], row["best_bid"],
        row["best_ask"],
    )  # fmt: skip


def _end(row: dict[str, Any]) -> End | None:
    match row["kind"]:
        case "invalid":
            return End(row["arrival"], symbol=row["symbol"], book=row["book"])
        case "snapshot":
            return End(row["arrival"], symbol=row["symbol"], book=row["book"] - 1)
        case "close":
            return End(row["arrival"], conn=row["conn"])
        case "final":
            return End(row["arrival"])
    return None
