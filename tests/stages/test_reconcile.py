"""Reconcile against real tables and a real HTTP server: what is missing, what heals, what stays."""

import shutil
import sqlite3
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from quotewatch.clock import NS_PER_SECOND, US_PER_SECOND
from quotewatch.healing import ABSENT, GONE
from quotewatch.stages.reconcile import ReconcileReport, ReconcileStage
from quotewatch.streams import STREAMS, TABLES
from quotewatch.tables.catalog import NAMESPACE
from quotewatch.tables.commit import Committed, Committer, Plan
from quotewatch.tables.intake import Intake
from quotewatch.tables.ledger import KEPT_SECONDS
from quotewatch.trade_source import RestTrades
from tests.bus.clocks import HandClock
from tests.emulator import free_port
from tests.fakes.rest import Reply, TradesOverRest, trades_over_rest
from tests.tables.desk import DisturbedCommitter
from tests.tables.frames import EPOCH, Desk, Row, arrived, message, row_of, spoilt, trades

BTC, ETH = "BTC-USD", "ETH-USD"
SETTLE, PATIENCE = 60, 120
LOOK_BACK = 6 * 3_600
LATER = EPOCH.replace("-0000000", "-1111111")


@dataclass
class Exchange(TradesOverRest):
    """The histories of several products; `on_request` is what happens meanwhile."""

    histories: dict[str, Sequence[int]] = field(default_factory=dict)
    on_request: Callable[[], None] = lambda: None

    def answer(self, path: str) -> Reply:
        self.on_request()
        self.product = urlsplit(path).path.split("/")[2]
        self.ids = self.histories.get(self.product, ())
        if self.product not in self.histories:
            self.product = ""
        return super().answer(path)


class Room:
    """Tables in a folder, an exchange, and a gateway's words and frames as a test wants them."""

    def __init__(self, desk: Desk, exchange: Exchange) -> None:
        self.desk = desk
        self.clock = desk.clock
        self.exchange = exchange
        self.url = exchange.url
        self._seqs: Counter[tuple[str, str]] = Counter()

    # What comes over the feed

    def frame(self, stream: str, rows: Sequence[Row], *, epoch: str = EPOCH) -> None:
        """Store the next frame of a stream."""
        self.store(stream, self.lose(stream, epoch=epoch), rows, epoch=epoch)

    def lose(self, stream: str, *, epoch: str = EPOCH) -> int:
        """Use up a number: its frame does not arrive, or only later."""
        seq = self._seqs[stream, epoch]
        self._seqs[stream, epoch] += 1
        return seq

    def store(self, stream: str, seq: int, rows: Sequence[Row], *, epoch: str = EPOCH) -> None:
        """Store a frame that comes now."""
        second = self.clock.now_ns() // NS_PER_SECOND
        came = arrived(stream, seq, rows, epoch=epoch, second=second)
        Intake(self.desk.committer, stream).store([came])

    def trades(self, *ids: int, symbol: str = BTC) -> None:
        self.frame("raw_trades", trades(ids, symbol))

    def tell(self, *words: Mapping[str, Any], epoch: str = EPOCH, ago: float = 0) -> None:
        """Store entries of the journal in one frame, written so many seconds ago."""
        at_us = self.now_us() - round(ago * US_PER_SECOND)
        rows = [row_of("events", received_at=at_us, conn=1) | dict(word) for word in words]
        self.frame("events", rows, epoch=epoch)

    def wait(self, seconds: float) -> None:
        self.clock.sleep(seconds)

    def now_us(self) -> int:
        return self.clock.now_ns() // 1_000

    # What is done about it

    def stage(self, committer: Committer | None = None, **given: Any) -> ReconcileStage:
        budget = {"max_requests": 100, "budget_seconds": 600.0, "jitter": lambda: 0.0}
        settle = given.pop("settle_seconds", SETTLE)

        def source() -> RestTrades:
            clock = self.clock
            return RestTrades(self.url, clock=clock, sleep=clock.sleep, **{**budget, **given})

        return ReconcileStage(
            committer or self.desk.committer,
            self.desk.recorder,
            self.clock,
            source,
            settle_seconds=settle,
            patience_seconds=PATIENCE,
        )

    def reconcile(self, **given: Any) -> ReconcileReport:
        report = self.stage(**given).run_once()
        assert report.error is None
        return report

    def twice(self, **given: Any) -> ReconcileReport:
        """Run once, let what may be on its way settle, and run again."""
        self.reconcile(**given)
        self.wait(SETTLE)
        return self.reconcile(**given)

    # What came of it

    def gaps(self) -> list[Row]:
        """Return all rows of the table, the oldest first."""
        return sorted(self.desk.table("gaps").scan().to_arrow().to_pylist(), key=_at)

    def latest(self) -> dict[str, tuple[str, int | None, str | None]]:
        """Return by gap how it stands."""
        return {row["gap_id"]: (row["state"], row["missing"], row["reason"]) for row in self.gaps()}

    def states(self, gap_id: str) -> list[str]:
        return [row["state"] for row in self.gaps() if row["gap_id"] == gap_id]

    def stored(self, symbol: str = BTC) -> list[int]:
        rows = self.desk.rows("raw_trades")
        return sorted(row["trade_id"] for row in rows if row["symbol"] == symbol)

    def fetched(self) -> list[Row]:
        return [row for row in self.desk.rows("raw_trades") if row["source"] == "rest"]

    def assert_trades(self, ids: Sequence[int], symbol: str = BTC) -> None:
        """Say that these are there, each once, and that the ledger says the same."""
        assert self.stored(symbol) == sorted(ids)
        held = self.desk.ledger("raw_trades").trades[symbol]
        assert [number for a, b in held for number in range(a, b + 1)] == sorted(ids)


