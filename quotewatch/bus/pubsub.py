"""The port over Google Cloud Pub/Sub: one request per call, at least once, nothing buffered here.

What publish() returned ids for is stored by Pub/Sub. The high-level client of the same package
batches in threads of its own, which a function without CPU between requests must not have.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from urllib.parse import quote

from google.api_core import exceptions
from google.pubsub_v1 import types as wire

from quotewatch.bus import rules
from quotewatch.bus.port import Delivery, Message, Subscription, Waiting
from quotewatch.bus.pubsub_calls import Clients, existing_is_fine, make_clients, named, within
from quotewatch.clock import NS_PER_SECOND
from quotewatch.errors import BusError, BusUnavailableError

CALL_SECONDS = 10.0  # for calls without a timeout of their own; 10 MB pass in it at 8 Mbit/s
PULL_MESSAGES = 1_000  # Pub/Sub's limit for one pull (the emulator's is 100)
ACK_IDS = 1_000  # an ack request may take 512 KiB, an id takes up to about 200 bytes
PEEK_WAIT_SECONDS = 0.5

# The server is told the deadline of a waiting pull and answers "empty" before it: the emulator
# one second before, so without this second it would not wait at all.
ANSWER_SECONDS = 1.0


class PubSubBus:
    """The bus of the cloud, or of the emulator that PUBSUB_EMULATOR_HOST names."""

    def __init__(self, project: str, *, emulator_host: str | None = None) -> None:
        self._project = project
        self._emulator = emulator_host or os.environ.get("PUBSUB_EMULATOR_HOST", "")
        self._making = threading.Lock()
        self._clients: Clients | None = None
        self._closed = False

    def create(self, topics: Sequence[str], subscriptions: Sequence[Subscription]) -> None:
        """Create what is missing on the emulator; the cloud's topics are Terraform's."""
        if not self._emulator:
            raise BusError(
                f"project {self._project}: Terraform owns topics and subscriptions in the cloud; "
                "run terraform apply, or set PUBSUB_EMULATOR_HOST"
            )
        rules.check_topology(topics, subscriptions)
        for topic in topics:
            with named(f"topic {topic}"), existing_is_fine():
                self._connected().publisher.create_topic(
                    request=wire.Topic(name=self._topic(topic)),
                    **within(CALL_SECONDS),
                )
        for subscription in subscriptions:
            with named(f"subscription {subscription.name}"), existing_is_fine():
                self._connected().subscriber.create_subscription(
                    request=self._subscription_request(subscription),
                    **within(CALL_SECONDS),
                )

    def publish(
        self, topic: str, messages: Sequence[Message], *, timeout_seconds: float = 10.0
    ) -> list[str]:
        """Publish in as few requests as the limits allow and return the ids in order.

        If a later request fails, the messages of the earlier ones are published all the same.
        """
        rules.check_messages(topic, messages)
        deadline = time.monotonic() + timeout_seconds
        ids: list[str] = []
        with named(f"topic {topic}"):
            for piece in rules.publish_requests(messages):
                request = wire.PublishRequest(
                    topic=self._topic(topic),
                    messages=[
                        wire.PubsubMessage(data=message.data, attributes=dict(message.attributes))
                        for message in piece
                    ],
                )
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise BusUnavailableError(
                        f"topic {topic}: {len(ids)} of {len(messages)} messages were published "
                        f"in {timeout_seconds:g} s; try again, with more time"
                    )
                answer = self._connected().publisher.publish(request, **within(remaining))
                ids.extend(answer.message_ids)
        return ids

    def pull(
        self,
        subscription: str,
        *,
        max_messages: int = 100,
        max_bytes: int | None = None,
        wait_seconds: float = 0.0,
    ) -> list[Delivery]:
        """Lease what is there, or what comes within `wait_seconds`.

        In the cloud "nothing there" is not quite certain: with `wait_seconds` Pub/Sub looks again.
        """
        rules.check_limits(subscription, max_messages, max_bytes)
        with named(f"subscription {subscription}"):
            if max_bytes is not None:
                return self._pull_bytes(subscription, max_messages, max_bytes, wait_seconds)
            return self._pull_once(subscription, max_messages, wait_seconds)

    def ack(self, subscription: str, ack_ids: Sequence[str]) -> None:
        """Settle deliveries; ids Pub/Sub does not know are ignored."""
        rules.check_name("subscription", subscription)
        path = self._subscription(subscription)

        def send(ids: Sequence[str]) -> None:
            self._connected().subscriber.acknowledge(
                request=wire.AcknowledgeRequest(subscription=path, ack_ids=ids),
                **within(CALL_SECONDS),
            )

        _settle(subscription, ack_ids, send)

    def release(self, subscription: str, ack_ids: Sequence[str], *, delay_seconds: int = 0) -> None:
        """Give deliveries back; they return after `delay_seconds`."""
        rules.check_delay(subscription, delay_seconds)
        path = self._subscription(subscription)

        def send(ids: Sequence[str]) -> None:
            self._connected().subscriber.modify_ack_deadline(
                request=wire.ModifyAckDeadlineRequest(
                    subscription=path, ack_ids=ids, ack_deadline_seconds=delay_seconds
                ),
                **within(CALL_SECONDS),
            )

        _settle(subscription, ack_ids, send)

    def peek(self, subscription: str, *, max_messages: int = 100) -> list[Waiting]:
        """Pull and give back at the end: counts one attempt, and hides the messages meanwhile."""
        seen: dict[str, Waiting] = {}
        leases: list[str] = []
        try:
            # Nothing is given back before the end, so what was seen does not come again, and if
            # a lease runs out meanwhile, a pull without news ends it.
            while room := max_messages - len(seen):
                deliveries = self.pull(
                    subscription, max_messages=room, wait_seconds=PEEK_WAIT_SECONDS
                )
                leases += [delivery.ack_id for delivery in deliveries]
                news = {item.message_id: _waiting(item) for item in deliveries} | seen
                if len(news) == len(seen):
                    break
                seen = seen | news
        finally:
            self.release(subscription, leases)
        return list(seen.values())

    def close(self) -> None:
        """Close the connections. Safe to call twice; other calls raise afterwards."""
        with self._making:
            self._closed = True
            if self._clients is not None and self._clients.process == os.getpid():
                self._clients.close()
            self._clients = None

    def _pull_once(
        self, subscription: str, max_messages: int, wait_seconds: float
    ) -> list[Delivery]:
        # First what is there, with time enough to carry 10 MB; only then wait. A waiting pull has
        # a short deadline, and alone it would time out on a slow line for ever while messages wait.
        request = wire.PullRequest(
            subscription=self._subscription(subscription),
            max_messages=min(max_messages, PULL_MESSAGES),
            return_immediately=True,
        )
        deliveries = self._request_pull(request, CALL_SECONDS)
        if deliveries or wait_seconds <= 0:
            return deliveries
        request.return_immediately = False
        try:
            return self._request_pull(request, wait_seconds + ANSWER_SECONDS)
        except exceptions.DeadlineExceeded:
            return []

    def _pull_bytes(
        self, subscription: str, max_messages: int, max_bytes: int, wait_seconds: float
    ) -> list[Delivery]:
        # Pub/Sub has no limit by bytes. One message tells the size of the next ones; what is too
        # much all the same goes back, which counts an attempt and therefore must stay rare.
        taken = self._pull_once(subscription, 1, wait_seconds)
        while taken and (count := _fitting(taken, max_messages, max_bytes)):
            more = self._pull_once(subscription, count, 0.0)
            kept = _kept(taken, more, max_bytes)
            taken = taken + more[:kept]
            if kept < len(more):
                self.release(subscription, [delivery.ack_id for delivery in more[kept:]])
                break
            if not more:
                break
        return taken

    def _request_pull(self, request: wire.PullRequest, timeout_seconds: float) -> list[Delivery]:
        # No retry: a consumer's loop is one, and must be free to end.
        answer = self._connected().pull(
            request,
            retry=None,
            timeout=timeout_seconds,
            metadata=[("x-goog-request-params", f"subscription={quote(request.subscription)}")],
        )
        return [_delivery(received) for received in answer.received_messages]

    def _subscription_request(self, subscription: Subscription) -> wire.Subscription:
        request = wire.Subscription(
            name=self._subscription(subscription.name),
            topic=self._topic(subscription.topic),
            ack_deadline_seconds=subscription.ack_deadline_seconds,
        )
        if subscription.dead_letter is not None:
            request.dead_letter_policy = wire.DeadLetterPolicy(
                dead_letter_topic=self._topic(subscription.dead_letter.topic),
                max_delivery_attempts=subscription.dead_letter.max_attempts,
            )
        return request

    def _topic(self, name: str) -> str:
        return f"projects/{self._project}/topics/{name}"

    def _subscription(self, name: str) -> str:
        return f"projects/{self._project}/subscriptions/{name}"

    def _connected(self) -> Clients:
        # Made on first use: gunicorn imports a function in its master and forks, and a channel
        # made before the fork hangs after it.
        with self._making:
            if self._closed:
                raise BusError(f"project {self._project}: this bus is closed; open a new one")
            if self._clients is None:
                self._clients = make_clients(self._emulator)
            elif self._clients.process != os.getpid():
                raise BusError(
                    f"project {self._project}: used before a fork; open the bus in the child"
                )
            return self._clients


def _settle(
    subscription: str, ack_ids: Sequence[str], send: Callable[[Sequence[str]], None]
) -> None:
    with named(f"subscription {subscription}"):
        for start in range(0, len(ack_ids), ACK_IDS):
            _settle_known(ack_ids[start : start + ACK_IDS], send)


def _settle_known(ack_ids: Sequence[str], send: Callable[[Sequence[str]], None]) -> None:
    """Send; if Pub/Sub refuses an id (and with it the whole request), halve until it is alone."""
    try:
        send(ack_ids)
    except exceptions.InvalidArgument:
        if len(ack_ids) > 1:
            middle = len(ack_ids) // 2
            _settle_known(ack_ids[:middle], send)
            _settle_known(ack_ids[middle:], send)


def _fitting(taken: Sequence[Delivery], max_messages: int, max_bytes: int) -> int:
    """Say how many more messages of the mean size seen so far there is room for."""
    used = sum(len(delivery.message.data) for delivery in taken)
    mean = max(1, used // len(taken))
    return max(0, min(max_messages - len(taken), (max_bytes - used) // mean))


def _kept(taken: Sequence[Delivery], more: Sequence[Delivery], max_bytes: int) -> int:
    """Count how many of `more` fit."""
    used = sum(len(delivery.message.data) for delivery in taken)
    for number, delivery in enumerate(more):
        used += len(delivery.message.data)
        if used > max_bytes:
            return number
    return len(more)


def _delivery(received: wire.ReceivedMessage) -> Delivery:
    message = received.message
    published = message.publish_time.timestamp_pb()
    return Delivery(
        message=Message(message.data, dict(message.attributes)),
        ack_id=received.ack_id,
        message_id=message.message_id,
        published_ns=published.seconds * NS_PER_SECOND + published.nanos,
        attempt=received.delivery_attempt,
    )


def _waiting(delivery: Delivery) -> Waiting:
    return Waiting(delivery.message, delivery.message_id, delivery.published_ns)
