"""How long messages took to a stamp: columns of times in, tallies out.

An exchange whose clock is ahead of ours gives 0, never less.
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


class Sent:
    """When the exchange says it sent some messages: microseconds, sorted, the unknown left out."""

    def __init__(self, times: Any) -> None:  # noqa: ANN401 - an array, chunked or not
        self._us = _sorted(times)

    def until(self, now_us: int) -> Tally:
        """Tally how long all of them took until now."""
        us = self._us
        known = bisect_right(us, now_us)
        return tally(
            _BOUNDS,
            len(us),
            lambda bound: len(us) - bisect_left(us, now_us - round(bound * US_PER_SECOND)),
            (known * now_us - sum(us[:known])) / US_PER_SECOND,
        )


def until_received(rows: "pa.RecordBatch") -> tuple[Tally, int]:
    """Tally how long rows took to be received, and count those that came before they were sent."""
    took = pc.subtract(
        rows.column("received_at").cast(pa.int64()), rows.column("exchange_time").cast(pa.int64())
    )
    us = _sorted(took)
    ahead = bisect_left(us, 0)
    made = tally(
        _BOUNDS,
        len(us),
        lambda bound: bisect_right(us, round(bound * US_PER_SECOND)),
        sum(us[ahead:]) / US_PER_SECOND,
    )
    return made, ahead


def _sorted(values: Any) -> "memoryview[int]":  # noqa: ANN401
    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    known = whole.cast(pa.int64()).drop_null()
    ordered: Any = known.take(pc.array_sort_indices(known))
    data = ordered.buffers()[1]
    if not len(ordered):
        return memoryview(b"").cast("q")
    return memoryview(data).cast("q")[ordered.offset : ordered.offset + len(ordered)]