def _at(row: Row) -> Any:
    return row["at"]


def high_water(to_id: int, symbol: str | None = BTC, stream: str = "raw_trades") -> Row:
    return {"kind": "high_water", "symbol": symbol, "stream": stream, "to_id": to_id}


def final(to_id: int, stream: str) -> Row:
    return {**high_water(to_id, None, stream), "kind": "final", "conn": 0}


def snapshot(symbol: str = BTC) -> Row:
    return {"kind": "snapshot", "symbol": symbol, "stream": "raw_orderbook"}


def trade_gap(first: int, last: int, symbol: str = BTC) -> str:
    return f"trades:raw_trades:{symbol}:{first}-{last}"


def frame_gap(stream: str, first: int, last: int, epoch: str = EPOCH) -> str:
    return f"frames:{stream}:{epoch}:{first}-{last}"


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    with trades_over_rest(Exchange(histories={BTC: range(1, 201), ETH: range(1, 201)})) as served:
        assert isinstance(served, Exchange)
        yield served


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make all tables once: that is most of what a small test would do."""
    folder = tmp_path_factory.mktemp("furnished")
    with closing(Desk(folder)) as desk:
        for name in TABLES:
            desk.tables.load(name)
    return folder


def move_in(furnished: Path, folder: Path) -> None:
    """Copy empty tables into a folder of one's own; their metadata knows where they are."""
    shutil.copytree(furnished, folder, dirs_exist_ok=True)
    for path in folder.glob("warehouse/**/*.metadata.json"):
        path.write_text(path.read_text().replace(str(furnished), str(folder)))
    moved = "UPDATE iceberg_tables SET metadata_location = replace(metadata_location, ?, ?)"
    with closing(sqlite3.connect(folder / "catalog.db")) as catalog, catalog:
        catalog.execute(moved, (str(furnished), str(folder)))


@pytest.fixture
def room(tmp_path: Path, exchange: Exchange, furnished: Path) -> Iterator[Room]:
    move_in(furnished, tmp_path)
    with closing(Desk(tmp_path)) as desk:
        yield Room(desk, exchange)


# Trades that can be had


def test_before_anything_is_stored_nothing_is_missing(tmp_path: Path, exchange: Exchange) -> None:
    with closing(Desk(tmp_path)) as empty:
        report = Room(empty, exchange).reconcile()
    assert (report.opened, report.still_open, report.requests) == (0, 0, 0)
    assert report.missing == dict.fromkeys(STREAMS, 0)
    assert report.completeness == {}


