import random
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.table import Table

from quotewatch.clock import SystemClock
from quotewatch.metrics.recorder import Recorder
from quotewatch.stages.label import LabelStage
from quotewatch.streams import TABLES
from quotewatch.tables.commit import Change, Committer, read_ledger
from quotewatch.tables.data_files import write_files
from quotewatch.tables.gaps import Gap, Scope, rows_of_gaps
from quotewatch.tables.ledger import Ledger, Seen
from tests.metrics.exported import exported
from tests.tables.desk import NOON_NS, open_desk, store
from tests.tables.labelled import (
    EPOCH,
    NOON_US,
    Run,
    assert_labels,
    label_now,
    labels_in,
    steady,
    store_some,
)

SECOND = 1_000_000


@pytest.fixture
def committer(tmp_path: Path) -> Iterator[Committer]:
    with open_desk(tmp_path) as opened:
        yield opened


def test_rows_are_labelled_as_soon_as_their_future_is_certain(committer: Committer) -> None:
    run = steady(6)
    frames = run.feature_frames([10] * 6)
    store_some(committer, frames[:2])
    assert label_now(committer).horizons["500"].labelled == 0  # two seconds are not beyond 0.5 + 2
    store_some(committer, frames[2:4])
    report = label_now(committer).horizons["500"]
    assert (report.labelled, report.frames, report.batches) == (10, 1, 1)
    store_some(committer, frames[4:])
    label_now(committer)
    rows = labels_in(committer)
    assert [row["batch"] for row in rows] == [1] * 10 + [2] * 20
    assert_labels(
        committer,
        {place: said for place, said in run.expected(frames, 500_000).items() if place[1] < 3},
    )


def test_calling_again_changes_nothing(committer: Committer) -> None:
    run = steady(6)
    store_some(committer, run.feature_frames([10] * 6))
    assert label_now(committer).horizons["500"].labelled == 30
    snapshot = committer.tables.load("labels").current_snapshot()
    report = label_now(committer).horizons["500"]
    assert (report.labelled, report.waiting) == (0, 30)
    assert committer.tables.load("labels").current_snapshot() == snapshot


def test_calling_again_counts_nothing_twice(committer: Committer) -> None:
    recorder = Recorder("test")
    store_some(committer, steady(6).feature_frames([10] * 6))
    stage = LabelStage(committer, recorder, SystemClock(), (500,))
    stage.run_once()
    before = exported(recorder)["ml_samples_total"]
    stage.run_once()
    assert exported(recorder)["ml_samples_total"] == before
    assert sum(before.values()) == len(labels_in(committer)) > 0


def test_a_frame_that_may_still_come_holds_up_what_lies_behind_it(committer: Committer) -> None:
    run = steady(8)
    frames = run.feature_frames([10] * 8)
    store_some(committer, [each for each in frames if each.id.seq != 3])
    assert label_now(committer).horizons["500"].labelled == 0
    store_some(committer, [frames[3]])
    assert label_now(committer).horizons["500"].labelled == 50
    assert_labels(
        committer,
        {place: said for place, said in run.expected(frames, 500_000).items() if place[1] < 5},
    )


def test_a_horizon_added_later_catches_up_on_what_is_stored(committer: Committer) -> None:
    run = steady(9)
    frames = run.feature_frames([10] * 9)
    run.final(len(frames))
    store_some(committer, [*frames, *run.event_frames([])])
    label_now(committer, 500)
    label_now(committer, 500, 2_000)
    assert_labels(committer, run.expected(frames, 500_000))
    assert_labels(committer, run.expected(frames, 2_000_000), 2_000)


def test_a_horizon_longer_than_the_data_labels_nothing_and_says_why(committer: Committer) -> None:
    run = steady(5)
    frames = run.feature_frames([10] * 5)
    store_some(committer, frames)
    report = label_now(committer, 60_000).horizons["60000"]
    assert (report.labelled, report.waiting) == (0, 50)
    run.final(len(frames))
    store_some(committer, run.event_frames([]))
    report = label_now(committer, 60_000).horizons["60000"]
    assert (report.labelled, report.undecidable, report.frames) == (0, {"closed": 50}, 5)
    assert label_now(committer, 60_000).horizons["60000"].frames == 0


