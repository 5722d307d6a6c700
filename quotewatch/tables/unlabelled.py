"""Features rows whose labels are not stored: tables in, portions of whole frames with labels out.

A portion is what one commit takes. A frame is in it when the future of all its rows is certain.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from pyiceberg.expressions import EqualTo

from quotewatch.clock import US_PER_SECOND
from quotewatch.intervals import Intervals
from quotewatch.market.labels import LATENESS_US, Known, Numbers, Outcome, Rows, State, label
from quotewatch.streams import FEATURE_COLUMNS, TIME
from quotewatch.tables.dataset import Current, current, read
from quotewatch.tables.epoch_journal import EpochJournal, read_epoch_journal
from quotewatch.tables.histories import History
from quotewatch.tables.ordering import integers
from quotewatch.tables.prices import sum_of

PORTION_ROWS = 200_000
_FRAMES_AT_FIRST = 512
_FEWEST_FRAMES = 1
# Beyond the horizon and the lateness: what tells how far a connection has come is seldom rarer.
_BEYOND_US = 10 * US_PER_SECOND
_FIRST_STEP_US = 60 * US_PER_SECOND

_COLUMNS = (
    "epoch", "seq", "row", "symbol", "book", "conn", "exchange_time", "received_at", "arrival",
    "best_bid", "best_ask", "mid", *FEATURE_COLUMNS,
)  # fmt: skip


@dataclass(frozen=True)
class Portion:
    """Rows of one epoch that were looked at together."""

    epoch: str
    frames: Intervals  # those whose rows are all decided
    rows: pa.Table  # the labelled rows of these frames, with `label` and `mid_at_horizon`
    undecidable: Mapping[str, int]  # rows of these frames that have no label, by reason
    waiting: int  # rows of the other frames


class Unlabelled:
    """One epoch of the features table during one call."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._there: Current | None = None
        self._span = _FRAMES_AT_FIRST

    @property
    def _current(self) -> Current:
        """The rows of the epoch as they are now; planned once."""
        if self._there is None:
            mine = EqualTo(term="epoch", value=self._history.epoch)
            self._there = current(self._history.features, "exchange_time", mine)
        return self._there

    def portions(self, pending: Intervals, horizon_us: int) -> Iterator[Portion]:
        """Yield portions, the oldest first, until one has nothing that is certain."""
        waiting = pending
        while waiting.first is not None:
            chosen, probe = self._choose(waiting)
            waiting = waiting - chosen
            portion = self._portion(chosen, probe, horizon_us)
            yield portion
            if not portion.frames:
                return

    def _choose(self, pending: Intervals) -> tuple[Intervals, pa.Table]:
        """Take the first frames, about as many as make a portion, and look at when they were."""
        first = int(pending.first or 0)
        span = Intervals.of([(first, first + self._span - 1)])
        chosen = pending & span
        probe = self._read(("seq", "exchange_time", "arrival"), _within("seq", span))
        seqs = integers(probe, "seq")
        mine = chosen.holds(seqs)
        probe, seqs = probe.filter(pa.array(mine)), seqs[mine]
        if seqs.size < PORTION_ROWS // 2:
            self._span *= 2
        elif seqs.size > PORTION_ROWS:
            self._span = max(self._span // 2, _FEWEST_FRAMES)
            last = int(np.sort(seqs)[PORTION_ROWS - 1])
            # Whole frames: the one at the border stays for the next, unless it is the only one.
            last = max(last - 1, first)
            chosen &= Intervals.of([(first, last)])
            probe = probe.filter(pa.array(seqs <= last))
        return chosen, probe

    def _portion(self, chosen: Intervals, probe: pa.Table, horizon_us: int) -> Portion:
        if not probe.num_rows:  # frames without rows
            return Portion(self._history.epoch, chosen, _nothing(self._history), {}, 0)
        times, arrivals = integers(probe, "exchange_time"), integers(probe, "arrival")
        until = int(times.max()) + horizon_us + LATENESS_US + _BEYOND_US
        view = self._view(int(times.min()), until)
        journal = read_epoch_journal(self._history, int(arrivals.min()))
        rows, names = _plain(view)
        known = _known(self._history, journal, rows, names)
        asked = np.flatnonzero(chosen.holds(integers(view, "seq")))
        return self._decided(chosen, view, asked, label(rows, asked, horizon_us, known))

    def _view(self, from_us: int, until_us: int) -> pa.Table:
        """Read the rows of a stretch of exchange time, and on until every connection has gone on.

        What lies beyond the stretch only says how far the connections came.
        """
        view = self._read(_COLUMNS, _time_within(from_us, until_us))
        lacking = set(np.unique(integers(view, "conn")).tolist())
        covered = self._current.covered
        end = until_us if covered is None or covered.last is None else covered.last
        at, step = until_us, _FIRST_STEP_US
        while lacking and at < end:
            more = self._read(
                _COLUMNS,
                _time_within(at + 1, at + step) & ds.field("conn").isin(sorted(lacking)),
            )
            lacking -= set(np.unique(integers(more, "conn")).tolist())
            view = pa.concat_tables([view, more])
            at, step = at + step, 2 * step
        return view.combine_chunks()

    def _decided(
        self, chosen: Intervals, view: pa.Table, asked: Numbers, outcome: Outcome
    ) -> Portion:
        """Keep the frames of which no row waits any more."""
        seqs = integers(view, "seq")[asked]
        waits = outcome.states == State.WAITING
        frames = chosen - Intervals.of_numbers(seqs[waits])
        done = frames.holds(seqs)
        undecidable = {
            state.name.lower(): count
            for state in (State.CLOSED, State.HOLE)
            if (count := int(np.count_nonzero(done & (outcome.states == state))))
        }
        kept = np.flatnonzero(done & (outcome.states == State.LABELLED))
        places: Any = pa.array(asked[kept])
        then: Any = pa.array(outcome.at_horizon[kept])
        rows, mids = view.take(places), view.column("mid").take(then)
        rows = rows.append_column("label", pa.array(outcome.labels[kept], pa.int32()))
        rows = rows.append_column("mid_at_horizon", mids)
        waiting = int(np.count_nonzero(~done))
        return Portion(self._history.epoch, frames, rows, undecidable, waiting)

    def _read(self, columns: tuple[str, ...], chosen: ds.Expression) -> pa.Table:
        mine = ds.field("epoch") == self._history.epoch
        return read(self._current.rows, columns, mine & chosen)


def _nothing(history: History) -> pa.Table:
    schema = history.features.schema().as_arrow()
    empty = schema.empty_table().select(list(_COLUMNS))
    empty = empty.append_column("label", pa.array([], pa.int32()))
    return empty.append_column("mid_at_horizon", pa.array([], pa.float64()))


def _within(column: str, span: Intervals) -> ds.Expression:
    return (ds.field(column) >= span.first) & (ds.field(column) <= span.last)


def _time_within(first_us: int, last_us: int) -> ds.Expression:
    time = ds.field("exchange_time")
    return (time >= pa.scalar(first_us, TIME)) & (time <= pa.scalar(last_us, TIME))


# From Arrow to what the labeller takes


def _plain(view: pa.Table) -> tuple[Rows, list[tuple[str, int]]]:
    """Return the rows as numbers, and what book each of their numbers stands for."""
    symbols: Any = view.column("symbol").combine_chunks().dictionary_encode()
    words = symbols.dictionary.to_pylist()
    numbers = integers(view, "book")
    both = np.asarray(symbols.indices.to_numpy(), np.int64) * (1 << 32) + numbers
    found, books = np.unique(both, return_inverse=True)
    names = [(words[each >> 32], each & 0xFFFFFFFF) for each in found.tolist()]
    rows = Rows(
        np.asarray(books, np.int64),
        integers(view, "conn"),
        integers(view, "exchange_time"),
        integers(view, "arrival"),
        sum_of(view.column("best_bid"), view.column("best_ask")),
    )
    return rows, names


def _known(
    history: History,
    journal: EpochJournal,
    rows: Rows,
    names: list[tuple[str, int]],
) -> Known:
    conns = dict(zip(rows.books.tolist(), rows.conns.tolist(), strict=True))
    first = _first_arrivals(rows)
    by_symbol: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for code, (symbol, number) in enumerate(names):
        by_symbol[symbol].append((number, code))
    ends: dict[int, int] = {}
    for code, (symbol, number) in enumerate(names):
        # A later life of the same book is in the rows: this one is over.
        later = [first[each] for other, each in by_symbol[symbol] if other > number]
        told = journal.end_of(symbol, number, conns[code])
        found = [*later, *([] if told is None else [told])]
        if found:
            ends[code] = min(found)
    return Known(
        max(history.features_until, journal.features_until),
        journal.events_until,
        ends,
        journal.conn_ends,
        journal.sightings,
        history.hole_times,
        history.unwritten,
        history.over,
    )


def _first_arrivals(rows: Rows) -> dict[int, int]:
    order = np.lexsort((rows.arrivals, rows.books))
    first = np.flatnonzero(np.diff(rows.books[order], prepend=-1))
    books, arrivals = rows.books[order][first], rows.arrivals[order][first]
    return dict(zip(books.tolist(), arrivals.tolist(), strict=True))
