"""Backoff doubles, is bounded, trembles, and forgets after good times."""

from ingest_gateway.backoff import Backoff


def test_it_doubles_up_to_thirty_seconds() -> None:
    backoff = Backoff(jitter=lambda: 0.0)
    assert [backoff.next_delay() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]


def test_jitter_cuts_up_to_a_half() -> None:
    assert Backoff(jitter=lambda: 1.0).next_delay() == 0.5
    assert 0.5 <= Backoff().next_delay() <= 1.0


def test_a_healthy_minute_is_a_new_beginning_however_it_ended() -> None:
    backoff = Backoff(jitter=lambda: 0.0)
    for _ in range(5):
        backoff.next_delay(59.9)
    assert backoff.next_delay(60.0) == 1