def test_a_hole_is_noted_first_and_healed_when_nothing_of_it_can_be_on_its_way(room: Room) -> None:
    room.trades(101, 102, 106, 107, 110)
    first = room.reconcile()
    assert (first.opened, first.still_open, first.fetched, first.requests) == (2, 2, 0, 0)
    assert first.missing["raw_trades"] == 5
    assert first.completeness["raw_trades"] == 5 / 10

    room.wait(SETTLE - 1)
    assert room.reconcile().requests == 0
    room.wait(1)
    second = room.reconcile()
    assert (second.opened, second.healed, second.fetched) == (0, 2, 5)
    assert (second.still_open, second.requests, second.unhealed) == (0, 2, {})
    assert (second.missing["raw_trades"], second.completeness["raw_trades"]) == (0, 1.0)
    room.assert_trades(range(101, 111))
    assert room.states(trade_gap(103, 105)) == ["open", "healed"]
    assert room.states(trade_gap(108, 109)) == ["open", "healed"]


def test_without_settling_one_run_notes_fetches_and_heals(room: Room) -> None:
    room.trades(101, 105)
    report = room.reconcile(settle_seconds=0)
    assert (report.opened, report.healed, report.fetched, report.still_open) == (1, 1, 3, 0)
    assert room.states(trade_gap(102, 104)) == ["open", "healed"]
    assert room.latest()[trade_gap(102, 104)] == ("healed", 0, None)


def test_fetched_trades_say_where_they_came_from_and_nothing_they_do_not_know(room: Room) -> None:
    room.trades(101, 103)
    room.twice()
    (row,) = room.fetched()
    assert (row["symbol"], row["trade_id"], row["source"]) == (BTC, 102, "rest")
    assert (row["live"], row["epoch"], row["row"]) == (False, "rest", 0)
    assert (row["conn"], row["arrival"], row["sequence"]) == (None, None, None)
    assert (str(row["price"]).rstrip("0"), row["taker_side"]) == ("103.1", "buy")
    assert row["exchange_time"].isoformat() == "2026-08-09T05:23:42.000102+00:00"
    # Between the frames of the gateway they are nothing: its ledger does not change.
    assert set(room.desk.ledger("raw_trades").stream("raw_trades").epochs) == {EPOCH}


def test_what_only_the_journal_knows_of_is_fetched(room: Room) -> None:
    room.trades(101, 102)
    room.tell(high_water(107), ago=SETTLE)
    report = room.twice()
    assert (report.healed, report.fetched) == (1, 5)
    assert room.states(trade_gap(103, 107)) == ["open", "healed"]
    room.assert_trades(range(101, 108))


def test_a_product_of_which_nothing_came_is_fetched_as_far_as_it_is_known(room: Room) -> None:
    room.trades(101, 102)
    room.tell(high_water(50, ETH), high_water(53, ETH), ago=SETTLE)
    room.twice()
    room.assert_trades(range(50, 54), ETH)


def test_what_may_be_on_its_way_is_not_missing_yet(room: Room) -> None:
    room.trades(101, 102)
    room.tell(high_water(107))
    assert room.reconcile().opened == 0
    room.wait(SETTLE)
    assert room.reconcile().opened == 1


def test_a_tail_that_grows_opens_a_second_gap(room: Room) -> None:
    room.trades(101)
    room.tell(high_water(103), ago=SETTLE)
    room.reconcile()
    room.tell(high_water(105), ago=SETTLE)
    room.reconcile()
    assert {gap: state for gap, (state, *_) in room.latest().items()} == {
        trade_gap(102, 103): "open",
        trade_gap(104, 105): "open",
    }
    room.wait(SETTLE)
    assert room.reconcile().healed == 2
    room.assert_trades(range(101, 106))


def test_several_products_heal_in_one_run(room: Room) -> None:
    room.trades(101, 103)
    room.trades(11, 15, symbol=ETH)
    report = room.twice()
    assert (report.healed, report.fetched, report.requests) == (2, 4, 2)
    room.assert_trades(range(101, 104))
    room.assert_trades(range(11, 16), ETH)


