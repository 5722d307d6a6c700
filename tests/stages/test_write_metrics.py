"""One run with known input: the exact value of every metric of `write`, and nothing beside it.

The clock stands still but where the run moves it, so durations and ages are what it says.
"""

import errno
from collections.abc import Mapping
from contextlib import closing

import pytest

from quotewatch import draining as drains
from quotewatch.bus.port import Delivery
from quotewatch.errors import BusUnavailableError
from quotewatch.metrics.catalogue import CATALOGUE
from tests.metrics.exported import Samples, exported
from tests.tables.frames import Desk, Faults, events, message, row_of, spoilt, trades

METRICS = [name for name in CATALOGUE if name.startswith("processor_")]
STREAMS = ("raw_orderbook", "raw_trades", "features", "events", "predictions")


def known_run(desk: Desk, patch: pytest.MonkeyPatch) -> dict[str, Samples]:
    desk.write()  # makes the tables; five empty pulls
    patch.setattr(drains, "COMMIT_ROWS", 4)
    faults = Faults(desk.tables)
    faults.on_commit = lambda: desk.clock.sleep(0.2)
    # Three commits of events: 4 rows, 4 rows, 1 row and one put aside; later two frames again.
    desk.publish(*[message("events", seq, events(2)) for seq in range(4)])
    desk.publish(message("events", 4, events(1)), spoilt(message("events", 5, events(1))))
    # Trades: one row twice within the frame, one in both frames.
    desk.publish(message("raw_trades", 0, trades([1, 2, 2])))
    desk.publish(message("raw_trades", 1, trades([2])))
    desk.clock.sleep(3)
    desk.write()
    desk.publish(*[message("events", seq, events(2)) for seq in range(2)])
    desk.publish(message("events", 9, events(1), schema=99))
    # The table of features fails: its warehouse is full.
    desk.publish(message("features", 0, [row_of("features")] * 3))
    desk.clock.sleep(1)
    faults.add(("before", OSError(errno.ENOSPC, "No space left on device")))
    desk.write()
    with patch.context() as cut:
        cut.setattr(desk.bus, "pull", _cut)
        desk.write(streams=("events",))
    desk.publish(message("raw_orderbook", 0, [row_of("raw_orderbook")]))
    desk.clock.sleep(2)
    with patch.context() as slow:  # its time is over after one pull
        pull = desk.bus.pull
        slow.setattr(
            desk.bus, "pull", lambda *given, **options: _late(desk, pull(*given, **options))
        )
        desk.write(streams=("raw_orderbook",), budget_seconds=0.5)
    return exported(desk.recorder)


def _late(desk: Desk, deliveries: list[Delivery]) -> list[Delivery]:
    desk.clock.sleep(1)
    return deliveries


def _cut(*_given: object, **_options: object) -> None:
    raise BusUnavailableError("the line is cut")


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Samples]:
    with (
        closing(Desk(tmp_path_factory.mktemp("metrics"))) as desk,
        pytest.MonkeyPatch.context() as patch,
    ):
        return known_run(desk.open(), patch)


def by(label: str, values: Mapping[str, float]) -> Samples:
    return {("", ((label, name),)): value for name, value in values.items()}


def rows(values: Mapping[tuple[str, str], float]) -> Samples:
    return {
        ("", (("status", status), ("table", table))): value
        for (table, status), value in values.items()
    }


def durations(quick: int, slow: int) -> Samples:
    """Give the commits that took no time and those that took 0.2 s."""
    bounds = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0]
    found: Samples = {
        ("_bucket", (("le", str(bound)),)): quick + slow * (bound >= 0.2) for bound in bounds
    }
    found["_bucket", (("le", "+Inf"),)] = found["_count", ()] = quick + slow
    found["_sum", ()] = 0.2 * slow
    return found


EXPECTED: dict[str, Samples] = {
    # Three calls ask all four streams to their end; then one is cut, and one has no time.
    "processor_consumer_reads_total": by("result", {"ok": 5, "empty": 15, "error": 1}),
    "processor_consumer_records_total": {("", ()): 6 + 2 + 3 + 1 + 1},
    "processor_consumer_lag": by(
        "stream",
        {"raw_orderbook": 3, "raw_trades": 0, "features": 0, "events": 0, "predictions": 0},
    ),
    "processor_decode_errors_total": {("", ()): 1},
    "processor_row_writes_total": rows(
        {
            ("events", "inserted"): 9,
            ("events", "duplicate"): 4,
            ("raw_trades", "inserted"): 2,
            ("raw_trades", "duplicate"): 2,
            ("features", "failed"): 3,
            ("raw_orderbook", "inserted"): 1,
        }
    ),
    # Nothing is committed where all is known: events once more.
    "processor_row_write_duration_seconds": durations(quick=1, slow=3 + 1 + 1),
    "processor_acks_total": {("", ()): 6 + 2 + 2 + 1},
}


@pytest.mark.parametrize("name", METRICS)
def test_a_known_run_gives_every_metric_its_exact_value(
    known: dict[str, Samples], name: str
) -> None:
    assert known[name] == pytest.approx(EXPECTED[name])  # sums of 0.2


def test_no_label_of_a_run_is_free_text(known: dict[str, Samples]) -> None:
    for name in METRICS:
        for _, labels in known[name]:
            for label, value in labels:
                if label != "le":
                    assert value in CATALOGUE[name].values[label]
