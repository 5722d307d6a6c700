"""What the simulated exchange knows of a connection: subscriptions, numbers, what is to be sent.

Pure: parcels in, shipments out, in the order in which they are sent.
"""

from collections import deque
from collections.abc import Iterable

import msgspec

from quotewatch.local.exchange.market_events import BookChange, Trade

MAX_WAITING_BYTES = 16_000_000  # three of the largest snapshots; who reads slower is disconnected


class Parcel(msgspec.Struct, frozen=True, gc=False):
    """One message, encoded once for all connections.

    With a tail, the connection's sequence number goes between head and tail. What answers a
    request is no update: faults leave it alone.
    """

    kind: str
    product: str
    head: bytes
    tail: bytes | None = None
    trades: tuple[Trade, ...] = ()
    change: BookChange | None = None
    update: bool = True
    time_us: int = 0

    def text(self, number: int) -> bytes:
        """Return what goes over the wire."""
        return self.head if self.tail is None else b"%b%d%b" % (self.head, number, self.tail)


class Shipment(msgspec.Struct, frozen=True, gc=False):
    """One line of the truth: a message that is to be sent, or that a fault withholds."""

    text: bytes
    kind: str
    sent: bool = True
    fault: str | None = None


class Session:
    """One connection. `subscribed` has the products by channel, in the order of asking."""

    def __init__(self, conn: int, opened_us: int) -> None:
        self.conn = conn
        self.opened_us = opened_us
        self.subscribed: dict[str, dict[str, None]] = {}
        self.number = 0
        self.outbox: deque[Shipment] = deque()
        self.waiting_bytes = 0
        self.asked = False  # a subscribe came; without one the exchange hangs up
        self.requests = 0

    def next_number(self) -> int:
        """Use up a sequence number."""
        number = self.number
        self.number += 1
        return number

    def write(self, parcel: Parcel) -> bytes:
        """Return a parcel's text, numbered if its dialect numbers."""
        return parcel.text(self.next_number() if parcel.tail is not None else 0)

    def ship(self, parcel: Parcel) -> None:
        """Queue a message as it is. Every message comes this way, so nothing is called here."""
        text, tail = parcel.head, parcel.tail
        if tail is not None:
            text = b"%b%d%b" % (text, self.number, tail)
            self.number += 1
        self.outbox.append(Shipment(text, parcel.kind))
        self.waiting_bytes += len(text)

    def put(self, shipment: Shipment) -> None:
        """Queue a line."""
        self.outbox.append(shipment)
        if shipment.sent:
            self.waiting_bytes += len(shipment.text)

    def take(self) -> list[Shipment]:
        """Return everything that waits, for sending."""
        taken = list(self.outbox)
        self.outbox.clear()
        self.waiting_bytes = 0
        return taken

    @property
    def too_slow(self) -> bool:
        """Say whether the reader fell so far behind that the exchange hangs up."""
        return self.waiting_bytes > MAX_WAITING_BYTES

    def add(self, channel: str, products: Iterable[str]) -> list[str]:
        """Subscribe, and return the products that were not subscribed before."""
        there = self.subscribed.setdefault(channel, {})
        new = [product for product in products if product not in there]
        there.update(dict.fromkeys(new))
        return new

    def remove(self, channel: str, products: Iterable[str]) -> None:
        """Unsubscribe; no products means all of them."""
        there = self.subscribed.get(channel, {})
        for product in list(products) or list(there):
            there.pop(product, None)
        if not there:
            self.subscribed.pop(channel, None)
