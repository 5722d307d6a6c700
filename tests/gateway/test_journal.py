"""The journal's reasons: rows say all of it, metrics one word of a list."""

import pytest

from ingest_gateway.journal import reason_label
from quotewatch.metrics.declared.capture import EVENT_REASONS
from quotewatch.metrics.metric import OTHER


@pytest.mark.parametrize(
    ("reason", "label"),
    [
        (None, ""),
        ("1001 restart 17", "1001"),
        ("4711 made up by the peer", OTHER),
        ("0 connect: ConnectionRefusedError: [Errno 111]", "0"),
        ("silence for 20 s", "silence"),
        ("error KeyError", "error"),
        ("after_crash 0018c0ffee-12345678", "after_crash"),
        ("whatever a peer says", OTHER),
    ],
)
def test_the_reason_of_an_event_counts_under_one_of_a_list(reason: str | None, label: str) -> None:
    assert reason_label(reason) == label
    assert label in EVENT_REASONS | {OTHER}