def test_a_product_that_goes_quiet_is_labelled_with_the_mid_it_had(committer: Committer) -> None:
    run = Run()
    run.update("BTC-USD", 1, 1, 0, Decimal(100))
    run.update("BTC-USD", 1, 1, 100_000, Decimal(101))
    for second in range(1, 8):
        run.update("ETH-USD", 1, 1, second * SECOND, Decimal(10))
    frames = run.feature_frames([2, 1, 1, 1, 1, 1, 1, 1])
    store_some(committer, frames)
    label_now(committer)
    assert {row["symbol"] for row in labels_in(committer)} == {"ETH-USD"}  # who says it lived on?
    run.note("high_water", symbol="BTC-USD", at=NOON_US + 7 * SECOND)
    store_some(committer, run.event_frames([]))
    label_now(committer)
    rows = labels_in(committer)
    quiet = [row for row in rows if row["symbol"] == "BTC-USD"]
    assert [(row["label"], row["mid_at_horizon"]) for row in quiet] == [(1, 101.0), (0, 101.0)]


def test_a_label_never_reaches_across_a_book(committer: Committer) -> None:
    run = Run()
    run.update("BTC-USD", 1, 1, 0, Decimal(100))
    run.invalid("BTC-USD", 1, 1)
    for step in range(1, 90):
        run.update("BTC-USD", 3, 1, step * 100_000, Decimal(200))
    frames = run.feature_frames([1, 9] + [10] * 8)
    store_some(committer, [*frames, *run.event_frames([])])
    report = label_now(committer).horizons["500"]
    assert report.undecidable == {"closed": 1}
    assert all(row["mid_at_horizon"] == 200.0 for row in labels_in(committer))


def test_no_features_yet_is_nothing_to_do(committer: Committer) -> None:
    report = label_now(committer)
    assert (report.failed, report.horizons["500"].labelled) == (False, 0)


def test_labels_carry_the_columns_of_their_features_row(committer: Committer) -> None:
    run = steady(4)
    frames = run.feature_frames([10] * 4)
    store_some(committer, frames)
    label_now(committer)
    stored = frames[0].rows.to_pylist()
    for row in labels_in(committer):
        assert (row["epoch"], row["seq"]) == (EPOCH, 0)
        said = stored[row["row"]]
        assert {name: row[name] for name in said} == said


def test_two_labellers_at_once_store_each_label_once(committer: Committer, tmp_path: Path) -> None:
    run = steady(9)
    frames = run.feature_frames([10] * 9)
    store_some(committer, frames)
    with open_desk(tmp_path) as other:

        class Slow(Committer):
            """Is overtaken between its look and its commit."""

            def commit(self, *given: object, **named: object) -> object:  # type: ignore[override]
                if given[0] == "labels":
                    label_now(other)
                return super().commit(*given, **named)  # type: ignore[arg-type]

        label_now(Slow(committer.tables))
    label_now(committer)
    assert_labels(
        committer,
        {place: said for place, said in run.expected(frames, 500_000).items() if place[1] < 6},
    )


# Whatever the order


