from hypothesis import given
from hypothesis import strategies as st

from quotewatch.bus import rules
from quotewatch.bus.port import MAX_MESSAGE_BYTES, Message

BODIES = [bytes(size) for size in (0, 10, 3_000_000, 5_000_000, 9_000_000)]
messages = st.builds(
    Message,
    st.sampled_from(BODIES),
    st.dictionaries(st.text(min_size=1, max_size=3), st.text(max_size=5), min_size=1, max_size=2),
)


@given(st.lists(messages, max_size=12))
def test_a_cut_batch_is_the_batch_and_each_piece_fits(batch: list[Message]) -> None:
    pieces = list(rules.publish_requests(batch))
    assert [message for piece in pieces for message in piece] == batch
    assert all(pieces)
    for piece in pieces:
        assert sum(rules.wire_bytes(message) for message in piece) < MAX_MESSAGE_BYTES


def test_a_piece_holds_at_most_a_thousand_messages() -> None:
    sizes = [len(piece) for piece in rules.publish_requests([Message(b"x")] * 2_500)]
    assert sizes == [1_000, 1_000, 500]


@given(messages)
def test_the_size_of_a_message_is_never_underestimated(message: Message) -> None:
    from google.pubsub_v1 import PublishRequest, PubsubMessage  # noqa: PLC0415  # 0.4 s

    wire = PubsubMessage(data=message.data, attributes=dict(message.attributes))
    request = PublishRequest.serialize(PublishRequest(topic="", messages=[wire]))
    assert len(request) <= rules.wire_bytes(message)
