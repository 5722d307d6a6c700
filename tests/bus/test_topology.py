from quotewatch.bus.port import DeadLetter, Message
from quotewatch.bus.topology import COMMITTED, STREAMS, topology
from tests.bus.places import SqlitePlace, bodies, release_all


def test_each_stream_is_written_and_its_dead_letters_are_kept() -> None:
    made = topology(ack_deadline_seconds=120)
    assert set(made.topics) == {*STREAMS, *(f"{stream}-dead" for stream in STREAMS), COMMITTED}
    names = {subscription.name: subscription for subscription in made.subscriptions}
    for stream in STREAMS:
        write = names[f"{stream}.write"]
        assert write.topic == stream
        assert write.ack_deadline_seconds == 120
        assert write.dead_letter == DeadLetter(f"{stream}-dead", 100)
        assert names[f"{stream}-dead.redrive"].topic == f"{stream}-dead"
    assert names["features.predict"].topic == "features"
    assert names["features.predict"].dead_letter == DeadLetter("features-dead", 10)
    assert names["committed.label"].topic == COMMITTED
    assert len(made.subscriptions) == 2 * len(STREAMS) + 2


def test_a_frame_that_always_fails_is_found_where_redrive_looks(sqlite_place: SqlitePlace) -> None:
    bus = sqlite_place.open()
    made = topology()
    bus.create(made.topics, made.subscriptions)
    bus.publish("features", [Message(b"poison")])
    for _ in range(100):
        release_all(bus, "features.write", bus.pull("features.write"))
    assert bus.pull("features.write") == []
    assert bodies(bus.pull("features-dead.redrive")) == [b"poison"]
