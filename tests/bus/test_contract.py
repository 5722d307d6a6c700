"""What both buses promise. Every test here runs on SQLite and on the official emulator."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from quotewatch.bus.port import (
    SOURCE_ATTEMPTS,
    SOURCE_SUBSCRIPTION,
    Bus,
    DeadLetter,
    Message,
    Subscription,
)
from quotewatch.errors import BusError, BusUnavailableError
from tests.bus.places import (
    ACK_DEADLINE_SECONDS,
    DEAD,
    READER,
    TOPIC,
    Place,
    ack_all,
    bodies,
    collect,
    reader,
    release_all,
)

# How late a call may be on a busy machine and still count as prompt.
PATIENCE_SECONDS = 5.0


def numbered(count: int, start: int = 0) -> list[Message]:
    return [Message(str(number).encode()) for number in range(start, start + count)]


def test_a_published_message_is_delivered_with_its_attributes(bus: Bus) -> None:
    message = Message(b"\x00\xff body", {"stream": "raw_trades", "unit": "µs", "empty": ""})
    [message_id] = bus.publish(TOPIC, [message])
    [delivery] = collect(bus, READER, 1)
    assert delivery.message == message
    assert delivery.message_id == message_id
    assert delivery.published_ns > 1_700_000_000_000_000_000


def test_attributes_alone_are_a_message(bus: Bus) -> None:
    bus.publish(TOPIC, [Message(b"", {"rows": "0"})])
    assert collect(bus, READER, 1)[0].message == Message(b"", {"rows": "0"})


def test_publishing_nothing_is_nothing(bus: Bus) -> None:
    assert bus.publish(TOPIC, []) == []


def test_ids_come_in_the_order_of_the_messages(bus: Bus) -> None:
    ids = bus.publish(TOPIC, numbered(50))
    came = {item.message_id: item.message.data for item in collect(bus, READER, 50)}
    assert [came[message_id] for message_id in ids] == [body.data for body in numbered(50)]


def test_each_subscription_gets_every_message(bus: Bus) -> None:
    bus.create([], [reader("raw_trades.other")])
    bus.publish(TOPIC, numbered(3))
    ack_all(bus, READER, collect(bus, READER, 3))
    assert sorted(bodies(collect(bus, "raw_trades.other", 3))) == [b"0", b"1", b"2"]


def test_a_later_subscription_does_not_get_earlier_messages(bus: Bus) -> None:
    bus.publish(TOPIC, numbered(1))
    bus.create([], [reader("raw_trades.late")])
    bus.publish(TOPIC, numbered(1, start=1))
    assert bodies(collect(bus, "raw_trades.late", 1)) == [b"1"]
    assert bus.pull("raw_trades.late") == []


def test_a_topic_without_subscription_takes_messages(bus: Bus) -> None:
    assert len(set(bus.publish(DEAD, numbered(3)))) == 3


def test_a_leased_message_is_not_given_to_another_reader(place: Place, bus: Bus) -> None:
    bus.publish(TOPIC, numbered(1))
    collect(bus, READER, 1)
    assert place.open().pull(READER) == []


def test_a_pull_is_limited_by_count(bus: Bus) -> None:
    bus.publish(TOPIC, numbered(5))
    first = bus.pull(READER, max_messages=2, wait_seconds=1)
    assert len(first) == 2
    assert len(collect(bus, READER, 3)) == 3


def test_a_pull_is_limited_by_bytes(bus: Bus) -> None:
    bus.publish(TOPIC, [Message(bytes(1_000)) for _ in range(6)])
    first = bus.pull(READER, max_bytes=2_500, wait_seconds=1)
    assert bodies(first) == [bytes(1_000)] * 2
    assert len(collect(bus, READER, 4)) == 4


def test_a_message_over_the_limit_of_bytes_comes_alone(bus: Bus) -> None:
    bus.publish(TOPIC, [Message(bytes(1_000)) for _ in range(2)])
    assert len(bus.pull(READER, max_bytes=10, wait_seconds=1)) == 1


def test_what_is_not_acked_comes_back_and_what_is_acked_does_not(place: Place, bus: Bus) -> None:
    bus.publish(TOPIC, numbered(4))
    deliveries = collect(bus, READER, 4)
    ack_all(bus, READER, [item for item in deliveries if item.message.data in {b"0", b"2"}])
    assert bus.pull(READER) == []
    place.pass_seconds(ACK_DEADLINE_SECONDS)
    assert sorted(bodies(collect(bus, READER, 2))) == [b"1", b"3"]
    assert bus.pull(READER) == []


def test_a_released_message_comes_back_at_once(bus: Bus) -> None:
    bus.publish(TOPIC, numbered(2))
    deliveries = collect(bus, READER, 2)
    release_all(bus, READER, [item for item in deliveries if item.message.data == b"1"])
    assert bodies(collect(bus, READER, 1)) == [b"1"]


def test_a_message_released_with_a_delay_comes_back_after_it(place: Place, bus: Bus) -> None:
    bus.publish(TOPIC, numbered(1))
    released_at = time.monotonic()
    release_all(bus, READER, collect(bus, READER, 1), delay_seconds=5)
    # A machine that stood still for 5 s here has no early look; the message comes all the same.
    early = bus.pull(READER)
    assert early == [] or time.monotonic() - released_at > 5
    release_all(bus, READER, early)
    place.pass_seconds(5)
    assert bodies(collect(bus, READER, 1)) == [b"0"]


def test_each_delivery_is_an_attempt(bus: Bus) -> None:
    bus.create([], [dead_lettered(max_attempts=5)])
    bus.publish(TOPIC, numbered(1))
    for attempt in (1, 2, 3):
        deliveries = collect(bus, "raw_trades.strict", 1)
        assert [item.attempt for item in deliveries] == [attempt]
        release_all(bus, "raw_trades.strict", deliveries)


def test_after_its_last_attempt_a_message_moves_to_the_dead_letter_topic(bus: Bus) -> None:
    bus.create([], [dead_lettered(max_attempts=5), reader("raw_trades-dead.redrive", DEAD)])
    bus.publish(TOPIC, [Message(b"poison", {"seq": "7"})])
    for _ in range(5):
        assert bus.pull("raw_trades-dead.redrive") == []
        release_all(bus, "raw_trades.strict", collect(bus, "raw_trades.strict", 1))
    assert bus.pull("raw_trades.strict") == []  # the emulator moves it when it is looked for
    [letter] = collect(bus, "raw_trades-dead.redrive", 1)
    assert letter.message.data == b"poison"
    assert letter.message.attributes["seq"] == "7"
    assert letter.message.attributes[SOURCE_SUBSCRIPTION] == "raw_trades.strict"
    assert letter.message.attributes[SOURCE_ATTEMPTS] == "5"
    # The other subscription of the topic is not concerned.
    assert bodies(collect(bus, READER, 1)) == [b"poison"]


def test_what_is_acked_at_its_last_attempt_is_no_dead_letter(bus: Bus) -> None:
    bus.create([], [dead_lettered(max_attempts=5), reader("raw_trades-dead.redrive", DEAD)])
    bus.publish(TOPIC, numbered(1))
    for _ in range(4):
        release_all(bus, "raw_trades.strict", collect(bus, "raw_trades.strict", 1))
    ack_all(bus, "raw_trades.strict", collect(bus, "raw_trades.strict", 1))
    assert bus.pull("raw_trades.strict") == []
    assert bus.pull("raw_trades-dead.redrive") == []


def test_nine_megabytes_come_back_as_they_were(bus: Bus) -> None:
    body = bytes(range(256)) * (9_000_000 // 256)
    bus.publish(TOPIC, [Message(body)], timeout_seconds=60)
    assert bodies(collect(bus, READER, 1)) == [body]


def test_a_batch_over_the_limits_of_one_request_is_published_whole(bus: Bus) -> None:
    small = numbered(1_500)
    large = [Message(bytes([number]) * 4_000_000) for number in range(3)]
    ids = bus.publish(TOPIC, [*small, *large], timeout_seconds=60)
    came = {item.message_id: item.message for item in collect(bus, READER, 1_503)}
    assert [came[message_id] for message_id in ids] == [*small, *large]


def test_an_ack_of_unknown_ids_is_ignored(bus: Bus) -> None:
    bus.publish(TOPIC, numbered(3))
    known = [delivery.ack_id for delivery in collect(bus, READER, 3)]
    bus.ack(READER, ["nonsense", known[0], "12-1", "", known[1], "99999999999999999999-1"])
    bus.ack(READER, [])
    bus.release(READER, ["nonsense", known[0], known[2], known[1]])
    assert bodies(collect(bus, READER, 1)) == [b"2"]
    assert bus.pull(READER) == []


def test_a_message_acked_twice_is_acked(bus: Bus) -> None:
    bus.publish(TOPIC, numbered(1))
    deliveries = collect(bus, READER, 1)
    ack_all(bus, READER, deliveries)
    ack_all(bus, READER, deliveries)
    assert bus.pull(READER) == []


def test_what_does_not_exist_is_named(bus: Bus) -> None:
    with pytest.raises(BusError, match="topic no-such-topic") as refused:
        bus.publish("no-such-topic", numbered(1))
    assert not isinstance(refused.value, BusUnavailableError)
    for use in (
        lambda: bus.pull("no-such-reader"),
        lambda: bus.peek("no-such-reader"),
        lambda: bus.ack("no-such-reader", ["1-1"]),
        lambda: bus.release("no-such-reader", ["1-1"]),
    ):
        with pytest.raises(BusError, match="subscription no-such-reader") as refused:
            use()
        assert not isinstance(refused.value, BusUnavailableError)


def test_a_subscription_needs_its_topics(bus: Bus) -> None:
    # SQLite names the missing topic, Pub/Sub's answer only the subscription.
    with pytest.raises(BusError, match=r"no-such-topic|raw_trades\.bad"):
        bus.create([], [Subscription("raw_trades.bad", "no-such-topic")])
    with pytest.raises(BusError, match=r"no-such-dead|raw_trades\.bad"):
        bus.create(
            [], [Subscription("raw_trades.bad", TOPIC, dead_letter=DeadLetter("no-such-dead", 5))]
        )


def test_creating_again_changes_nothing(bus: Bus) -> None:
    bus.publish(TOPIC, numbered(1))
    bus.create([TOPIC, DEAD], [Subscription(READER, DEAD, 600)])
    assert bodies(collect(bus, READER, 1)) == [b"0"]
    bus.publish(TOPIC, numbered(1, start=1))
    assert bodies(collect(bus, READER, 1)) == [b"1"]


def test_an_empty_pull_returns_promptly(bus: Bus) -> None:
    bus.pull(READER)  # connects
    started = time.monotonic()
    assert bus.pull(READER) == []
    assert time.monotonic() - started < PATIENCE_SECONDS


def test_a_waiting_pull_ends(bus: Bus) -> None:
    bus.pull(READER)
    started = time.monotonic()
    assert bus.pull(READER, wait_seconds=1.5) == []
    assert time.monotonic() - started < 1.5 + PATIENCE_SECONDS


@pytest.mark.usefixtures("bus")
def test_a_waiting_pull_returns_what_comes(place: Place) -> None:
    reading = place.open_as_worker()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(reading.pull, READER, wait_seconds=60.0)
        place.open_as_worker().publish(TOPIC, numbered(1))
        assert bodies(waiting.result(timeout=60)) == [b"0"]


def test_peek_shows_each_waiting_message_once_and_takes_none(bus: Bus) -> None:
    bus.publish(TOPIC, [Message(b"a", {"seq": "0"}), Message(b"b")])
    for _ in range(2):
        seen = bus.peek(READER)
        assert sorted(item.message.data for item in seen) == [b"a", b"b"]
        assert len({item.message_id for item in seen}) == 2
    assert sorted(bodies(collect(bus, READER, 2))) == [b"a", b"b"]


def test_peek_shows_nothing_that_is_leased(bus: Bus) -> None:
    bus.publish(TOPIC, numbered(3))
    ack_all(bus, READER, collect(bus, READER, 1))
    leased = collect(bus, READER, 1)
    assert {item.message.data for item in bus.peek(READER)}.isdisjoint(bodies(leased))
    assert len(bus.peek(READER)) == 1


def test_peek_ends_at_its_limit_and_at_an_empty_queue(bus: Bus) -> None:
    assert bus.peek(READER) == []
    bus.publish(TOPIC, numbered(250))
    assert len(bus.peek(READER, max_messages=7)) == 7
    assert len(bus.peek(READER, max_messages=1_000)) == 250


@pytest.mark.usefixtures("bus")
def test_threads_share_one_bus(place: Place) -> None:
    shared = place.open_as_worker()
    with ThreadPoolExecutor(6) as pool:
        published = [pool.submit(shared.publish, TOPIC, numbered(20, n * 20)) for n in range(10)]
        pulled = [pool.submit(collect, shared, READER, 50) for _ in range(4)]
        assert sum(len(task.result()) for task in published) == 200
        came = [body for task in pulled for body in bodies(task.result())]
    assert {int(body) for body in came} == set(range(200))


def test_publishing_gives_up_in_time_when_nobody_answers(place: Place) -> None:
    with place.unreachable() as bus:
        started = time.monotonic()
        with pytest.raises(BusUnavailableError):
            bus.publish(TOPIC, numbered(1), timeout_seconds=0.5)
        assert time.monotonic() - started < 0.5 + PATIENCE_SECONDS


def test_a_closed_bus_says_so(bus: Bus) -> None:
    bus.close()
    bus.close()
    with pytest.raises(BusError, match="closed"):
        bus.publish(TOPIC, numbered(1))


@pytest.mark.parametrize("name", ["x", "1trades", "raw trades", "goog-trades", "t" * 256, ""])
def test_a_name_pubsub_does_not_take_is_refused(bus: Bus, name: str) -> None:
    with pytest.raises(BusError, match="no name Pub/Sub takes"):
        bus.create([name], [])
    with pytest.raises(BusError, match="no name Pub/Sub takes"):
        bus.publish(name, numbered(1))
    with pytest.raises(BusError, match="no name Pub/Sub takes"):
        bus.pull(name)


def test_a_message_pubsub_does_not_take_is_refused_and_none_of_its_batch_stored(bus: Bus) -> None:
    for refused in (
        Message(b""),
        Message(bytes(10_000_000)),
        Message(b"x", {"key": "v" * 1_025}),
        Message(b"x", {"k" * 257: "v"}),
        Message(b"x", {str(number): "v" for number in range(101)}),
    ):
        with pytest.raises(BusError, match="message 1 of 2"):
            bus.publish(TOPIC, [Message(b"fine"), refused])
    assert bus.pull(READER) == []


def test_limits_and_delays_out_of_range_are_refused(bus: Bus) -> None:
    with pytest.raises(BusError, match="max_messages is 0"):
        bus.pull(READER, max_messages=0)
    with pytest.raises(BusError, match="max_bytes is 0"):
        bus.pull(READER, max_bytes=0)
    for delay_seconds in (-1, 601):
        with pytest.raises(BusError, match=f"delay_seconds is {delay_seconds}"):
            bus.release(READER, [], delay_seconds=delay_seconds)
    with pytest.raises(BusError, match="ack_deadline_seconds is 9"):
        bus.create([], [Subscription("raw_trades.hasty", TOPIC, 9)])
    with pytest.raises(BusError, match="after 4 attempts"):
        bus.create([], [dead_lettered(max_attempts=4)])


def dead_lettered(max_attempts: int) -> Subscription:
    return Subscription(
        "raw_trades.strict", TOPIC, ACK_DEADLINE_SECONDS, DeadLetter(DEAD, max_attempts)
    )
