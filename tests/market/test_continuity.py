"""Holes are found where the numbers really are contiguous, and only there."""

from hypothesis import given
from hypothesis import strategies as st

from quotewatch.market import continuity
from quotewatch.market.continuity import Arrival, Gap, SequenceNumbers, TradeIds


def seen(*ids: int) -> TradeIds:
    trades = TradeIds()
    for trade_id in ids:
        trades.see(trade_id)
    return trades


def test_the_first_trade_is_a_baseline_not_a_gap() -> None:
    assert TradeIds().see(881_613) == (Arrival.NEXT, None)


def test_a_jump_names_what_is_missing() -> None:
    assert seen(10).see(14) == (Arrival.AHEAD, Gap(11, 13))


def test_a_duplicate_is_seen_and_rewinds_nothing() -> None:
    trades = seen(10, 11, 12)
    assert trades.see(11) == (Arrival.SEEN, None)
    assert trades.see(13) == (Arrival.NEXT, None)


def test_a_late_trade_fills_its_hole_once() -> None:
    trades = seen(10, 14)
    assert trades.see(12) == (Arrival.LATE, None)
    assert trades.see(12) == (Arrival.SEEN, None)
    assert trades.holes == (Gap(11, 11), Gap(13, 13))


def test_trades_before_the_first_are_late_not_seen() -> None:
    trades = seen(100)
    assert trades.see(90) == (Arrival.LATE, None)
    assert trades.see(95) == (Arrival.LATE, None)
    assert trades.see(90) == (Arrival.SEEN, None)


def test_a_heartbeat_ahead_of_a_trade_in_flight_is_no_gap() -> None:
    trades = seen(10)
    assert trades.hear(11) is None
    trades.see(11)
    assert trades.hear(11) is None


def test_trades_missing_over_two_heartbeats_are_a_gap_even_in_silence() -> None:
    trades = seen(10)
    assert trades.hear(12) is None
    assert trades.hear(12) == Gap(11, 12)
    assert trades.hear(12) is None
    assert trades.see(12) == (Arrival.LATE, None)


def test_a_heartbeat_of_zero_knows_nothing() -> None:
    trades = seen(10)
    trades.hear(12)
    assert trades.hear(0) == Gap(11, 12)
    assert trades.hear(0) is None
    assert trades.known == 12


def test_a_new_connection_forgets_what_heartbeats_suspected() -> None:
    trades = seen(10)
    trades.hear(50)
    trades.interrupt()
    assert trades.hear(50) is None


def test_ids_among_forgotten_holes_are_never_called_seen() -> None:
    trades = TradeIds()
    for place in range(continuity._KEPT_HOLES + 5):
        trades.see(2 * place)
    assert trades.see(1)[0] is Arrival.LATE
    assert trades.see(0)[0] is Arrival.LATE
    assert trades.see(2 * continuity._KEPT_HOLES)[0] is Arrival.SEEN


@given(ids=st.lists(st.integers(1, 60), min_size=1))
def test_whatever_the_order_each_id_is_new_exactly_once(ids: list[int]) -> None:
    trades = TradeIds()
    new = [trade_id for trade_id in ids if trades.see(trade_id)[0] is not Arrival.SEEN]
    assert sorted(new) == sorted(set(ids))
    missing = [i for gap in trades.holes for i in range(gap.first, gap.last + 1)]
    assert missing == [i for i in range(min(ids), max(ids) + 1) if i not in set(ids)]


def test_sequence_numbers_start_at_zero() -> None:
    assert SequenceNumbers().see(0) is None
    assert SequenceNumbers().see(2) == Gap(0, 1)


def test_a_sequence_hole_is_told_once() -> None:
    numbers = SequenceNumbers()
    numbers.see(0)
    assert numbers.see(3) == Gap(1, 2)
    assert numbers.see(2) is None
    assert numbers.see(4) is None


def test_holes_are_bounded_whatever_makes_them() -> None:
    trades = seen(10**9)
    for place in range(1, continuity._KEPT_HOLES + 50):
        trades.see(10**9 - 2 * place)
    assert len(trades.holes) <= continuity._KEPT_HOLES
    trades = seen(1, 10**6)
    for place in range(1, continuity._KEPT_HOLES + 50):
        trades.see(3 * place)
    assert len(trades.holes) <= continuity._KEPT_HOLES
