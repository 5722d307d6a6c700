"""Rows of one slice of time, of one table or several, in the order their messages arrived. Pure.

`arrival` orders the rows of an epoch, `received_at` those of different epochs. A clock that was set
back does not reorder an epoch: a row's moment is the latest time that any row before it shows.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from quotewatch.clock import US_PER_SECOND
from quotewatch.errors import QueryError
from quotewatch.intervals import Intervals
from quotewatch.tables.ordering import integers
from quotewatch.tables.records import Kind
from quotewatch.tables.validity import Visible

# The furthest a clock may be set back without rows of one epoch changing their order.
STEP_BACK_US = 10 * US_PER_SECOND

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Span:
    """Microseconds since 1970: the first included, the last not."""

    from_us: int
    to_us: int

    @classmethod
    def of(cls, start: datetime, end: datetime) -> "Span":
        """Make a span of two times that say where they are."""
        for name, moment in (("start", start), ("end", end)):
            if moment.utcoffset() is None:
                raise QueryError(
                    f"{name} {moment.isoformat()} has no time zone; say which one it is in, for"
                    " example datetime(2026, 8, 9, tzinfo=UTC)"
                )
        if start > end:
            raise QueryError(f"start {start.isoformat()} is after end {end.isoformat()}; swap them")
        return cls((start - _EPOCH) // _MICROSECOND, (end - _EPOCH) // _MICROSECOND)

    def __and__(self, other: "Span") -> "Span":
        low = max(self.from_us, other.from_us)
        return Span(low, max(low, min(self.to_us, other.to_us)))

    def widened(self, us: int) -> "Span":
        """Return it with so much more on either side."""
        return Span(self.from_us - us, self.to_us + us)

    def cut(self, us: int) -> Iterator["Span"]:
        """Yield it in pieces that end at multiples of so many microseconds."""
        at = self.from_us
        while at < self.to_us:
            until = min(self.to_us, at - at % us + us)
            yield Span(at, until)
            at = until

    def touches(self, covered: Intervals | None) -> bool:
        """Say whether anything may be there; None covers everything."""
        if covered is None:
            return True
        after = int(np.searchsorted(covered.ends, self.from_us, "left"))
        return after < covered.pieces and int(covered.starts[after]) < self.to_us


def only_visible(rows: pa.Table, shown: Visible) -> pa.Table:
    """Keep the rows of the epoch that speaks for their product at their moment."""
    symbols, products = _codes([rows.column("symbol")])
    epochs, lives = _codes([rows.column("epoch")])
    received = integers(rows, "received_at")
    keep = np.zeros(rows.num_rows, np.bool_)
    for (symbol, epoch), moments in shown.items():
        if symbol in products and epoch in lives:
            mine = (symbols == products.index(symbol)) & (epochs == lives.index(epoch))
            keep[mine] = moments.holds(received[mine])
    return rows if keep.all() else rows.filter(pa.array(keep))


def records(kinds: Sequence[Kind], parts: Sequence[pa.Table], order: Places) -> Iterator[Any]:
    """Yield the rows of all parts as records, in the order given."""
    ends = np.cumsum([part.num_rows for part in parts])
    of = np.searchsorted(ends, order, "right")
    sources = [
        kind.records(part.take(pa.array(order[of == number] - (end - part.num_rows))))
        for number, (kind, part, end) in enumerate(zip(kinds, parts, ends, strict=True))
    ]
    if len(sources) == 1:
        yield from sources[0]
        return
    for number in of.tolist():
        yield next(sources[number])


def by_arrival(parts: Sequence[pa.Table], span: Span) -> Places:
    """Order the rows of all parts whose moment lies in the span, as if they were one table.

    The parts hold what was received up to STEP_BACK_US before and after the span: so each row has
    the same moment in every slice that sees it, and is in exactly one.
    """
    epochs, _ = _codes([part.column("epoch") for part in parts])
    arrivals, received, seqs, numbers = (
        np.concatenate([integers(part, name) for part in parts])
        for name in ("arrival", "received_at", "seq", "row")
    )
    tables = np.repeat(np.arange(len(parts)), [part.num_rows for part in parts])
    order = np.lexsort((numbers, seqs, tables, arrivals, epochs))
    moments = received[order]
    for first, end in _runs(epochs[order]):
        np.maximum.accumulate(moments[first:end], out=moments[first:end])
    moments = np.minimum(moments, received[order] + STEP_BACK_US)
    inside = (moments >= span.from_us) & (moments < span.to_us)
    order, moments = order[inside], moments[inside]
    placed: Places = order[np.argsort(moments, kind="stable")]
    return placed


def by_exchange_time(part: pa.Table) -> Places:
    """Order trades by when they happened, and by their number where that is the same."""
    order: Places = np.lexsort((integers(part, "trade_id"), integers(part, "exchange_time")))
    return order


def _runs(codes: Places) -> Iterable[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(codes)) + 1
    return zip([0, *edges.tolist()], [*edges.tolist(), codes.size], strict=True)


def _codes(columns: Sequence[Any]) -> tuple[Places, list[str]]:
    """Give texts numbers that sort as they do; return these, and which text each stands for."""
    chunks = [chunk.cast(pa.string()) for column in columns for chunk in column.chunks]
    texts = pa.chunked_array(chunks, pa.string())
    names: list[Any] = sorted(pc.unique(texts).to_pylist())
    codes: Any = pc.index_in(texts, pa.array(names, pa.string()))
    return np.asarray(codes.to_numpy(), np.int64), names
