"""Which topics and subscriptions there are. Pure: Terraform says the same for the cloud."""

from dataclasses import dataclass

from quotewatch.bus.port import DeadLetter, Subscription

STREAMS = ("raw_orderbook", "raw_trades", "features", "events", "predictions")

COMMITTED = "committed"  # says which table has new rows; whoever misses it looks by itself
PREDICT = "features.predict"
LABEL = "committed.label"

# High, because a table that cannot be committed for an hour fails every frame it is given:
# few attempts would divert good data during an outage of the catalog.
WRITE_ATTEMPTS = 100
# An answer that is late is worth little: the hole it leaves in `predictions` says it was lost.
PREDICT_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Topology:
    """What `Bus.create` is given."""

    topics: tuple[str, ...]
    subscriptions: tuple[Subscription, ...]


def dead_letter_topic(stream: str) -> str:
    """Name the topic where the frames of a stream end that nobody could take."""
    return f"{stream}-dead"


def write_subscription(stream: str) -> str:
    """Name the subscription the `write` function drains."""
    return f"{stream}.write"


def dead_subscription(stream: str) -> str:
    """Name the subscription that keeps dead letters until `redrive` takes them."""
    return f"{dead_letter_topic(stream)}.redrive"


def topology(ack_deadline_seconds: int = 60) -> Topology:
    """List every topic and subscription that the functions of today need."""
    streams = [name for stream in STREAMS for name in (stream, dead_letter_topic(stream))]
    topics = [*streams, COMMITTED]
    writes = [_write(stream, ack_deadline_seconds) for stream in STREAMS]
    # A topic without a subscription keeps nothing: these make a dead letter more than a loss.
    kept = [
        Subscription(dead_subscription(stream), dead_letter_topic(stream), ack_deadline_seconds)
        for stream in STREAMS
    ]
    predict = Subscription(
        PREDICT,
        "features",
        ack_deadline_seconds,
        DeadLetter(dead_letter_topic("features"), PREDICT_ATTEMPTS),
    )
    label = Subscription(LABEL, COMMITTED, ack_deadline_seconds)
    return Topology(tuple(topics), (*writes, *kept, predict, label))


def _write(stream: str, ack_deadline_seconds: int) -> Subscription:
    return Subscription(
        name=write_subscription(stream),
        topic=stream,
        ack_deadline_seconds=ack_deadline_seconds,
        dead_letter=DeadLetter(dead_letter_topic(stream), WRITE_ATTEMPTS),
    )
