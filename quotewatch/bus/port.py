"""The bus: messages published to a topic reach every subscription of it at least once.

What is not acked comes back. One contract test suite holds every implementation to this page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

MAX_MESSAGE_BYTES = 10_000_000  # Pub/Sub's limit for one message and for one publish request


@dataclass(frozen=True, slots=True)
class Message:
    """What a producer hands over: bytes and the attributes that describe them."""

    data: bytes
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery of a message to one subscription, to be acked or released by `ack_id`."""

    message: Message
    ack_id: str
    message_id: str
    published_ns: int
    # 1 for the first delivery; 0 where the bus does not count (Pub/Sub without a dead-letter topic).
    attempt: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Where a message goes that its consumers could not ack in `max_attempts` deliveries."""

    topic: str
    max_attempts: int  # 5 to 100, as Pub/Sub wants it


@dataclass(frozen=True, slots=True)
class Subscription:
    """A durable reader of one topic."""

    name: str
    topic: str
    ack_deadline_seconds: int = 60  # 10 to 600, as Pub/Sub wants it
    dead_letter: DeadLetter | None = None


class Bus(Protocol):
    """At-least-once delivery with ack deadlines. Every call may raise BusUnavailableError (try again)."""

    def create(self, topics: Sequence[str], subscriptions: Sequence[Subscription]) -> None:
        """Create what is missing; what exists stays as it is. Never called against the real cloud."""
        ...

    def publish(
        self, topic: str, messages: Sequence[Message], *, timeout_seconds: float = 10.0
    ) -> list[str]:
        """Store the messages durably and return their ids in order, or raise and promise nothing."""
        ...

    def pull(
        self,
        subscription: str,
        *,
        max_messages: int = 100,
        max_bytes: int | None = None,
        wait_seconds: float = 0.0,
    ) -> list[Delivery]:
        """Lease up to `max_messages` waiting messages for the ack deadline.

        At most `max_bytes` of data, but always at least one message. Returns at once with what is
        there; an empty queue is waited on for up to `wait_seconds`.
        """
        ...

    def ack(self, subscription: str, ack_ids: Sequence[str]) -> None:
        """Settle deliveries: their messages do not come back. Unknown or expired ids are ignored."""
        ...

    def release(
        self, subscription: str, ack_ids: Sequence[str], *, delay_seconds: int = 0
    ) -> None:
        """Give deliveries back; they return after `delay_seconds` (0 to 600)."""
        ...

    def close(self) -> None:
        """Let go of connections. Safe to call twice."""
        ...
