"""Leaving out trades that are stored, with ten million of them in the ledger: us a row.

The ledger knows the ids of 100 products, each with a few holes. No ten million rows are stored for
it: the lookup never reads a table, whatever the age of a trade, and that is the point.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import _timing
from benchmarks.stored_rows import EPOCH, Rows
from quotewatch.frames import Frame, FrameId
from quotewatch.intervals import Intervals
from quotewatch.streams import RAW_TRADES
from quotewatch.tables import ledger as ledgers
from quotewatch.tables.gathering import Arrived, rows_of
from quotewatch.tables.intake import without_known_trades
from quotewatch.tables.ledger import Ledger

_PRODUCTS = tuple(f"{number:03}-USD" for number in range(100))
_TRADES_EACH = 100_000
_FIRST_ID = 50_000_000
_ROWS = 7_000  # a minute of 100 products
_PASSES = 60


def main() -> None:
    """Measure in fresh processes with few and with many holes, and print the tables."""
    lookups: list[dict[str, object]] = []
    texts: list[dict[str, object]] = []
    for holes in (5, 50):
        found = _timing.measure("benchmarks.trade_lookup", str(holes))
        for name, seconds in found["lookups"].items():
            lookups.append(
                {
                    "rows that come": name,
                    "holes a product": holes,
                    "ms": seconds * 1e3,
                    "us a row": seconds / _ROWS * 1e6,
                }
            )
        texts.append(
            {
                "ledger": f"{found['trades']} trades",
                "holes a product": holes,
                "bytes": found["bytes"],
                "load ms": found["load"] * 1e3,
                "dump ms": found["dump"] * 1e3,
                "add the new ids ms": found["hold"] * 1e3,
            }
        )
    _timing.print_table(f"{_ROWS} trades against 10 M stored ones, CPU, best of many", lookups)
    _timing.print_table("The ledger of these trades", texts)


def _measure(holes: str) -> None:
    _timing.pin()
    ledger = _ledger(int(holes))
    new, late, stored = _rows(newest=True), _rows(newest=True, late=1), _rows(newest=False)
    text = ledger.dump()
    _, ids = without_known_trades(new, ledger.trades)
    lookups = {
        "all new": _best(lambda: without_known_trades(new, ledger.trades)),
        "one is a day old and stored": _best(lambda: without_known_trades(late, ledger.trades)),
        "all are stored": _best(lambda: without_known_trades(stored, ledger.trades)),
    }
    kept = [without_known_trades(each, ledger.trades)[0].num_rows for each in (new, late, stored)]
    if kept != [_ROWS, _ROWS - 1, 0]:
        raise _timing.MeasureError(f"{kept} rows were new")
    print(
        json.dumps(
            {
                "lookups": lookups,
                "trades": sum(each.count for each in ledger.trades.values()),
                "bytes": len(text),
                "load": _best(lambda: ledgers.load(text)),
                "dump": _best(ledger.dump),
                "hold": _best(lambda: ledger.hold(ids)),
            }
        )
    )


def _best(work: Callable[[], object]) -> float:
    return _timing.best_cpu_seconds(lambda: work, _PASSES)


def _ledger(holes: int) -> Ledger:
    """Make a ledger in which each product lacks some single trades, none of the first thousand."""
    random = np.random.default_rng(1)
    trades = {}
    for product in _PRODUCTS:
        lost = random.choice(np.arange(1_000, _TRADES_EACH - 1), holes, replace=False)
        ids = np.delete(np.arange(_TRADES_EACH, dtype=np.int64), lost)
        trades[product] = Intervals.of_sorted(ids + _FIRST_ID)
    return Ledger(trades=trades)


def _rows(*, newest: bool, late: int = 0) -> pa.Table:
    """Make rows with ids that follow those stored, or the oldest of them; some are late."""
    batch = Rows(RAW_TRADES.name).batch(_ROWS)
    codes = np.sort(np.arange(_ROWS) % len(_PRODUCTS)).astype(np.int8)
    each = _ROWS // len(_PRODUCTS)
    ids = _FIRST_ID + np.tile(np.arange(each, dtype=np.int64), len(_PRODUCTS))
    if newest:
        ids += _TRADES_EACH
    ids[:late] = _FIRST_ID  # about a day ago
    order = np.random.default_rng(2).permutation(_ROWS)  # products come mixed, ids in their order
    order[np.argsort(codes[order], kind="stable")] = np.sort(order)
    columns: dict[str, Any] = dict(zip(batch.schema.names, batch.columns, strict=True))
    indices: Any = pa.array(codes[order])
    columns["symbol"] = pa.DictionaryArray.from_arrays(indices, pa.array(_PRODUCTS, pa.string()))
    columns["trade_id"] = pa.array(ids[order])
    rows = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    return rows_of(
        RAW_TRADES.name,
        [Arrived(Frame(FrameId(RAW_TRADES.name, EPOCH, 0), "bench", rows, 1, 2), 1)],
    )


if __name__ == "__main__":
    _measure(sys.argv[1])
