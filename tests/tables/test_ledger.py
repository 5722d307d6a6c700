"""What the ledger says of a frame, in every state of it and of its epoch."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotewatch.clock import NS_PER_SECOND
from quotewatch.errors import LedgerMissingError, TableError
from quotewatch.intervals import Intervals
from quotewatch.tables.ledger import (
    KEPT_SECONDS,
    EpochEntry,
    Knowledge,
    Ledger,
    Seen,
    StreamLedger,
    load,
)

STREAM = "events"
DAY = 86_400

relaxed = settings(deadline=None, max_examples=30)  # nothing here is about time
epochs = st.sampled_from(["01", "02", "03", "04"])
# Publish times move on, and now and then the clock of the bus steps back.
seconds = st.integers(0, 30).map(lambda days: 1_790_000_000 + days * DAY)
seen = st.builds(
    Seen, epochs, st.integers(0, 12), seconds.map(lambda second: second * NS_PER_SECOND)
)
notes = st.lists(st.tuples(st.lists(seen, min_size=1, max_size=3), st.booleans()), max_size=8)
held = st.dictionaries(
    st.sampled_from(["BTC-USD", "ETH-USD"]), st.sets(st.integers(0, 20), min_size=1)
)


def at(epoch: str, seq: int, *, day: float = 0) -> Seen:
    return Seen(epoch, seq, int((1_790_000_000 + day * DAY) * NS_PER_SECOND))


def noted(history: list[tuple[list[Seen], bool]]) -> Ledger:
    ledger = Ledger()
    for frames, quarantined in history:
        ledger = ledger.note(STREAM, frames, quarantined=quarantined)
    return ledger


def test_a_frame_is_new_then_done() -> None:
    ledger = Ledger()
    assert ledger.stream(STREAM).know("01", 0) is Knowledge.NEW
    ledger = ledger.note(STREAM, [at("01", 0), at("01", 2)])
    known = [ledger.stream(STREAM).know("01", seq) for seq in range(4)]
    assert known == [Knowledge.DONE, Knowledge.NEW, Knowledge.DONE, Knowledge.NEW]
    assert ledger.stream(STREAM).know("02", 0) is Knowledge.NEW
    assert ledger.stream("features").know("01", 0) is Knowledge.NEW


def test_a_frame_put_aside_is_done_once_it_is_stored_and_never_the_other_way() -> None:
    aside = StreamLedger().note([at("01", 3)], quarantined=True)
    assert aside.know("01", 3) is Knowledge.QUARANTINED
    done = aside.note([at("01", 3)])
    assert done.know("01", 3) is Knowledge.DONE
    assert not done.epochs["01"].quarantined
    assert done.note([at("01", 3)], quarantined=True).know("01", 3) is Knowledge.DONE


def test_holes_are_what_was_not_seen_below_the_newest() -> None:
    entry = EpochEntry(Intervals.parse("1-3,7"), Intervals.parse("5"))
    assert str(entry.holes()) == "0,4,6"
    assert not EpochEntry(entry.done, partial=True).holes()
    assert not EpochEntry().holes()


def test_an_epoch_leaves_after_the_retention_and_a_day_by_the_times_of_the_bus() -> None:
    ledger = Ledger().note(STREAM, [at("01", 0)]).note(STREAM, [at("02", 0, day=8)])
    assert set(ledger.stream(STREAM).epochs) == {"01", "02"}
    ledger = ledger.note(STREAM, [at("02", 1, day=8.1)])
    assert set(ledger.stream(STREAM).epochs) == {"02"}
    assert KEPT_SECONDS == 8 * DAY


def test_of_an_epoch_that_left_nothing_is_assumed() -> None:
    ledger = Ledger().note(STREAM, [at("02", 0)]).note(STREAM, [at("03", 0, day=9)])
    stream = ledger.stream(STREAM)
    assert stream.floor == "02"
    # Also of those that are older still and were never seen.
    assert [stream.know(epoch, 0) for epoch in ("01", "02", "03", "04")] == [
        Knowledge.UNSURE,
        Knowledge.UNSURE,
        Knowledge.DONE,
        Knowledge.NEW,
    ]


def test_an_epoch_that_comes_back_is_known_in_part() -> None:
    left = Ledger().note(STREAM, [at("02", 0)]).note(STREAM, [at("03", 0, day=9)])
    back = left.note(STREAM, [at("02", 7, day=9)]).stream(STREAM)
    assert back.epochs["02"].partial
    assert back.know("02", 7) is Knowledge.DONE
    assert back.know("02", 0) is Knowledge.UNSURE
    assert not back.epochs["02"].holes()


def test_an_epoch_that_lives_longer_than_the_retention_stays_while_others_leave() -> None:
    ledger = Ledger()
    for day in range(30):
        ledger = ledger.note(STREAM, [at("01", day, day=day), at(f"x{day:02}", 0, day=day)])
    stream = ledger.stream(STREAM)
    assert stream.floor > "01"
    assert str(stream.epochs["01"].done) == "0-29"
    assert not stream.epochs["01"].partial
    assert stream.know("01", 30) is Knowledge.NEW
    assert len(stream.epochs) == 1 + 9


def test_a_clock_that_steps_back_takes_nothing_away() -> None:
    ledger = Ledger().note(STREAM, [at("01", 0, day=5)]).note(STREAM, [at("01", 1, day=-400)])
    entry = ledger.stream(STREAM).epochs["01"]
    assert str(entry.done) == "0-1"
    assert entry.newest == 1_790_000_000 + 5 * DAY


@relaxed
@given(notes)
def test_what_was_stored_is_never_called_new(history: list[tuple[list[Seen], bool]]) -> None:
    """The one promise rows depend on, whatever the order of times and of epochs."""
    ledger = Ledger()
    done: set[tuple[str, int]] = set()
    for frames, quarantined in history:
        if quarantined:  # as the intake does it: only what is surely not there is put aside
            know = ledger.stream(STREAM).know
            new = [each for each in frames if know(each.epoch, each.seq) is Knowledge.NEW]
            ledger = ledger.note(STREAM, new, quarantined=True)
        else:
            ledger = ledger.note(STREAM, frames)
            done |= {(each.epoch, each.seq) for each in frames}
        for epoch, seq in done:
            known = ledger.stream(STREAM).know(epoch, seq)
            assert known in {Knowledge.DONE, Knowledge.UNSURE}


@relaxed
@given(notes)
def test_what_was_never_stored_is_never_called_done(
    history: list[tuple[list[Seen], bool]],
) -> None:
    stream = noted(history).stream(STREAM)
    done = {(each.epoch, each.seq) for frames, aside in history for each in frames if not aside}
    for epoch in ("01", "02", "03", "04"):
        for seq in range(14):
            if (epoch, seq) not in done:
                assert stream.know(epoch, seq) is not Knowledge.DONE


@relaxed
@given(notes, held, st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 9)))
def test_it_comes_back_from_its_text(
    history: list[tuple[list[Seen], bool]], ids: dict[str, set[int]], marks: dict[str, int]
) -> None:
    trades = {symbol: Intervals.of_numbers(numbers) for symbol, numbers in ids.items()}
    ledger = noted(history).hold(trades)
    for name, value in marks.items():
        ledger = ledger.mark(name, value)
    assert load(ledger.dump()) == ledger
    assert load(ledger.dump()).dump() == ledger.dump()


@relaxed
@given(notes, notes, held, held)
def test_joined_it_knows_what_either_knew(
    one: list[tuple[list[Seen], bool]],
    other: list[tuple[list[Seen], bool]],
    ids: dict[str, set[int]],
    more: dict[str, set[int]],
) -> None:
    left = noted(one).hold({name: Intervals.of_numbers(each) for name, each in ids.items()})
    right = noted(other).hold({name: Intervals.of_numbers(each) for name, each in more.items()})
    joined = left | right
    for epoch in ("01", "02", "03", "04"):
        for seq in range(14):
            both = {side.stream(STREAM).know(epoch, seq) for side in (left, right)}
            known = joined.stream(STREAM).know(epoch, seq)
            assert (known is Knowledge.DONE) == (Knowledge.DONE in both)
    for symbol in ids.keys() | more.keys():
        assert set(_spread(joined.trades[symbol])) == ids.get(symbol, set()) | more.get(
            symbol, set()
        )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"version":1,"streams":{"events":{"epochs":{"01":{}},"floor":""}},"trades":{}}',
        '{"version":1,"streams":{},"trades":{"BTC-USD":"9-1"}}',
        '{"version":1,"streams":{},"trades":[]}',
    ],
)
def test_what_is_no_ledger_is_refused(text: str) -> None:
    with pytest.raises(LedgerMissingError, match="repair"):
        load(text)


def test_a_ledger_of_a_newer_program_is_left_to_it() -> None:
    newer: dict[str, Any] = {"version": 2, "streams": {}, "trades": {}}
    with pytest.raises(TableError, match="deploy this process again") as caught:
        load(msgspec.json.encode(newer))
    assert not isinstance(caught.value, LedgerMissingError)  # else repair would replace it


def _spread(intervals: Intervals) -> list[int]:
    return [number for first, last in intervals for number in range(first, last + 1)]
