"""The console shows what was measured, on any screen."""

import io

import pytest
from rich.console import Console

from quotewatch.clock import NS_PER_SECOND
from quotewatch.local.console import RunConsole
from quotewatch.local.tally import Event, ProductTally, Tally


class SteppedClock:
    """Time goes on when told."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def now_ns(self) -> int:
        return round(self.seconds * NS_PER_SECOND)

    def monotonic(self) -> float:
        return self.seconds


def busy_tally() -> Tally:
    tally = Tally()
    tally.products["BTC-USD"] = ProductTally(65_000.25, 0.42, -0.5, "65000.1", 3, valid=True)
    tally.products["ETH-USD"] = ProductTally()
    tally.journal.append(Event(0, "gap", "BTC-USD", "3 ids"))
    return tally


def screen(width: int, height: int, tally: Tally) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, force_terminal=True)
    with RunConsole("a run", tally, 20, console=console, clock=SteppedClock()) as shown:
        shown.update()
    return out.getvalue()


def test_shows_products_streams_and_journal() -> None:
    shown = screen(120, 40, busy_tally())
    for text in ("a run", "of 20 s", "raw_orderbook", "65000.25", "3 ok", "1/2 valid", "3 ids"):
        assert text in shown


def test_says_nothing_it_does_not_know() -> None:
    shown = screen(120, 40, Tally())
    assert "no features yet" in shown
    assert "0/0 valid" in shown


@pytest.mark.parametrize(("width", "height"), [(1, 1), (20, 5), (60, 10), (400, 3)])
def test_a_small_terminal_does_not_break_it(width: int, height: int) -> None:
    assert screen(width, height, busy_tally())


def test_without_a_terminal_there_is_a_line_every_few_seconds() -> None:
    out, clock, tally = io.StringIO(), SteppedClock(), busy_tally()
    with RunConsole("a run", tally, console=Console(file=out), clock=clock) as shown:
        for _ in range(24):
            clock.seconds += 0.5
            tally.arrivals["epoch"] = tally.arrivals.get("epoch", -1) + 50
            tally.streams["features"].rows += 20
            shown.update()
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("5 s · 100 messages/s in · 40 rows/s on the bus")
