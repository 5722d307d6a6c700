"""`write` on a clock that stands still but where the run moves it: each commit takes 0.2 s.

Batches of several frames, frames that come again, trades that are known, bytes that are no frame,
a frame of tomorrow, a full disk, a bus that is away, a commit whose answer is lost.
"""

import errno
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.exceptions import CommitStateUnknownException

from quotewatch import draining as drains
from quotewatch.bus.port import Delivery
from quotewatch.clock import US_PER_SECOND
from quotewatch.errors import BusUnavailableError
from quotewatch.stages.accounting import Account, Counted
from quotewatch.tables import commit as commits
from tests.metrics.exact.known import Known, calls, recorder_of
from tests.metrics.exported import Exported, by, by_all, histogram, histograms, one
from tests.tables.frames import Desk, Faults, Row, events, message, row_of, spoilt, trades

OWNERS = ("write",)
COMMIT, PAUSE = 0.2, 0.3  # seconds
EMPTY = {"raw_orderbook": 0, "raw_trades": 0, "events": 0, "predictions": 0}


def known_run(folder: Path) -> Known:
    known, recorder = Known(), recorder_of("write")
    with (
        closing(Desk(folder, recorder=recorder)) as desk,
        pytest.MonkeyPatch.context() as patch,
    ):
        succeeded_ns = work(desk.open(), patch)
    known.note("write", recorder, wanted(succeeded_ns))
    return known


def work(desk: Desk, patch: pytest.MonkeyPatch) -> int:
    """Do all of it; return when the last call ended, which was a good one."""
    account = Account("write", desk.recorder, desk.clock)

    def write(**options: Any) -> None:
        Counted(desk.stage(**options), account).run_once()

    patch.setattr(drains, "COMMIT_ROWS", 4)
    patch.setattr(commits, "_pause", lambda _: PAUSE)
    write()  # makes the tables; five empty pulls
    faults = Faults(desk.tables)
    faults.on_commit = lambda: desk.clock.sleep(COMMIT)

    # Pulled 3 s later. Three commits of events: 4 rows, 4 rows, 1 row and two frames put aside.
    desk.publish(*[message("events", seq, events(2)) for seq in range(4)])
    desk.publish(message("events", 4, events(1)))
    desk.publish(*[spoilt(message("events", seq, events(1))) for seq in (5, 6)])
    # Trades of two frames in one commit: one twice within its frame, one in both.
    desk.publish(message("raw_trades", 0, trades([1, 2, 2], **told(desk, 1, 0.6))))
    desk.publish(message("raw_trades", 1, trades([2], **told(desk, 2, 1.5))))
    desk.publish(message("predictions", 0, [row_of("predictions")] * 2))
    desk.clock.sleep(3)
    write()

    # Frames that come again, one of tomorrow, and a book that finds the disk full.
    desk.publish(*[message("events", seq, events(2)) for seq in range(2)])
    desk.publish(message("events", 9, events(1), schema=99))
    desk.publish(message("raw_trades", 0, trades([1, 2, 2], **told(desk, 9, 8))))
    desk.publish(message("raw_orderbook", 0, book(desk)))
    faults.add(("before", OSError(errno.ENOSPC, "No space left on device")))
    desk.clock.sleep(1)
    write()

    with patch.context() as cut:
        cut.setattr(desk.bus, "pull", _cut)
        write(streams=("events",))

    # The book once more, 7 s after it was published; of its commit the answer is lost.
    desk.clock.sleep(5.8)
    faults.add(("after", CommitStateUnknownException("504")))
    write(streams=("raw_orderbook",))

    desk.publish(message("features", 0, [row_of("features")] * 3))
    desk.clock.sleep(2)
    with patch.context() as slow:  # its time is over after one pull, which takes a second
        pull = desk.bus.pull
        slow.setattr(
            desk.bus, "pull", lambda *given, **options: _late(desk, pull(*given, **options))
        )
        write(streams=("features",), budget_seconds=0.5)
    return desk.clock.now_ns()