@pytest.mark.parametrize("inclusive", [True, False])
def test_a_long_hole_is_fetched_page_by_page(room: Room, inclusive: bool) -> None:
    room.exchange.inclusive = inclusive
    room.exchange.histories[BTC] = range(1, 5_011)
    room.trades(5, 5_006)
    report = room.twice()
    assert (report.fetched, report.healed, report.requests) == (5_000, 1, 5 + inclusive)
    room.assert_trades(range(5, 5_007))


def test_a_trade_that_arrives_while_it_is_fetched_is_stored_once(
    room: Room, tmp_path: Path
) -> None:
    room.trades(101, 105)
    late = room.lose("raw_trades")

    def arrive() -> None:
        with closing(Desk(tmp_path, clock=room.clock)) as other:
            came = arrived("raw_trades", late, trades([103]))
            Intake(other.committer, "raw_trades").store([came])

    room.exchange.on_request = arrive
    report = room.twice()
    assert (report.fetched, report.still_open) == (2, 0)
    room.assert_trades(range(101, 106))
    sources = {row["trade_id"]: row["source"] for row in room.desk.rows("raw_trades")}
    assert sources[103] == "x"


# Trades that cannot be had now


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_exchange_that_is_unwell_for_a_moment_is_asked_again(room: Room, status: int) -> None:
    room.trades(101, 103)
    room.exchange.first_replies = deque([Reply(status), Reply(status)])
    report = room.twice()
    assert (report.fetched, report.requests, report.unhealed) == (1, 3, {})


def test_an_exchange_that_is_down_fails_nothing_and_the_next_run_heals(room: Room) -> None:
    room.trades(101, 103)
    room.trades(11, 13, symbol=ETH)
    room.url = f"http://127.0.0.1:{free_port()}"
    report = room.twice()
    assert not report.failed
    assert (report.fetched, report.healed, report.still_open) == (0, 0, 2)
    (reason,) = report.unhealed.values()  # nobody answers: the second product is not asked for
    assert "failed 4 times" in reason
    assert {state for state, *_ in room.latest().values()} == {"open"}

    room.url = room.exchange.url
    again = room.reconcile()
    assert (again.fetched, again.healed, again.still_open, again.unhealed) == (2, 2, 0, {})


def test_a_refusal_of_one_product_does_not_hold_up_the_next(room: Room) -> None:
    room.trades(101, 103)
    room.trades(11, 13, symbol=ETH)
    room.exchange.first_replies = deque([Reply(403)])
    report = room.twice()
    assert (report.healed, report.still_open, len(report.unhealed)) == (1, 1, 1)


def test_a_product_the_exchange_does_not_know_any_more_is_given_up_after_patience(
    room: Room,
) -> None:
    del room.exchange.histories[BTC]
    room.trades(101, 103)
    report = room.twice()
    assert "NotFound" in report.unhealed[BTC]
    assert room.latest()[trade_gap(102, 102)] == ("open", 1, GONE)
    room.wait(PATIENCE)
    assert room.reconcile().permanent == 1
    assert room.latest()[trade_gap(102, 102)] == ("permanent", 1, GONE)
    # Nobody is asked for what was given up.
    assert room.reconcile().requests == 0


def test_ids_the_exchange_does_not_have_are_given_up_after_patience(room: Room) -> None:
    room.exchange.histories[BTC] = [*range(1, 103), 105, 107]
    room.trades(101, 107)
    report = room.twice()
    assert (report.fetched, report.missing["raw_trades"]) == (2, 3)
    assert report.completeness["raw_trades"] == 4 / 7
    assert room.latest()[trade_gap(102, 106)] == ("open", 3, ABSENT)
    room.wait(PATIENCE)
    report = room.reconcile()
    assert (report.permanent, report.still_open) == (1, 0)
    assert room.latest()[trade_gap(102, 106)] == ("permanent", 3, ABSENT)
    # They are missing all the same.
    assert (report.missing["raw_trades"], report.completeness["raw_trades"]) == (3, 4 / 7)


def test_a_trade_that_cannot_be_read_is_not_given_up(room: Room) -> None:
    room.exchange.spoilt = {102: {"price": "NaN"}}
    room.exchange.histories[BTC] = [101, 102, 104]
    room.trades(101, 104)
    room.twice()
    room.wait(PATIENCE)
    report = room.reconcile()
    assert (report.permanent, report.still_open) == (0, 1)
    assert "was refused" in report.unhealed[BTC]


