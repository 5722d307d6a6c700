"""The bus: messages published to a topic reach every subscription of it at least once.

What is not acked comes back. One contract test suite holds every implementation to this page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from quotewatch.message import Message

__all__ = ["MAX_MESSAGE_BYTES", "Bus", "DeadLetter", "Delivery", "Message", "Subscription"]

MAX_MESSAGE_BYTES = 10_000_000  # Pub/Sub's limit for one publish request, envelope included

# What a dead letter says about itself, in Pub/Sub's own words so that one reader serves both.
SOURCE_SUBSCRIPTION = "CloudPubSubDeadLetterSourceSubscription"
SOURCE_ATTEMPTS = "CloudPubSubDeadLetterSourceDeliveryCount"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery of a message to one subscription, to be acked or released by `ack_id`."""

    message: Message
    ack_id: str
    message_id: str
    published_ns: int
    # 1 for the first delivery; 0 where nobody counts (Pub/Sub without a dead-letter topic).
    attempt: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message that a pull would get now, seen without leasing it."""

    message: Message
    message_id: str
    published_ns: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Where a message goes that its consumers could not ack in `max_attempts` deliveries.

    Like any message it is kept only if its topic has a subscription.
    """

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
    """At-least-once delivery with ack deadlines.

    Every call may raise BusUnavailableError (try again) or another BusError (no use trying again).
    """

    def create(self, topics: Sequence[str], subscriptions: Sequence[Subscription]) -> None:
        """Create what is missing; what exists stays as it is. Refused by the real cloud."""
        ...

    def publish(
        self, topic: str, messages: Sequence[Message], *, timeout_seconds: float = 10.0
    ) -> list[str]:
        """Store the messages durably and return their ids in order, or raise and promise nothing.

        A subscription made later does not get them; without any subscription they are dropped.
        """
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
        """Settle deliveries: their messages do not come back. Unknown ids are ignored.

        So is the id of a delivery that expired and was leased again since.
        """
        ...

    def release(self, subscription: str, ack_ids: Sequence[str], *, delay_seconds: int = 0) -> None:
        """Give deliveries back; they return after `delay_seconds` (0 to 600).

        Each delivery counts as an attempt, released or not: releasing in a loop leads to the
        dead-letter topic.
        """
        ...

    def peek(self, subscription: str, *, max_messages: int = 100) -> list[Waiting]:
        """List up to `max_messages` messages that a pull would get now, each once, leasing none.

        Free of side effects on SQLite. Pub/Sub has no such call: there the messages are pulled and
        given back at once, which counts one attempt and hides them from consumers meanwhile.
        """
        ...

    def close(self) -> None:
        """Let go of connections. Safe to call twice."""
        ...