def book(desk: Desk) -> list[Row]:
    """Return a snapshot without a time, a row of 1.5 s ago, and one of in ten minutes."""
    times: tuple[Row, ...] = ({}, told(desk, 1.5, 1), told(desk, -600, 0))
    return [row_of("raw_orderbook", **each) for each in times]


def told(desk: Desk, sent: float, received: float) -> dict[str, Any]:
    """Return when it was sent and when it came to the gateway, in seconds before now."""
    now_us = desk.clock.now_ns() // 1_000
    return {
        name: now_us - round(ago * US_PER_SECOND)
        for name, ago in (("exchange_time", sent), ("received_at", received))
    }


def _late(desk: Desk, deliveries: list[Delivery]) -> list[Delivery]:
    desk.clock.sleep(1)
    return deliveries


def _cut(*_given: object, **_options: object) -> None:
    raise BusUnavailableError("the line is cut")


def wanted(succeeded_ns: int) -> Exported:
    # The commit whose answer was lost was looked for after a pause.
    heard_late = COMMIT + PAUSE
    return calls("write", ok=4, failed=2, seconds=1 + COMMIT, succeeded_ns=succeeded_ns) | {
        # Three calls ask all five streams to their end; one is cut, one asks for the book alone,
        # and one has no time for a second pull.
        "processor_consumer_reads_total": by("result", {"ok": 8, "empty": 16, "error": 1}),
        "processor_consumer_records_total": one((7 + 2 + 1) + (3 + 1 + 1) + 1 + 1),
        "processor_consumer_lag": by("stream", EMPTY | {"features": 3}),
        "processor_decode_errors_total": one(2),
        "processor_row_writes_total": by_all(
            ("table", "status"),
            {
                ("events", "inserted"): 9,
                ("events", "duplicate"): 4,
                ("raw_trades", "inserted"): 2,
                ("raw_trades", "duplicate"): 2 + 3,
                ("predictions", "inserted"): 2,
                ("raw_orderbook", "failed"): 3,
                ("raw_orderbook", "inserted"): 3,
                ("features", "inserted"): 3,
            },
        ),
        # Nothing is committed where all is known: events and trades that came again.
        "processor_row_write_duration_seconds": histogram(
            "processor_row_write_duration_seconds", [COMMIT] * 6 + [0, 0, heard_late]
        ),
        "processor_acks_total": one((7 + 2 + 1) + (2 + 1) + 1 + 1),
        "pipeline_callback_duration_seconds": histogram(
            "pipeline_callback_duration_seconds", [COMMIT] * 6 + [0, 0, heard_late], stage="writer"
        ),
        "pipeline_message_latency_seconds": histograms(
            "pipeline_message_latency_seconds",
            "stamp",
            # Trades of the first frame, of the second, and the book: what came again is not new,
            # what has no time has no latency, and what is ahead of us has none either.
            {
                "received": [0.4, 0.4, 0.4, 0.5, 0.5, 0],
                "published": [1, 1, 1, 2, 1.5, 0],
                "pulled": [4, 4, 4, 5, 8.5, 0],
                "committed": [4.2, 4.2, 4.2, 5.2, 8.5 + heard_late, 0],
            },
        ),
        "pipeline_clock_ahead_total": one(1),
        "iceberg_rows_written_total": by(
            "table",
            {"events": 9, "raw_trades": 2, "predictions": 2, "raw_orderbook": 3, "features": 3},
        ),
        "iceberg_flush_total": by(
            "table",
            {"events": 3, "raw_trades": 1, "predictions": 1, "raw_orderbook": 1, "features": 1},
        ),
        "iceberg_flush_duration_seconds": histograms(
            "iceberg_flush_duration_seconds",
            "table",
            {
                "events": [COMMIT] * 3,
                "raw_trades": [COMMIT],
                "predictions": [COMMIT],
                "raw_orderbook": [heard_late],
                "features": [COMMIT],
            },
        ),
        "iceberg_flush_rows": histograms(
            "iceberg_flush_rows",
            "table",
            {
                "events": [4, 4, 1],
                "raw_trades": [2],
                "predictions": [2],
                "raw_orderbook": [3],
                "features": [3],
            },
        ),
    }
