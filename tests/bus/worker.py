"""A process that publishes or consumes until it is told to end, or killed.

python -m tests.bus.worker publish|consume|hold KIND WHERE DETAIL

It prints one number a line. publish: after the bus has taken it. consume, hold: before the ack.
"""

import sys
import threading
from collections.abc import Iterable
from contextlib import closing
from itertools import count

from quotewatch.bus.port import Bus, Delivery, Message
from tests.bus.places import READER, TOPIC, open_worker_bus

BATCH = 5
HELD_AFTER = 4


def main(role: str, place: list[str]) -> None:
    ended = threading.Event()
    threading.Thread(target=_wait_for_end, args=(ended,), daemon=True).start()
    with closing(open_worker_bus(place)) as bus:
        if role == "publish":
            publish(bus, ended)
        else:
            consume(bus, ended, holds=role == "hold")


def publish(bus: Bus, ended: threading.Event) -> None:
    """Publish 0, 1, 2 … in batches."""
    for start in count(0, BATCH):
        if ended.is_set():
            return
        numbers = range(start, start + BATCH)
        bus.publish(TOPIC, [Message(str(number).encode()) for number in numbers])
        report(str(number) for number in numbers)


def consume(bus: Bus, ended: threading.Event, *, holds: bool) -> None:
    """Report and ack batches; one that holds does so a few times, then keeps its leases."""
    for batch in count():
        deliveries: list[Delivery] = []
        while not deliveries:
            if ended.is_set():
                return
            deliveries = bus.pull(READER, max_messages=BATCH, wait_seconds=0.2)
        if holds and batch == HELD_AFTER:
            report(["holding"])
            ended.wait()
            return
        report(delivery.message.data.decode() for delivery in deliveries)
        bus.ack(READER, [delivery.ack_id for delivery in deliveries])


def report(lines: Iterable[str]) -> None:
    """Print at once: what is in the pipe outlives a kill."""
    for line in lines:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def _wait_for_end(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
