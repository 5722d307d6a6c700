"""What the tables say about their own completeness: ledgers and journal in, missing ids out."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotewatch.clock import US_PER_SECOND
from quotewatch.errors import LedgerMissingError
from quotewatch.intervals import Intervals
from quotewatch.market.outages import Entry
from quotewatch.streams import STREAMS
from quotewatch.tables.durable import Durable, read_durable
from quotewatch.tables.gaps import Gap, Scope, compare
from quotewatch.tables.intake import Intake
from quotewatch.tables.ledger import EpochEntry, Ledger, StreamLedger
from tests.tables.frames import EPOCH, NOON_US, Desk, Row, arrived, row_of, trades

BTC, ETH = "BTC-USD", "ETH-USD"
TRADES = Scope("trades", "raw_trades", symbol=BTC)
EVERYTHING = NOON_US + 3_600 * US_PER_SECOND

relaxed = settings(deadline=None)  # nothing here is about time


def frames_of(stream: str, epoch: str = "e1") -> Scope:
    return Scope("frames", stream, epoch=epoch)


def entry(done: str = "", aside: str = "", *, partial: bool = False) -> EpochEntry:
    return EpochEntry(Intervals.parse(done), Intervals.parse(aside), 1, partial)


def said(
    frames: Mapping[str, Mapping[str, EpochEntry]] | None = None,
    held: Mapping[str, str] | None = None,
    told: Iterable[Entry] = (),
    *,
    floor: str = "",
) -> Durable:
    """Say by stream and epoch which frames are there, by product which trades, and the journal."""
    ledgers = {}
    for stream in STREAMS:
        epochs = (frames or {}).get(stream, {})
        ids = {symbol: Intervals.parse(text) for symbol, text in (held or {}).items()}
        mine = ids if stream == "raw_trades" else {}
        ledgers[stream] = Ledger({stream: StreamLedger(epochs, floor)}, mine)
    return Durable(ledgers, list(told), 0, EVERYTHING)


def word(to_id: int, stream: str, symbol: str | None = None, epoch: str = "e1") -> Entry:
    kind = "high_water"
    return Entry(epoch, 0, 0, NOON_US, kind, 1, symbol=symbol, stream=stream, to_id=to_id)


def missing(durable: Durable, known: Sequence[Gap] = ()) -> dict[Scope, str]:
    return {scope: str(holes) for scope, holes in durable.missing(known).items()}


def gap(scope: Scope, first: int, last: int, **values: Any) -> Gap:
    fields: dict[str, Any] = {"state": "permanent", "at_us": 5, "first_us": 5} | values
    return Gap(f"{scope.kind}-{first}", scope, from_id=first, to_id=last, **fields)


# Frames


def test_frames_count_from_zero_to_the_newest_there_is() -> None:
    durable = said({"features": {"e1": entry("2-3,6")}})
    assert missing(durable) == {frames_of("features"): "0-1,4-5"}


def test_frames_count_to_the_newest_the_journal_knows_of() -> None:
    durable = said({"features": {"e1": entry("0-3")}}, told=[word(5, "features")])
    assert missing(durable) == {frames_of("features"): "4-5"}


def test_the_ledger_may_be_ahead_of_the_journal() -> None:
    assert missing(said({"features": {"e1": entry("0-9")}}, told=[word(5, "features")])) == {}


def test_frames_of_a_life_that_no_table_knows_are_missing_all() -> None:
    told = [word(2, "features"), word(1, "raw_orderbook", epoch="e2")]
    assert missing(said(told=told)) == {
        frames_of("features"): "0-2",
        frames_of("raw_orderbook", "e2"): "0-1",
    }


def test_what_was_put_aside_is_not_missing_but_shown_beside() -> None:
    durable = said({"features": {"e1": entry("0,3", "1")}})
    assert missing(durable) == {
        frames_of("features"): "2",
        Scope("quarantine", "features", epoch="e1"): "1",
    }


def test_of_a_life_that_left_the_ledger_nothing_is_said() -> None:
    durable = said({"features": {"e1": entry("7", partial=True)}}, floor="e1")
    assert missing(durable) == {}
    assert missing(said(told=[word(5, "features", epoch="e0")], floor="e1")) == {}


def test_streams_that_no_table_is_made_of_are_left_out() -> None:
    assert missing(said(told=[word(5, "labels")])) == {}


# Trades


def test_trades_count_from_the_lowest_to_the_highest_there_is() -> None:
    assert missing(said(held={BTC: "5-7,10", ETH: "1-2"})) == {TRADES: "8-9"}


def test_trades_count_to_the_newest_the_journal_knows_of() -> None:
    durable = said(held={BTC: "5-7"}, told=[word(9, "raw_trades", BTC), word(6, "raw_trades", BTC)])
    assert missing(durable) == {TRADES: "8-9"}


def test_trades_before_the_first_that_is_there_are_missing_as_far_as_they_are_known() -> None:
    durable = said(held={BTC: "5-7"}, told=[word(3, "raw_trades", BTC)])
    assert missing(durable) == {TRADES: "3-4"}
    assert missing(said(told=[word(3, "raw_trades", BTC)])) == {TRADES: "3"}


# What is known already


@pytest.mark.parametrize("state", ["open", "permanent"])
def test_a_known_loss_stays_one_when_the_journal_is_silent(state: str) -> None:
    known = [gap(TRADES, 8, 9, state=state), gap(frames_of("features"), 4, 6, state=state)]
    durable = said({"features": {"e1": entry("0-3,5")}}, {BTC: "5-8"})
    assert missing(durable, known) == {TRADES: "9", frames_of("features"): "4,6"}


def test_a_loss_that_healed_is_no_loss() -> None:
    assert missing(said(held={BTC: "5"}), [gap(TRADES, 8, 9, state="healed")]) == {}


def test_what_is_left_of_a_gap_can_be_told_while_its_life_is_in_the_ledger() -> None:
    features = frames_of("features")
    there = said({"features": {"e1": entry("0")}})
    gone = said(floor="e1")
    back = said({"features": {"e1": entry("4-5", partial=True)}}, floor="e1")
    never = said()
    loss = gap(features, 4, 6)
    assert there.can_judge(loss)
    assert never.can_judge(loss)  # newer than all that has left
    assert not gone.can_judge(loss)
    assert not back.can_judge(loss)
    assert back.can_judge(gap(features, 4, 5))  # all of it came
    assert gone.can_judge(gap(TRADES, 4, 6))
    assert gone.can_judge(Gap("book:1", Scope("book", "raw_orderbook", BTC, "e1"), "open", 5, 5))


# Shares


def test_completeness_counts_trades_by_id_and_all_else_by_frame() -> None:
    durable = said(
        {
            "features": {"e1": entry("0-2"), "e2": entry("1")},
            "raw_trades": {"e1": entry("0,2", "1")},
            "raw_orderbook": {"e1": entry("0-8", "9")},
        },
        {BTC: "1-6,10", ETH: "1"},
    )
    away, shares = durable.completeness(durable.missing())
    assert away == {
        "features": 1,
        "raw_trades": 3,
        "raw_orderbook": 1,
        "events": 0,
        "predictions": 0,
    }
    assert shares == {"features": 4 / 5, "raw_trades": 8 / 11, "raw_orderbook": 9 / 10}


def test_nothing_at_all_has_no_share() -> None:
    durable = said()
    assert durable.completeness(durable.missing()) == (dict.fromkeys(STREAMS, 0), {})


@relaxed
@given(
    there=st.sets(st.integers(0, 25)),
    told=st.none() | st.integers(0, 25),
    lost=st.sets(st.integers(0, 25)),
)
def test_missing_is_what_is_known_of_and_not_there(
    there: set[int], told: int | None, lost: set[int]
) -> None:
    features = frames_of("features")
    known = compare(
        [], {features: Intervals.of_numbers(lost)}, 5, patience_us=10
    )  # what an earlier run saw
    words = [word(told, "features")] if told is not None else []
    durable = said({"features": {"e1": entry(str(Intervals.of_numbers(there)))}}, told=words)
    newest = max([*there, -1 if told is None else told])
    expected = (set(range(newest + 1)) | lost) - there
    assert missing(durable, known).get(features, "") == str(Intervals.of_numbers(expected))


# Out of tables


def store(desk: Desk, stream: str, seq: int, rows: Sequence[Row]) -> None:
    Intake(desk.committer, stream).store([arrived(stream, seq, rows)])


def event(kind: str, second: float, **values: Any) -> Row:
    received_us = NOON_US + round(second * US_PER_SECOND)
    return row_of("events", kind=kind, received_at=received_us) | values


def test_entries_come_out_as_the_gateway_wrote_them(tmp_path: Path) -> None:
    with closing(Desk(tmp_path)) as desk:
        words = [
            event("start", 0, conn=0, reason="after_crash e0"),
            event("reject", 1, reason="bad_price"),
            event("gap", 2, symbol=BTC, stream="raw_trades", from_id=3, to_id=5, count=3),
        ]
        store(desk, "events", 4, words)
        found = read_durable(desk.tables, 0, EVERYTHING).entries
    assert sorted(found, key=lambda each: each.place) == [
        Entry(EPOCH, 4, 0, NOON_US, "start", 0, reason="after_crash e0"),
        Entry(EPOCH, 4, 2, NOON_US + 2 * US_PER_SECOND, "gap", 1, BTC, "raw_trades", 5),
    ]


def test_the_journal_is_read_from_one_moment_to_another(tmp_path: Path) -> None:
    with closing(Desk(tmp_path)) as desk:
        store(desk, "events", 0, [event("high_water", second, to_id=1) for second in range(5)])
        from_us, until_us = NOON_US + US_PER_SECOND, NOON_US + 3 * US_PER_SECOND
        found = read_durable(desk.tables, from_us, until_us)
    assert sorted(each.row for each in found.entries) == [1, 2, 3]
    assert (found.since_us, found.until_us) == (from_us, until_us)


def test_tables_that_were_never_made_are_empty(tmp_path: Path) -> None:
    with closing(Desk(tmp_path)) as desk:
        found = read_durable(desk.tables, 0, EVERYTHING)
    assert found.ledgers == dict.fromkeys(STREAMS, Ledger())
    assert found.missing() == {}


def test_a_table_without_its_ledger_is_not_believed(tmp_path: Path) -> None:
    with closing(Desk(tmp_path)) as desk:
        store(desk, "raw_trades", 0, trades([1]))
        table = desk.table("raw_trades")
        table.append(table.scan().to_arrow())
        with pytest.raises(LedgerMissingError, match="raw_trades"):
            read_durable(desk.tables, 0, EVERYTHING)