@st.composite
def runs(draw: st.DrawFn) -> Run:
    """Two connections, three products, late rows, resyncs, lost connections, a clean stop."""
    run = Run()
    books = {"A": 1, "B": 1, "C": 1}
    conns = {"A": 1, "B": 1, "C": 2}
    newest = dict.fromkeys(range(20), 0)
    for _ in range(draw(st.integers(5, 50))):
        symbol = draw(st.sampled_from("ABC"))
        conn = conns[symbol]
        match draw(st.integers(0, 24)):
            case 0:
                run.invalid(symbol, books[symbol], conn)
                books[symbol] += 2
            case 1:
                run.close(conn)
                for each, other in conns.items():
                    if other == conn:
                        conns[each], books[each] = conn + 2, books[each] + 2
                newest[conn + 2] = newest[conn]
            case 2:
                run.note("high_water", conn, symbol=symbol, at=None)
            case _:
                newest[conn] += draw(st.sampled_from((0, 1, 100_000, 500_000, 1_500_000)))
                late = draw(st.sampled_from((0, 0, 0, 1, 500_000, 2_000_000)))
                price = Decimal(100) + Decimal(draw(st.sampled_from((0, 1, 2)))) / 100
                run.update(symbol, books[symbol], conn, max(0, newest[conn] - late), price)
    return run


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(runs(), st.randoms(use_true_random=False), st.sampled_from((500, 3_000)))
def test_labels_are_the_same_whatever_came_when_and_whoever_looked(
    run: Run, rng: random.Random, horizon_ms: int
) -> None:
    sizes = [rng.randint(1, 6) for _ in range(60)]
    frames = run.feature_frames(sizes)
    run.final(len(frames))
    waiting = [*frames, *run.event_frames(sizes)]
    expected = run.expected(frames, horizon_ms * 1_000)
    rng.shuffle(waiting)
    with TemporaryDirectory() as folder, open_desk(Path(folder)) as committer:
        while waiting:
            some = [waiting.pop() for _ in range(min(len(waiting), rng.randint(1, 8)))]
            store_some(committer, [*some, *rng.sample(some, rng.randint(0, len(some)))])
            if rng.random() < 0.6:
                label_now(committer, horizon_ms)
        label_now(committer, horizon_ms)
        assert_labels(committer, expected, horizon_ms)
        ledger = read_ledger(committer.tables.load("labels")).stream(f"features@{horizon_ms}")
        done = ledger.epochs[EPOCH].done.count if frames else 0
        assert done == len(frames)


def a_book_that_ends_among_others() -> Run:
    run = Run()
    for step in range(10):
        run.update("BTC-USD", 1, 1, step * 100_000, Decimal(100))
    run.invalid("BTC-USD", 1, 1)
    for step in range(10, 60):
        run.update("ETH-USD", 1, 1, step * 100_000, Decimal(10))
    run.update("BTC-USD", 3, 1, 6_000_000, Decimal(200))
    for step in range(61, 90):
        run.update("ETH-USD", 1, 1, step * 100_000, Decimal(10))
    return run


def test_labels_are_the_same_when_the_journal_is_stored_last(committer: Committer) -> None:
    run = a_book_that_ends_among_others()
    frames = run.feature_frames([10] * 9)
    store_some(committer, frames)
    label_now(committer)  # a later life of the book is known, and not what ended this one
    run.final(len(frames))
    store_some(committer, run.event_frames([]))
    label_now(committer)
    assert_labels(committer, run.expected(frames, 500_000))


def test_a_journal_frame_that_is_lost_costs_the_labels_that_would_rest_on_it(
    committer: Committer,
) -> None:
    run = a_book_that_ends_among_others()
    frames = run.feature_frames([10] * 9)
    run.final(len(frames))
    exact = run.expected(frames, 500_000)
    lost, told = run.event_frames([1, 1])
    store_some(committer, frames)
    store(committer, [told], aside=[Seen(EPOCH, lost.id.seq, NOON_NS)])
    report = label_now(committer).horizons["500"]
    assert report.undecidable["hole"] > 0
    store_some(committer, [lost])
    label_now(committer)
    rows = {(row["epoch"], row["seq"], row["row"]): row for row in labels_in(committer)}
    assert rows.keys() <= exact.keys()
    assert all(row["label"] == exact[place][0] for place, row in rows.items())


# Frames that are given up, and epochs that are forgotten


def give_up(committer: Committer, seq: int) -> None:
    """Write down what `reconcile` does when a frame has been missing for too long."""
    scope = Scope("frames", "features", epoch=EPOCH)
    gap = Gap("lost", scope, "permanent", NOON_US, NOON_US, seq, seq, 1)
    rows = rows_of_gaps([gap], "test")

    def plan(table: Table, ledger: Ledger) -> Change:
        return Change(ledger, write_files(table, TABLES["gaps"], rows))

    committer.commit("gaps", plan)