def test_what_one_run_cannot_ask_for_stays_visible_and_heals_later(room: Room) -> None:
    room.exchange.histories[BTC] = range(1, 2_600)
    room.trades(1, 2_502)
    room.trades(11, 13, symbol=ETH)
    room.reconcile(max_requests=2)
    room.wait(SETTLE)
    runs = [room.reconcile(max_requests=2) for _ in range(2)]
    assert [run.requests for run in runs] == [2, 2]
    assert "used up" in " ".join(runs[0].unhealed.values())
    assert [run.missing["raw_trades"] + run.fetched for run in runs] == [
        2_501, runs[0].missing["raw_trades"],
    ]  # fmt: skip
    assert runs[1].still_open == 0
    room.assert_trades(range(1, 2_503))
    room.assert_trades(range(11, 14), ETH)


def test_what_a_spent_budget_left_unasked_is_not_given_up(room: Room) -> None:
    """One hole of the gap is known to be empty, the other was never asked for."""
    room.exchange.histories[BTC] = [1, *range(3, 1_200)]
    room.trades(1, 1_110)
    room.reconcile()
    room.trades(*range(3, 20))  # the gap is two holes now
    room.wait(SETTLE + PATIENCE)
    report = room.reconcile(max_requests=1)
    assert (report.permanent, report.still_open) == (0, 1)
    report = room.reconcile()
    assert (report.permanent, report.missing["raw_trades"]) == (1, 1)
    assert room.latest()[trade_gap(2, 1_109)] == ("permanent", 1, ABSENT)


def test_the_newest_losses_are_fetched_first(room: Room) -> None:
    room.trades(101, 103)
    room.reconcile()
    room.wait(1)
    room.trades(11, 13, symbol=ETH)
    room.reconcile()
    room.wait(SETTLE)
    report = room.reconcile(max_requests=1)
    assert (report.healed, report.still_open) == (1, 1)
    room.assert_trades(range(11, 14), ETH)


# Killed and run again


class KilledError(BaseException):
    """The end of a process, as far as one can have it in this one."""


class Mortal(Committer):
    """Dies with one of its commits: before it, or once it has landed."""

    def __init__(self, desk: Desk, number: int, *, landed: bool) -> None:
        super().__init__(desk.tables, clock=desk.clock, sleep=desk.clock.sleep)
        self._left = number
        self._landed = landed

    def commit(self, name: str, plan: Plan, **given: Any) -> Committed | None:
        self._left -= 1
        if not self._left and not self._landed:
            raise KilledError
        done = super().commit(name, plan, **given)
        if not self._left:
            raise KilledError
        return done


@pytest.mark.parametrize("landed", [False, True])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_whenever_it_is_killed_the_next_run_ends_the_same(
    room: Room, number: int, landed: bool
) -> None:
    """The commits are: what is missing, the trades, what has healed."""
    room.trades(101, 105)
    mortal = Mortal(room.desk, number, landed=landed)
    with pytest.raises(KilledError):
        room.stage(mortal, settle_seconds=0).run_once()
    report = room.reconcile(settle_seconds=0)
    assert (report.still_open, report.missing["raw_trades"]) == (0, 0)
    assert room.states(trade_gap(102, 104)) == ["open", "healed"]
    room.assert_trades(range(101, 106))
    assert len(room.fetched()) == 3


def test_what_another_run_healed_meanwhile_is_not_opened_again(room: Room, tmp_path: Path) -> None:
    room.trades(101, 105)
    with closing(Desk(tmp_path, clock=room.clock)) as other:
        faster = room.stage(other.committer, settle_seconds=0)
        slow = DisturbedCommitter(room.desk.committer, faster.run_once)
        report = room.stage(slow, settle_seconds=0).run_once()
    assert (report.opened, report.healed, report.fetched, report.still_open) == (0, 0, 0, 0)
    assert room.states(trade_gap(102, 104)) == ["open", "healed"]
    room.assert_trades(range(101, 106))


