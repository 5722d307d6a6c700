"""What Pub/Sub accepts, checked before sending: the laptop refuses what the cloud refuses. Pure.

The emulator enforces only part of this (no attribute limits, no 10 MB), so it stands here.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta

from quotewatch.bus.port import MAX_MESSAGE_BYTES, DeadLetter, Message, Subscription
from quotewatch.errors import BusError

MAX_PUBLISH_MESSAGES = 1_000
MAX_ATTRIBUTES = 100
MAX_KEY_BYTES = 256
MAX_VALUE_BYTES = 1_024
MAX_RELEASE = timedelta(minutes=10)
ACK_DEADLINE_SECONDS = range(10, 601)
DEAD_LETTER_ATTEMPTS = range(5, 101)

# The full topic name travels in the request too: at most 255 characters beside the project's 30.
_REQUEST_ROOM = MAX_MESSAGE_BYTES - 1_000
# Tags, lengths, and the entry messages of protobuf; rounded up.
_MESSAGE_OVERHEAD, _ATTRIBUTE_OVERHEAD = 16, 16
_NAME = re.compile(r"(?!goog)[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}")


def check_name(kind: str, name: str) -> None:
    """Refuse a topic or subscription name that Pub/Sub would not take."""
    if not _NAME.fullmatch(name):
        raise BusError(
            f"{kind} {name!r} is no name Pub/Sub takes: use 3 to 255 letters, digits and -_.~+%, "
            "beginning with a letter and not with 'goog'"
        )


def check_topology(topics: Iterable[str], subscriptions: Iterable[Subscription]) -> None:
    """Refuse names, deadlines and attempts that Pub/Sub would not take."""
    for topic in topics:
        check_name("topic", topic)
    for subscription in subscriptions:
        check_name("subscription", subscription.name)
        check_name("topic", subscription.topic)
        _check_deadline(subscription)
        if subscription.dead_letter is not None:
            _check_dead_letter(subscription.name, subscription.dead_letter)


def check_messages(topic: str, messages: Sequence[Message]) -> None:
    """Refuse a batch of which Pub/Sub would not take every message."""
    check_name("topic", topic)
    for number, message in enumerate(messages):
        problem = _problem_of(message)
        if problem:
            raise BusError(f"topic {topic}: message {number} of {len(messages)} {problem}")


def check_limits(subscription: str, max_messages: int, max_bytes: int | None) -> None:
    """Refuse a pull that asks for nothing."""
    check_name("subscription", subscription)
    if max_messages < 1:
        raise BusError(f"{subscription}: max_messages is {max_messages}; ask for at least 1")
    if max_bytes is not None and max_bytes < 1:
        raise BusError(f"{subscription}: max_bytes is {max_bytes}; ask for at least 1, or None")


def check_delay(subscription: str, delay_seconds: int) -> None:
    """Refuse a release delay that Pub/Sub would not take."""
    check_name("subscription", subscription)
    limit = int(MAX_RELEASE.total_seconds())
    if not 0 <= delay_seconds <= limit:
        raise BusError(f"{subscription}: delay_seconds is {delay_seconds}; use 0 to {limit}")


def wire_bytes(message: Message) -> int:
    """Bound what a message takes in a publish request from above."""
    attributes = sum(
        len(key.encode()) + len(value.encode()) + _ATTRIBUTE_OVERHEAD
        for key, value in message.attributes.items()
    )
    return len(message.data) + attributes + _MESSAGE_OVERHEAD


def publish_requests(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """Cut a checked batch, in order, into pieces of at most 1000 messages and 10 MB."""
    piece: list[Message] = []
    room = _REQUEST_ROOM
    for message in messages:
        size = wire_bytes(message)
        if piece and (size > room or len(piece) == MAX_PUBLISH_MESSAGES):
            yield piece
            piece, room = [], _REQUEST_ROOM
        piece.append(message)
        room -= size
    if piece:
        yield piece


def _problem_of(message: Message) -> str | None:
    if not message.data and not message.attributes:
        return "is empty: give it data or an attribute"
    if len(message.attributes) > MAX_ATTRIBUTES:
        return f"has {len(message.attributes)} attributes: Pub/Sub takes {MAX_ATTRIBUTES}"
    for key, value in message.attributes.items():
        if not 0 < len(key.encode()) <= MAX_KEY_BYTES or len(value.encode()) > MAX_VALUE_BYTES:
            return (
                f"has attribute {key[:40]!r} of {len(key)}+{len(value)} characters: "
                f"Pub/Sub takes keys of 1 to {MAX_KEY_BYTES} bytes, values to {MAX_VALUE_BYTES}"
            )
    if (size := wire_bytes(message)) > _REQUEST_ROOM:
        return f"takes {size} bytes: split it, Pub/Sub takes {_REQUEST_ROOM}"
    return None


def _check_deadline(subscription: Subscription) -> None:
    allowed = ACK_DEADLINE_SECONDS
    if subscription.ack_deadline_seconds not in allowed:
        raise BusError(
            f"subscription {subscription.name}: ack_deadline_seconds is "
            f"{subscription.ack_deadline_seconds}; use {allowed[0]} to {allowed[-1]}"
        )


def _check_dead_letter(name: str, dead_letter: DeadLetter) -> None:
    check_name("dead-letter topic", dead_letter.topic)
    allowed = DEAD_LETTER_ATTEMPTS
    if dead_letter.max_attempts not in allowed:
        raise BusError(
            f"subscription {name}: dead letter after {dead_letter.max_attempts} attempts; "
            f"use {allowed[0]} to {allowed[-1]}"
        )
