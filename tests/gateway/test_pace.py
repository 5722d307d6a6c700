"""Requests leave no faster than the exchange takes them."""

import pytest

from ingest_gateway.pace import Pace


def test_a_request_after_a_pause_goes_at_once() -> None:
    pace = Pace(4.0)
    assert [pace.wait_seconds(now) for now in (100.0, 100.25, 101.0)] == [0.0, 0.0, 0.0]


def test_a_burst_is_spread() -> None:
    pace = Pace(4.0)
    assert [pace.wait_seconds(100.0) for _ in range(4)] == pytest.approx([0.0, 0.25, 0.5, 0.75])
    assert pace.wait_seconds(100.5) == pytest.approx(0.5)