def test_two_at_once_double_nothing(room: Room, tmp_path: Path) -> None:
    room.trades(101, 103, 105, 107)
    room.trades(11, 15, symbol=ETH)
    room.tell(snapshot(), {"kind": "close", "reason": "1006"}, ago=SETTLE)
    room.lose("raw_orderbook")
    room.frame("raw_orderbook", [row_of("raw_orderbook")])
    together = threading.Barrier(2)
    reports: list[ReconcileReport] = []

    def run(desk: Desk) -> None:
        for _ in range(2):
            together.wait()
            reports.append(room.stage(desk.committer, settle_seconds=0).run_once())

    with _desks(tmp_path, room.clock) as desks:
        threads = [threading.Thread(target=run, args=(desk,)) for desk in desks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert [report.error for report in reports] == [None] * 4
    assert sum(report.fetched for report in reports) == 6
    room.assert_trades([101, 102, 103, 104, 105, 106, 107])
    room.assert_trades(range(11, 16), ETH)
    for gap_id in (trade_gap(102, 102), trade_gap(104, 104), trade_gap(12, 14, ETH)):
        assert room.states(gap_id)[0] == "open"
        assert room.states(gap_id)[-1] == "healed"
    written = [(row["gap_id"], row["state"], row["missing"]) for row in room.gaps()]
    assert len(written) == len(set(written))
    assert sum(report.healed for report in reports) == 4


@contextmanager
def _desks(folder: Path, clock: HandClock) -> Iterator[list[Desk]]:
    with closing(Desk(folder, clock=clock)) as one, closing(Desk(folder, clock=clock)) as other:
        yield [one, other]


# Frames


def test_a_frame_that_is_missing_is_given_up_by_a_later_run_and_heals_when_it_comes(
    room: Room,
) -> None:
    room.frame("raw_orderbook", [row_of("raw_orderbook")])
    lost = room.lose("raw_orderbook")
    room.frame("raw_orderbook", [row_of("raw_orderbook")])
    first = room.reconcile()
    assert (first.opened, first.missing["raw_orderbook"]) == (1, 1)
    assert first.completeness["raw_orderbook"] == 2 / 3
    room.wait(PATIENCE - 1)
    assert room.reconcile().permanent == 0
    room.wait(1)
    assert room.reconcile().permanent == 1
    assert room.latest()[frame_gap("raw_orderbook", 1, 1)] == (
        "permanent", 1, "not seen on the bus for two ack deadlines",
    )  # fmt: skip

    room.store("raw_orderbook", lost, [row_of("raw_orderbook")])
    last = room.reconcile()
    assert (last.healed, last.missing["raw_orderbook"]) == (1, 0)
    assert last.completeness["raw_orderbook"] == 1.0
    assert len(room.desk.rows("raw_orderbook")) == 3
    states = room.states(frame_gap("raw_orderbook", 1, 1))
    assert states == ["open", "permanent", "healed"]


def test_the_frames_at_the_end_of_a_dead_life_are_missing(room: Room) -> None:
    room.frame("features", [row_of("features")])
    room.tell(high_water(2, None, "features"), ago=SETTLE)
    report = room.reconcile()
    assert list(room.latest()) == [frame_gap("features", 1, 2)]
    assert (report.missing["features"], report.completeness["features"]) == (2, 1 / 3)


def test_a_life_of_which_not_one_frame_came_is_missing_as_a_whole(room: Room) -> None:
    room.frame("features", [row_of("features")])
    room.tell(final(0, "features"), final(4, "raw_trades"), final(0, "events"), epoch=LATER)
    assert room.reconcile().opened == 2
    assert {gap: missing for gap, (_, missing, _) in room.latest().items()} == {
        frame_gap("features", 0, 0, LATER): 1,
        frame_gap("raw_trades", 0, 4, LATER): 5,
    }


def test_a_last_word_needs_no_settling(room: Room) -> None:
    room.frame("features", [row_of("features")])
    room.tell(final(3, "features"), final(0, "events"))
    assert room.reconcile().missing["features"] == 3


def test_what_was_put_aside_is_a_gap_until_it_is_redriven(room: Room) -> None:
    good = message("raw_orderbook", 0, [row_of("raw_orderbook")])
    room.desk.open()
    room.desk.publish(good, message("raw_orderbook", 2, [row_of("raw_orderbook")]))
    room.desk.publish(spoilt(message("raw_orderbook", 1, [])))
    assert room.desk.write().streams["raw_orderbook"].quarantined == 1
    report = room.reconcile()
    gap_id = f"quarantine:raw_orderbook:{EPOCH}:1-1"
    assert room.latest() == {gap_id: ("open", 1, None)}
    assert (report.missing["raw_orderbook"], report.completeness["raw_orderbook"]) == (1, 2 / 3)

    room.wait(10 * PATIENCE)
    assert room.reconcile().permanent == 0
    room.store("raw_orderbook", 1, [row_of("raw_orderbook")])  # a program that can read it
    assert room.reconcile().healed == 1
    assert room.states(gap_id) == ["open", "healed"]


def test_a_loss_that_nobody_reads_of_any_more_has_not_healed(room: Room) -> None:
    """Only the journal told of the ends, and it is not read for ever."""
    room.exchange.histories[BTC] = [101]
    room.trades(101)
    started = {"kind": "start", "conn": 0}
    room.tell(started, high_water(103), high_water(4, None, "raw_orderbook"), ago=SETTLE)
    room.twice()
    room.wait(PATIENCE)
    room.reconcile()
    lost = room.latest()
    assert {state for state, *_ in lost.values()} == {"permanent"}
    for _ in range(3):
        room.wait(LOOK_BACK)
        report = room.reconcile()
    assert room.latest() == lost
    assert (report.missing["raw_trades"], report.missing["raw_orderbook"]) == (2, 5)
    assert report.completeness["raw_trades"] == 1 / 3


def test_a_loss_of_a_life_that_left_the_ledger_has_not_healed(room: Room) -> None:
    room.lose("features")
    room.frame("features", [row_of("features")])
    room.reconcile()
    room.wait(PATIENCE)
    room.reconcile()
    lost = room.latest()
    room.wait(KEPT_SECONDS + 1)
    room.frame("features", [row_of("features")], epoch=LATER)
    assert set(room.desk.ledger("features").stream("features").epochs) == {LATER}
    room.reconcile()
    assert room.latest() == lost
    # It is accepted all the same, and heals what can be told of.
    room.store("features", 0, [row_of("features")])
    room.reconcile()
    assert room.latest()[frame_gap("features", 0, 0)] == ("healed", 0, None)


# Books


def test_the_hole_between_two_lives_is_open_and_then_permanent(room: Room) -> None:
    room.tell(snapshot(), ago=500)
    room.tell(high_water(7), ago=400)
    room.trades(*range(1, 8))
    died_us = room.now_us() - 400 * US_PER_SECOND
    room.reconcile()
    gap_id = f"book:{BTC}:{died_us}"
    assert room.latest() == {gap_id: ("open", None, "died")}
    room.tell({"kind": "start", "reason": f"after_crash {EPOCH}"}, snapshot(), epoch=LATER)
    room.wait(SETTLE)
    report = room.reconcile()
    assert (report.permanent, report.still_open) == (1, 0)
    (_, row) = room.gaps()
    assert (row["state"], row["symbol"], row["epoch"]) == ("permanent", BTC, EPOCH)
    assert (row["to_time"] - row["from_time"]).total_seconds() == 400
    assert row["by"] == "reconcile"


def test_a_gateway_that_lives_has_no_outage_however_long_things_settle(room: Room) -> None:
    """What has not settled is not silence."""
    room.tell({"kind": "start", "conn": 0}, snapshot(), ago=300)
    times = [room.now_us() - seconds * US_PER_SECOND for seconds in range(290, 0, -10)]
    room.tell(*({**high_water(7), "received_at": us} for us in times))
    room.trades(7)
    assert room.reconcile().opened == 0


def test_a_late_word_within_the_look_back_still_counts(room: Room) -> None:
    room.tell({"kind": "start", "conn": 0}, snapshot(), ago=100)
    late = room.lose("events")
    room.tell({"kind": "close", "reason": "1006"}, ago=90)
    room.reconcile()
    assert [state for state, *_ in room.latest().values()] == ["open", "open"]
    # What the lost frame says: the connection closed earlier, and a book came in between.
    room.wait(LOOK_BACK / 2)
    ago = round(LOOK_BACK / 2)
    rows = [
        row_of("events", received_at=room.now_us() - (ago + 95) * US_PER_SECOND, conn=1)
        | {"kind": "invalid", "symbol": BTC, "reason": "crossed"},
        row_of("events", received_at=room.now_us() - (ago + 94) * US_PER_SECOND, conn=1)
        | snapshot(),
    ]
    room.store("events", late, rows)
    room.reconcile()
    books = [gap for gap in room.gaps() if gap["kind"] == "book"]
    assert [(gap["state"], gap["reason"]) for gap in books] == [
        ("open", "close 1006"),
        ("permanent", "invalid crossed"),
    ]


def test_the_journal_is_read_from_where_it_must_be_and_not_from_its_beginning(room: Room) -> None:
    room.trades(101)
    room.reconcile()
    # Older than everything that is looked at: a word of it would open a gap.
    room.tell(high_water(150), ago=LOOK_BACK + 1)
    assert room.reconcile().opened == 0
    room.tell(high_water(120), ago=LOOK_BACK - 1)
    assert room.reconcile().opened == 1
    assert list(room.latest()) == [trade_gap(102, 120)]


def test_an_open_outage_keeps_its_beginning_in_sight(room: Room) -> None:
    room.tell({"kind": "start", "conn": 0}, snapshot(), ago=100)
    room.tell({"kind": "close", "reason": "1006"}, ago=90)
    room.reconcile()
    for _ in range(3):
        room.wait(LOOK_BACK)
        room.reconcile()
    room.tell({"kind": "open", "conn": 2}, {**snapshot(), "conn": 2}, ago=SETTLE)
    assert room.reconcile().permanent == 1
    assert [row["state"] for row in room.gaps()] == ["open", "permanent"]


def test_an_outage_that_is_over_stays_what_it_is_when_the_journal_begins_after_it(
    room: Room,
) -> None:
    room.tell({"kind": "start", "conn": 0}, snapshot(), ago=100)
    room.tell({"kind": "close", "reason": "1006"}, ago=90)
    room.tell({"kind": "open", "conn": 2}, {**snapshot(), "conn": 2}, ago=80)
    room.reconcile()
    before = room.gaps()
    # The second of these runs reads the journal from one second before the close.
    room.wait(LOOK_BACK - 91)
    for _ in range(2):
        room.tell({**high_water(1), "conn": 2}, ago=SETTLE)
        room.trades(1)
        room.reconcile()
    assert [row for row in room.gaps() if row["kind"] == "book"] == before


# Failures


def test_a_table_that_cannot_be_read_fails_the_run_and_says_so(room: Room) -> None:
    room.trades(101, 103)
    table = room.desk.table("raw_trades")
    table.append(table.scan().to_arrow())
    report = room.stage().run_once()
    assert report.failed
    assert report.error is not None
    assert "repair-ledger raw_trades" in report.error


def test_a_catalog_that_is_away_is_not_waited_for(tmp_path: Path, exchange: Exchange) -> None:
    away = {"type": "rest", "uri": f"http://127.0.0.1:{free_port()}"}
    with closing(Desk(tmp_path, properties=away)) as desk:
        room = Room(desk, exchange)
        report = room.stage().run_once()
    assert report.failed
    assert room.clock.elapsed_ns == 0


def test_a_table_that_was_dropped_meanwhile_is_made_again(room: Room) -> None:
    room.trades(101, 103)
    assert room.reconcile().opened == 1
    room.desk.tables.catalog.drop_table((NAMESPACE, "gaps"))
    assert room.reconcile().opened == 1
    room.desk.tables.catalog.drop_table((NAMESPACE, "raw_trades"))
    room.trades(104)
    assert room.stored() == [104]


def test_the_report_is_what_json_has(room: Room) -> None:
    room.trades(101, 103)
    plain = room.reconcile().plain()
    assert plain["missing"]["raw_trades"] == 1
    assert plain["completeness"] == {"raw_trades": 2 / 3}
    assert plain["error"] is None