def test_a_frame_that_was_given_up_costs_the_labels_around_it_and_no_others(
    committer: Committer,
) -> None:
    run = steady(14)
    frames = run.feature_frames([10] * 14)
    run.final(len(frames))
    exact = run.expected(frames, 500_000)
    lost = frames[6]
    store_some(committer, [*(each for each in frames if each is not lost), *run.event_frames([])])
    assert label_now(committer).horizons["500"].frames < 6
    give_up(committer, 6)
    report = label_now(committer).horizons["500"]
    rows = {(row["epoch"], row["seq"], row["row"]): row for row in labels_in(committer)}
    # None is wrong, whatever stood in the frame, and those far from it are there.
    assert all(row["label"] == exact[place][0] for place, row in rows.items())
    assert {place for place in exact if place[1] < 3 or place[1] > 9} <= rows.keys()
    assert report.undecidable["hole"] > 0
    # It comes after all: its own rows are labelled, what was said before stands.
    store_some(committer, [lost])
    label_now(committer)
    now = {(row["epoch"], row["seq"], row["row"]): row for row in labels_in(committer)}
    assert {place for place in now if place not in rows} == {
        place for place in exact if place[1] == 6
    }
    assert all(row["label"] == exact[place][0] for place, row in now.items())


def test_an_epoch_that_the_ledger_has_let_go_of_is_labelled_for_a_new_horizon(
    committer: Committer,
) -> None:
    old, new = steady(6), steady(6)
    old.epoch, new.epoch = "0001-old", "0002-new"
    old_frames, new_frames = (each.feature_frames([10] * 6) for each in (old, new))
    store(committer, old_frames, published_ns=NOON_NS)
    label_now(committer, 500)
    days = 10 * 86_400 * 10**9
    store(committer, new_frames, published_ns=NOON_NS + days)
    features = read_ledger(committer.tables.load("features")).stream("features")
    assert list(features.epochs) == ["0002-new"]
    label_now(committer, 500, 1_000)
    for horizon_ms in (500, 1_000):
        rows = labels_in(committer, horizon_ms)
        places = {(row["epoch"], row["seq"], row["row"]) for row in rows}
        assert len(places) == len(rows)
        assert {epoch for epoch, _, _ in places} == {"0001-old", "0002-new"}
    snapshot = committer.tables.load("labels").current_snapshot()
    label_now(committer, 500, 1_000)
    assert committer.tables.load("labels").current_snapshot() == snapshot


def test_features_that_are_no_numbers_are_labelled_all_the_same(committer: Committer) -> None:
    run = steady(6)
    frames = run.feature_frames([10] * 6)
    spoilt = frames[0].rows.to_pylist()
    for row, value in zip(spoilt, (float("nan"), float("inf")), strict=False):
        row["imbalance"] = row["depth"] = value
    rows = pa.RecordBatch.from_pylist(spoilt, schema=frames[0].rows.schema)
    store_some(committer, [replace(frames[0], rows=rows), *frames[1:]])
    assert label_now(committer).horizons["500"].labelled == 30


def test_prices_with_more_digits_than_usual_are_compared_exactly(committer: Committer) -> None:
    run = Run()
    tiny = Decimal("0.000000000123456789")
    for number in range(60):
        run.update("SHIB-USD", 1, 1, number * 100_000, 1 + tiny * number)
    frames = run.feature_frames([10] * 6)
    store_some(committer, frames)
    label_now(committer)
    expected = {p: said for p, said in run.expected(frames, 500_000).items() if p[1] < 3}
    assert_labels(committer, expected)


def test_a_frame_in_quarantine_holds_nobody_up_and_its_rows_are_labelled_once_it_is_read(
    committer: Committer,
) -> None:
    run = steady(14)
    frames = run.feature_frames([10] * 14)
    run.final(len(frames))
    exact = run.expected(frames, 500_000)
    others = [each for each in frames if each.id.seq != 6]
    store(committer, others, aside=[Seen(EPOCH, 6, NOON_NS)])
    store_some(committer, run.event_frames([]))
    assert label_now(committer).horizons["500"].undecidable["hole"] > 0
    store_some(committer, [frames[6]])  # redriven
    label_now(committer)
    rows = {(row["epoch"], row["seq"], row["row"]): row for row in labels_in(committer)}
    assert {place for place in exact if place[1] == 6} <= rows.keys()
    assert all(row["label"] == exact[place][0] for place, row in rows.items())
