"""How long messages took to a stamp: columns of times in, tallies out.

An exchange whose clock is ahead of ours gives 0, never less. A thousand rows are sorted in 40 µs
and then asked by search: a call of Arrow for each bound would cost five times that.
"""

from bisect import bisect_left, bisect_right
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from quotewatch.clock import US_PER_SECOND
from quotewatch.metrics.catalogue import CATALOGUE
from quotewatch.metrics.tally import Tally, tally

LATENCY = "pipeline_message_latency_seconds"
_BOUNDS = CATALOGUE[LATENCY].buckets
_BOUNDS_US = {bound: round(bound * US_PER_SECOND) for bound in _BOUNDS}


def messages(rows: Any) -> Any:  # noqa: ANN401 - a table or a batch
    """Leave out trades that were told again: the last match of before we listened is old."""
    if "live" not in rows.schema.names:
        return rows
    return rows.filter(rows.column("live"))


class Sent:
    """When the exchange says it sent some messages: microseconds, sorted, the unknown left out."""

    def __init__(self, times: Any) -> None:  # noqa: ANN401 - an array, chunked or not
        self._us = _Sorted(_whole(times))

    def until(self, now_us: int) -> Tally:
        """Tally how long all of them took until now."""
        us = self._us.values
        known = bisect_right(us, now_us)
        return tally(
            _BOUNDS,
            len(us),
            lambda bound: len(us) - bisect_left(us, now_us - _BOUNDS_US[bound]),
            (known * now_us - self._us.sum_from(0, known)) / US_PER_SECOND,
        )


def until_received(rows: "pa.RecordBatch") -> tuple[Tally, int]:
    """Tally how long rows took to be received, and count those that came before they were sent."""
    received, sent = _whole(rows.column("received_at")), _whole(rows.column("exchange_time"))
    took = _Sorted(pc.subtract(received, sent))
    us = took.values
    ahead = bisect_left(us, 0)
    made = tally(
        _BOUNDS,
        len(us),
        lambda bound: bisect_right(us, _BOUNDS_US[bound]),
        took.sum_from(ahead, len(us)) / US_PER_SECOND,
    )
    return made, ahead


class _Sorted:
    """Whole numbers in order, to be searched and added up."""

    def __init__(self, numbers: Any) -> None:  # noqa: ANN401
        known = numbers.drop_null() if numbers.null_count else numbers
        self._array: Any = known.take(pc.array_sort_indices(known))
        data = self._array.buffers()[1] if len(self._array) else b""
        self.values = memoryview(data).cast("q")[: len(self._array)]

    def sum_from(self, begin: int, end: int) -> int:
        """Add up those from one place to another."""
        found: int | None = pc.sum(self._array.slice(begin, end - begin)).as_py()
        return found or 0


def _whole(times: Any) -> Any:  # noqa: ANN401
    """Return times as whole microseconds, without looking at them."""
    return (times.combine_chunks() if isinstance(times, pa.ChunkedArray) else times).view(
        pa.int64()
    )
