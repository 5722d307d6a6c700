"""`reconcile` against real tables and the exchange's REST: gaps of every fate, each known.

The clock stands still but where the run moves it: a commit takes 0.2 s, and so does one that fails.
"""

import errno
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from quotewatch.clock import US_PER_SECOND
from quotewatch.stages.accounting import Account, Counted
from quotewatch.tables.commit import Committer
from tests.fakes.rest import trades_over_rest
from tests.metrics.exact.known import Known, calls, recorder_of
from tests.metrics.exported import Exported, by, histograms, one
from tests.stages.test_reconcile import BTC, ETH, PATIENCE, SETTLE, Exchange, Room
from tests.tables.frames import Desk, Faults, row_of

OWNERS = ("reconcile",)
COMMIT = 0.2  # seconds


def known_run(folder: Path) -> Known:
    known, recorder = Known(), recorder_of("reconcile")
    histories = {BTC: range(1, 201), ETH: [*range(1, 12), *range(13, 201)]}  # 12 never was
    with (
        trades_over_rest(Exchange(histories=histories)) as exchange,
        closing(Desk(folder, recorder=recorder)) as desk,
    ):
        assert isinstance(exchange, Exchange)
        mine = desk.committer
        # What others store is not counted here.
        desk.committer = Committer(desk.tables, clock=desk.clock, sleep=desk.clock.sleep)
        room, faults = Room(desk, exchange), Faults(desk.tables)

        def reconcile(meanwhile: Callable[[], None] = lambda: None) -> None:
            def take_time() -> None:
                desk.clock.sleep(COMMIT)
                meanwhile()

            faults.on_commit = take_time
            account = Account("reconcile", recorder, desk.clock)
            Counted(room.stage(mine), account).run_once()
            faults.on_commit = lambda: None

        lose(room)
        reconcile()  # four gaps
        room.wait(SETTLE)
        reconcile()  # three trades heal one, one trade another; that of the third is nowhere
        room.wait(PATIENCE)
        reconcile()  # two gaps are given up
        room.trades(110)
        seen_us = room.now_us()
        reconcile()  # a gap again
        succeeded_ns = desk.clock.now_ns()
        room.wait(SETTLE)
        # Its trades are stored, but that it has healed is not: the disk is full by then.
        full = ("before", OSError(errno.ENOSPC, "No space left on device"))
        stored = faults.landed
        reconcile(lambda: faults.add(full) if faults.landed > stored else None)
    succeeded = calls("reconcile", ok=4, failed=1, seconds=2 * COMMIT, succeeded_ns=succeeded_ns)
    known.note("reconcile", recorder, succeeded | wanted(seen_us))
    return known


def lose(room: Room) -> None:
    """Store all that comes: without three trades of one product, two of another, and a frame."""
    room.trades(101, 105)
    room.trades(11, 13, 15, symbol=ETH)
    room.frame("raw_orderbook", [row_of("raw_orderbook")])
    room.lose("raw_orderbook")
    room.frame("raw_orderbook", [row_of("raw_orderbook")])
    room.frame("features", [row_of("features")])
    room.frame("predictions", [row_of("predictions")])
    room.tell({"kind": "drop"})


def wanted(seen_us: int) -> Exported:
    return {
        # As the last call that did not fail has proven it: 10 trades of 15, 2 frames of 3.
        "data_completeness_ratio": by(
            "table",
            {
                "raw_trades": 10 / 15,
                "raw_orderbook": 2 / 3,
                "features": 1,
                "events": 1,
                "predictions": 1,
            },
        ),
        "data_missing": by(
            "table",
            {"raw_trades": 4 + 1, "raw_orderbook": 1, "features": 0, "events": 0, "predictions": 0},
        ),
        "reconcile_gaps_open": one(1),
        "reconcile_oldest_gap_timestamp_seconds": one(seen_us / US_PER_SECOND),
        "reconcile_gaps_total": by("state", {"opened": 4 + 1, "healed": 2, "permanent": 2}),
        "reconcile_trades_fetched_total": one(3 + 1 + 4),
        # Three gaps of trades; the one that misses its trade still; the last one.
        "reconcile_requests_total": one(3 + 1 + 1),
        "iceberg_rows_written_total": by(
            "table", {"raw_trades": 3 + 1 + 4, "gaps": 4 + 3 + 1 + 1 + 1}
        ),
        "iceberg_flush_total": by("table", {"raw_trades": 3, "gaps": 5}),
        "iceberg_flush_duration_seconds": histograms(
            "iceberg_flush_duration_seconds",
            "table",
            {"raw_trades": [COMMIT] * 3, "gaps": [COMMIT] * 5},
        ),
        "iceberg_flush_rows": histograms(
            # Opened; two healed, and a reason beside the third; given up before asking and after;
            # opened.
            "iceberg_flush_rows",
            "table",
            {"raw_trades": [3, 1, 4], "gaps": [4, 3, 1, 1, 1]},
        ),
    }
