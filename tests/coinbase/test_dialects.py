"""Both dialects decode what real feeds send and encode it back."""

import msgspec
import pytest

from quotewatch.coinbase import advanced, exchange
from quotewatch.local.capture import read_capture
from tests.captures import capture_files


@pytest.mark.parametrize("place", range(3))
def test_every_captured_message_survives_decoding_and_encoding(place: int) -> None:
    path = capture_files()[place]
    dialect = exchange if path.parent.name == "exchange" else advanced
    for line in read_capture(path):
        message = dialect.decoder.decode(line.message)
        sent = msgspec.json.decode(line.message)
        if sent.get("type") in {"ticker", "status"}:
            continue
        ours = msgspec.json.decode(dialect.encode(message))
        assert {name: sent.get(name) for name in ours} == ours
        assert sent.keys() - ours.keys() <= {"account_ids", "client_id"}


def test_requests_are_spelled_as_each_feed_wants_them() -> None:
    assert [msgspec.json.decode(raw) for raw in exchange.subscribe(["BTC-USD"])] == [
        {
            "type": "subscribe",
            "product_ids": ["BTC-USD"],
            "channels": ["level2_batch", "matches", "heartbeat"],
        }
    ]
    assert [msgspec.json.decode(raw) for raw in advanced.unsubscribe(["BTC-USD"], ["level2"])] == [
        {"type": "unsubscribe", "product_ids": ["BTC-USD"], "channel": "level2"}
    ]
    assert len(advanced.subscribe(["BTC-USD"])) == 3


def test_an_acknowledgement_is_read_under_the_names_we_asked_by() -> None:
    ack = exchange.Subscriptions([exchange.SubscribedChannel("level2_50", ["BTC-USD"])])
    assert exchange.acked(ack) == {"level2_batch": {"BTC-USD"}}
    event = advanced.SubscriptionsEvent({"level2": ["BTC-USD"], "heartbeats": ["heartbeats"]})
    assert advanced.acked(advanced.Subscriptions("t", 0, [event])) == {
        "level2": {"BTC-USD"},
        "heartbeats": {"heartbeats"},
    }
