"""Topics and subscriptions as Terraform makes them, on the emulator, before any function starts.

Two are pushed to functions; what cannot be delivered ends in a dead letter that somebody keeps.
"""

from collections.abc import Mapping
from contextlib import closing

from google.pubsub_v1 import types as wire

from quotewatch.bus.port import Subscription
from quotewatch.bus.pubsub import PubSubBus
from quotewatch.bus.pubsub_calls import make_clients
from quotewatch.bus.topology import STREAMS, dead_subscription, topology
from tests.cloudlike.cloud import PROJECT
from tests.cloudlike.plan import ACK_SECONDS, PUSHED

# For what is pushed the ack deadline is how long a call may take.
PUSH_SECONDS = 60
_MOST_LETTERS = 1_000


def create(bus: str, urls: Mapping[str, str]) -> None:
    """Make everything; `urls` says where each function is pushed to."""
    wanted = topology(ACK_SECONDS)
    with closing(PubSubBus(PROJECT, emulator_host=bus)) as made:
        made.create(wanted.topics, [each for each in wanted.subscriptions if _is_pulled(each)])
    clients = make_clients(bus)
    try:
        for each in wanted.subscriptions:
            if not _is_pulled(each):
                clients.subscriber.create_subscription(_pushed(each, urls[PUSHED[each.name]]))
    finally:
        clients.close()


def dead_letters(bus: str) -> dict[str, int]:
    """Count the dead letters of each stream, up to a thousand; asking takes them."""
    with closing(PubSubBus(PROJECT, emulator_host=bus)) as asked:
        return {
            stream: len(asked.peek(dead_subscription(stream), max_messages=_MOST_LETTERS))
            for stream in STREAMS
        }


def _is_pulled(subscription: Subscription) -> bool:
    return subscription.name not in PUSHED


def _pushed(subscription: Subscription, url: str) -> wire.Subscription:
    # Without the retry policy that the cloud's have: with one, the emulator (0.8.20) never pushes
    # again what has failed twice, 42 messages of 262 where the endpoint was away for up to 5 s.
    # By itself it tries again each second.
    request = wire.Subscription(
        name=f"projects/{PROJECT}/subscriptions/{subscription.name}",
        topic=f"projects/{PROJECT}/topics/{subscription.topic}",
        push_config=wire.PushConfig(push_endpoint=url),
        ack_deadline_seconds=PUSH_SECONDS,
    )
    if subscription.dead_letter is not None:
        request.dead_letter_policy = wire.DeadLetterPolicy(
            dead_letter_topic=f"projects/{PROJECT}/topics/{subscription.dead_letter.topic}",
            max_delivery_attempts=subscription.dead_letter.max_attempts,
        )
    return request
