"""When nobody had a valid book: what the gateways' journals say, in whatever order they come."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotewatch.market.outages import (
    SILENT_US,
    US_PER_SECOND,
    Entry,
    Outage,
    Validity,
    frames_told,
    outages,
    settled,
    trades_told,
    validities,
)

BTC, ETH = "BTC-USD", "ETH-USD"
LATER = 10_000.0  # seconds: everybody who has not spoken by then is dead

relaxed = settings(deadline=None, max_examples=40)  # nothing here is about time


class Journal:
    """What one gateway writes down, entry by entry, at seconds since some moment."""

    def __init__(self, epoch: str = "e1") -> None:
        self.epoch = epoch
        self.entries: list[Entry] = []

    def note(self, second: float, kind: str, *, conn: int = 1, **fields: Any) -> "Journal":
        place = len(self.entries)
        at_us = us(second)
        self.entries.append(Entry(self.epoch, place // 3, place % 3, at_us, kind, conn, **fields))
        return self

    def snapshot(self, second: float, symbol: str = BTC, *, conn: int = 1) -> "Journal":
        return self.note(second, "snapshot", conn=conn, symbol=symbol, stream="raw_orderbook")

    def high_water(self, second: float, symbol: str = BTC, *, conn: int = 1) -> "Journal":
        return self.note(second, "high_water", conn=conn, symbol=symbol, stream="raw_trades")

    def since(self, second: float) -> list[Entry]:
        return [each for each in self.entries if each.received_us >= us(second)]


def us(second: float) -> int:
    return round(second * US_PER_SECOND)


def found(*journals: Journal, until: float = LATER) -> list[tuple[str, float, float | None, str]]:
    entries = [entry for journal in journals for entry in journal.entries]
    return told(outages(validities(entries, us(until))))


def told(gone: list[Outage]) -> list[tuple[str, float, float | None, str]]:
    return [
        (
            each.symbol,
            each.from_us / US_PER_SECOND,
            None if each.to_us is None else each.to_us / US_PER_SECOND,
            each.reason,
        )
        for each in gone
    ]


def started(epoch: str = "e1", second: float = 0.0, reason: str | None = None) -> Journal:
    journal = Journal(epoch).note(second, "start", conn=0, reason=reason)
    return journal.note(second + 1, "open")


# What ends a book, and what begins the next


def test_a_book_that_lives_is_no_outage() -> None:
    journal = started().snapshot(2).high_water(10).high_water(20)
    assert found(journal, until=25) == []


def test_from_a_close_to_the_next_snapshot_there_was_no_book() -> None:
    journal = started().snapshot(2).note(5, "close", reason="1006 connection lost, and how")
    journal.note(6, "open", conn=2).snapshot(7, conn=2)
    assert found(journal, until=10) == [(BTC, 5, 7, "close 1006")]


def test_a_close_ends_the_books_of_its_own_connection_only() -> None:
    journal = started().note(1, "open", conn=2).snapshot(2).snapshot(2, ETH, conn=2)
    journal.note(5, "close", conn=2, reason="1001")
    assert found(journal, until=10) == [(ETH, 5, None, "close 1001")]


def test_a_book_that_went_over_to_the_next_connection_outlives_the_close_of_the_old() -> None:
    journal = started().snapshot(2).note(3, "open", conn=2).snapshot(4, conn=2)
    journal.note(5, "close", conn=1, reason="1000")
    assert found(journal, until=10) == []


def test_an_invalid_book_is_an_outage_until_its_snapshot() -> None:
    journal = started().snapshot(2).snapshot(2, ETH)
    journal.note(5, "invalid", symbol=BTC, reason="crossed").snapshot(5.5)
    assert found(journal, until=10) == [(BTC, 5, 5.5, "invalid crossed")]


def test_a_snapshot_that_is_crossed_itself_begins_no_book() -> None:
    journal = started().snapshot(2).note(5, "invalid", symbol=BTC, reason="rejected")
    journal.snapshot(6).note(6, "invalid", symbol=BTC, reason="crossed").snapshot(8)
    assert found(journal, until=10) == [
        (BTC, 5, 6, "invalid rejected"),
        (BTC, 6, 8, "invalid crossed"),
    ]


def test_a_message_that_ends_a_book_and_begins_the_next_costs_nothing() -> None:
    journal = started().snapshot(2)
    journal.note(5, "invalid", symbol=BTC, reason="sequence_num").snapshot(5)
    assert found(journal, until=10) == []


def test_a_snapshot_of_a_valid_book_ends_nothing() -> None:
    assert found(started().snapshot(2).snapshot(4), until=10) == []


def test_from_a_clean_stop_to_the_next_start_there_was_no_book() -> None:
    stopped = started().snapshot(2).note(5, "close", reason="stop")
    stopped.note(6, "final", conn=0, symbol=BTC, stream="raw_trades")
    after = started("e2", 20).snapshot(22)
    assert found(stopped, until=15) == [(BTC, 5, None, "close stop")]
    assert found(stopped, after, until=25) == [(BTC, 5, 22, "close stop")]


def test_a_final_without_a_close_ends_every_book() -> None:
    journal = started().snapshot(2).snapshot(2, ETH).note(6, "final", conn=0, stream="events")
    assert found(journal) == [(BTC, 6, None, "stopped"), (ETH, 6, None, "stopped")]


# Who died without a word


def test_a_dead_life_ends_with_its_last_word() -> None:
    dead = started().snapshot(2).high_water(10).note(12, "reject", conn=1)
    after = started("e2", 500).snapshot(502)
    assert found(dead, after, until=505) == [(BTC, 12, 502, "died")]


def test_who_is_silent_for_a_while_is_dead_and_one_who_spoke_lately_is_not() -> None:
    journal = started().snapshot(2).high_water(10)
    last_alive_us = us(10) + SILENT_US
    assert outages(validities(journal.entries, last_alive_us)) == []
    assert told(outages(validities(journal.entries, last_alive_us + 1))) == [
        (BTC, 10, None, "died")
    ]


def test_a_crash_that_the_next_life_knows_of_needs_no_waiting() -> None:
    dead = started().snapshot(2).high_water(10)
    after = started("e2", 15, "after_crash e1").snapshot(17)
    assert found(dead, after, until=18) == [(BTC, 10, 17, "died")]


def test_the_last_word_of_a_life_is_the_end_of_all_its_books() -> None:
    dead = started().snapshot(2).snapshot(3, ETH).high_water(40, ETH)
    assert found(dead) == [(BTC, 40, None, "died"), (ETH, 40, None, "died")]


# Two gateways at once


def test_what_one_of_two_gateways_had_is_no_outage() -> None:
    old = started().snapshot(2).high_water(10).note(30, "close", reason="stop")
    new = started("e2", 20).snapshot(22).high_water(31)
    assert found(old, new, until=35) == []


def test_the_hole_of_the_one_within_the_life_of_the_other_is_no_outage() -> None:
    one = started().snapshot(2).note(5, "close", reason="1006").note(8, "open", conn=2)
    one.snapshot(9, conn=2)
    other = started("e2", 1).snapshot(3).note(12, "close", reason="stop")
    assert found(one, other, until=15) == []


def test_a_short_life_within_a_long_one_ends_nothing() -> None:
    long = started().snapshot(2).high_water(12).note(20, "close", reason="1006")
    short = started("e2", 3).snapshot(5).note(7, "close", reason="stop")
    assert found(long, short, until=25) == [(BTC, 20, None, "close 1006")]


def test_where_the_holes_of_both_overlap_there_was_nobody() -> None:
    one = started().snapshot(2).note(5, "close", reason="1006").note(8, "open", conn=2)
    one.snapshot(9, conn=2)
    other = started("e2", 1).snapshot(3).note(6, "invalid", symbol=BTC, reason="crossed")
    other.snapshot(12)
    assert found(one, other, until=15) == [(BTC, 6, 9, "invalid crossed")]


def test_the_outage_is_of_the_life_whose_book_was_the_last() -> None:
    one = started().snapshot(2).note(5, "close", reason="1006")
    other = started("e2", 1).snapshot(3).note(6, "close", reason="1001")
    entries = one.entries + other.entries
    (outage,) = outages(validities(entries, us(10)))
    assert (outage.epoch, outage.reason) == ("e2", "close 1001")


# Products without a book


def test_a_product_that_never_had_a_book_gives_nothing() -> None:
    journal = started().snapshot(2).high_water(10).high_water(10, ETH).high_water(20, ETH)
    journal.note(25, "close", reason="1006")
    assert found(journal) == [(BTC, 25, None, "close 1006")]


def test_a_word_about_a_product_is_no_book_of_it() -> None:
    """The gateway came back slowly: its first high water is before its first snapshot."""
    dead = started().snapshot(2).high_water(10)
    slow = Journal("e2").note(100, "start", conn=0, reason="after_crash e1")
    slow.high_water(110, conn=0).note(114, "open").snapshot(115)
    assert found(dead, slow, until=120) == [(BTC, 10, 115, "died")]


def test_a_life_that_is_known_from_its_start_had_no_book_before() -> None:
    """The frame that says that its connection opened is lost."""
    journal = Journal().note(1, "start", conn=0).high_water(10).snapshot(12)
    assert validities(journal.entries, us(15)) == [Validity("e1", BTC, us(12), None)]


# Entries that begin in the middle of a life


def test_a_life_that_is_under_way_has_its_books() -> None:
    journal = started().snapshot(2).high_water(1_000).high_water(1_010)
    assert validities(journal.since(900), us(1_015)) == [Validity("e1", BTC, us(1_000), None)]


def test_the_end_of_a_book_that_began_before_is_an_outage() -> None:
    journal = started().snapshot(2).high_water(1_000)
    journal.note(1_005, "close", reason="1006").note(1_006, "open", conn=2)
    journal.snapshot(1_007, conn=2)
    entries = journal.since(900)
    assert told(outages(validities(entries, us(1_010)))) == [(BTC, 1_005, 1_007, "close 1006")]


def test_a_book_lost_before_its_first_word_is_not_taken_for_valid() -> None:
    journal = started().snapshot(2).note(1_000, "invalid", symbol=BTC, reason="crossed")
    journal.high_water(1_010).snapshot(1_020)
    assert validities(journal.since(900), us(1_025)) == [Validity("e1", BTC, us(1_020), None)]


def test_a_word_after_the_connection_closed_is_no_book() -> None:
    journal = started().snapshot(2).note(1_000, "close", reason="1006").high_water(1_010)
    journal.note(1_011, "open", conn=2).high_water(1_020, conn=2).snapshot(1_021, conn=2)
    assert validities(journal.since(900), us(1_025)) == [Validity("e1", BTC, us(1_021), None)]


# Whatever the order

_entries = st.lists(
    st.builds(
        Entry,
        epoch=st.sampled_from(["e1", "e2"]),
        seq=st.integers(0, 3),
        row=st.integers(0, 5),
        received_us=st.integers(0, 40).map(us),
        kind=st.sampled_from(
            ["start", "open", "snapshot", "snapshot", "invalid", "close", "high_water", "final"]
        ),
        conn=st.integers(0, 2),
        symbol=st.sampled_from([BTC, ETH, None]),
        reason=st.sampled_from([None, "crossed", "after_crash e1"]),
    ),
    max_size=25,
    unique_by=lambda entry: entry.place,
).map(
    # A gateway's clock does not step back here: the places follow the times.
    lambda entries: [
        Entry(e.epoch, p.seq, p.row, e.received_us, e.kind, e.conn, e.symbol, None, None, e.reason)
        for e, p in zip(
            sorted(entries, key=lambda each: (each.epoch, each.received_us)),
            sorted(entries, key=lambda each: each.place),
            strict=True,
        )
    ]
)


@relaxed
@given(_entries, st.data())
def test_entries_in_any_order_and_doubled_say_the_same(entries: list[Entry], data: Any) -> None:
    again = data.draw(st.lists(st.sampled_from(entries)) if entries else st.just([]))
    shuffled = data.draw(st.permutations([*entries, *again]))
    until_us = us(60)
    assert validities(shuffled, until_us) == validities(entries, until_us)
    assert outages(validities(shuffled, until_us)) == outages(validities(entries, until_us))


@relaxed
@given(_entries)
def test_from_the_first_book_on_a_moment_has_a_book_or_is_an_outage(entries: list[Entry]) -> None:
    books = validities(entries, us(45))
    gone = outages(books)
    for symbol in {each.symbol for each in books}:
        mine = [each for each in books if each.symbol == symbol]
        lost = [each for each in gone if each.symbol == symbol]
        first = min(each.from_us for each in mine)
        for moment in {first + 1, *(each.received_us + 1 for each in entries), us(50)}:
            if moment < first:
                continue
            covered = any(_within(each, moment) for each in mine)
            assert covered != any(_within(each, moment) for each in lost)
        for before, after in pairwise(sorted(lost, key=lambda each: each.from_us)):
            assert before.to_us is not None
            assert before.to_us <= after.from_us


def _within(stretch: Validity | Outage, moment: int) -> bool:
    return stretch.from_us <= moment and (stretch.to_us is None or moment < stretch.to_us)


# What the entries vouch for


def test_the_ids_of_trades_are_told_by_high_waters_finals_and_gaps() -> None:
    journal = Journal().note(1, "high_water", symbol=BTC, stream="raw_trades", to_id=20)
    journal.note(2, "gap", symbol=BTC, stream="raw_trades", to_id=35)
    journal.note(3, "final", symbol=BTC, stream="raw_trades", to_id=30)
    journal.note(3, "final", symbol=ETH, stream="raw_trades", to_id=None)
    journal.note(4, "drop", symbol=BTC, stream="raw_trades", to_id=99)
    assert trades_told(journal.entries) == {BTC: (20, 35)}


def test_the_newest_frame_is_told_for_each_life_and_stream() -> None:
    one = Journal().note(1, "high_water", stream="raw_trades", to_id=4)
    one.note(2, "final", stream="raw_trades", to_id=7).note(2, "final", stream="events", to_id=1)
    one.note(2, "final", symbol=BTC, stream="raw_trades", to_id=900)
    other = Journal("e2").note(1, "high_water", stream="raw_trades", to_id=2)
    assert frames_told(other.entries + one.entries) == {
        ("e1", "raw_trades"): 7,
        ("e1", "events"): 1,
        ("e2", "raw_trades"): 2,
    }


@pytest.mark.parametrize(("until", "kept"), [(5, 1), (10, 2), (11, 2)])
def test_of_a_life_that_goes_on_only_what_is_old_enough_counts(until: float, kept: int) -> None:
    journal = Journal().snapshot(2).high_water(10).high_water(20)
    assert settled(journal.entries, us(until)) == journal.entries[:kept]


def test_a_life_that_said_its_last_word_counts_as_a_whole() -> None:
    journal = Journal().snapshot(2).note(20, "final", stream="events", to_id=3)
    going_on = Journal("e2").snapshot(21)
    assert settled(journal.entries + going_on.entries, us(5)) == journal.entries
