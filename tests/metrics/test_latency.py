"""Latencies are counted exactly, whatever order, gaps and clocks the times come with."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from quotewatch.metrics.catalogue import CATALOGUE
from quotewatch.metrics.latency import LATENCY, Sent, messages, until_received
from quotewatch.metrics.tally import Tally
from quotewatch.streams import TIME

BOUNDS = CATALOGUE[LATENCY].buckets
NOW_US = 1_795_262_400_000_000
AROUND = [0, 1, -1, 1_000, 1_001, 999, 60_000_000, 60_000_001, -5_000_000]
TOOK = st.lists(st.none() | st.sampled_from(AROUND) | st.integers(-(10**7), 10**8), max_size=40)


def column(values: Sequence[int | None]) -> "pa.Array[Any]":
    return pa.array(values, pa.int64()).cast(TIME)


def expected(took: Sequence[int | None]) -> Tally:
    """Count one by one."""
    seconds = [max(each, 0) / 1e6 for each in took if each is not None]
    counts = [0] * (len(BOUNDS) + 1)
    for value in seconds:
        counts[next((at for at, bound in enumerate(BOUNDS) if value <= bound), len(BOUNDS))] += 1
    return Tally(BOUNDS, tuple(counts), sum(seconds))


def assert_same(found: Tally, wanted: Tally) -> None:
    assert found.counts == wanted.counts
    assert abs(found.sum - wanted.sum) < 1e-6 * max(1, len(wanted.counts))


@given(TOOK)
def test_until_a_moment(took: list[int | None]) -> None:
    sent = column([None if each is None else NOW_US - each for each in took])
    for times in (sent, pa.chunked_array([sent.slice(0, 1), sent.slice(1)])):
        assert_same(Sent(times).until(NOW_US), expected(took))


@given(TOOK)
def test_until_received(took: list[int | None]) -> None:
    received = [NOW_US + number for number in range(len(took))]
    sent = [None if each is None else at - each for at, each in zip(received, took, strict=True)]
    rows = pa.RecordBatch.from_arrays(
        [column(received), column(sent)], names=["received_at", "exchange_time"]
    )
    found, ahead = until_received(rows)
    assert_same(found, expected(took))
    assert ahead == sum(each is not None and each < 0 for each in took)


def test_a_slice_counts_its_own_rows() -> None:
    sent = column([NOW_US - 10**6] * 5 + [NOW_US - 2 * 10**6] * 3)
    assert Sent(sent.slice(5)).until(NOW_US).sum == 6


def test_a_trade_that_was_told_again_is_no_message() -> None:
    times = column([NOW_US - 10**6, NOW_US - 10**9])
    rows = pa.RecordBatch.from_arrays(
        [times, pa.array([True, False])], names=["exchange_time", "live"]
    )
    assert Sent(messages(rows).column("exchange_time")).until(NOW_US).sum == 1
    assert messages(rows.select(["exchange_time"])).num_rows == 2
