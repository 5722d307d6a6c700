"""What to ask the exchange for, and when to ask again. Pure: answers in, requests out.

One bad product voids a whole subscribe on the Exchange feed and is left out of the answer on
Advanced Trade: either way it is named in `events` and the others go on. A refusal may have a reason
that passes, so a bad product is asked for again now and then, alone.
"""

import re
from collections.abc import Mapping, Sequence

from ingest_gateway.backoff import Backoff
from ingest_gateway.dialect import Dialect
from ingest_gateway.journal import Journal
from ingest_gateway.lane import Lane
from ingest_gateway.reader import LOST_MORE, Reader
from quotewatch.clock import US_PER_SECOND

ANSWER_SECONDS = 10.0  # an acknowledgement or a snapshot that takes longer is not coming
RETRY_BAD_SECONDS = 300.0
_PAUSE_SECONDS = 0.5  # between rounds of fresh snapshots
# A refusal that names nobody is about the product asked alone before it, if it comes in this time.
_PROBE_SECONDS = 3.0
_ECHO_SECONDS = 1.0  # Advanced Trade refuses the request of each channel
_PRODUCT = re.compile(r"[A-Z0-9]+-[A-Z0-9]+")


class Subscriber:
    """Keeps the products of one connection subscribed."""

    def __init__(
        self,
        dialect: Dialect,
        lanes: Mapping[str, Lane],
        reader: Reader,
        journal: Journal,
        silence_seconds: float,
    ) -> None:
        self._dialect = dialect
        self._silence_us = round(silence_seconds * US_PER_SECOND)
        self._lanes = lanes
        self._reader = reader
        self._journal = journal
        self._asked: dict[str, float] = {}  # product -> when its answer was first waited for
        self._acked: set[str] = set()
        self._newest_ack: Mapping[str, set[str]] = {}
        self._whole: set[str] = set()  # in every channel of the newest acknowledgement
        self._bad: dict[str, float] = {}  # product -> when it was refused
        self._alone: list[str] = []  # to be asked one by one: a refusal named none of them
        self._probed: str | None = None
        self._quiet_until = 0.0  # so long an anonymous refusal is an echo of the one before
        self._backoffs: dict[str, Backoff] = {}
        self._next_ask: dict[str, float] = {}
        self._next_round = 0.0

    def start(self, now: float) -> list[bytes]:
        """Return the requests that open the connection's subscriptions."""
        return self._ask(list(self._lanes), now)

    def next_requests(self, now: float, now_us: int) -> list[bytes]:
        """Look at what was answered since; return what to ask now."""
        requests = self._take_refusals(now, now_us)
        self._take_acks(now_us)
        self._retry_bad(now)
        if not requests:
            requests = self._probe(now)
        self._drop_unanswered(now, now_us)
        self._watch_products(now, now_us)
        if now >= self._next_round:
            requests += self._resync(now)
        return requests

    # Acknowledgements and refusals

    def _ask(self, products: Sequence[str], now: float) -> list[bytes]:
        for product in products:
            self._asked[product] = now
        return self._dialect.subscribe(products, self._dialect.channels)

    def _take_acks(self, now_us: int) -> None:
        newest = self._reader.acked
        if newest is self._newest_ack:
            return
        self._newest_ack = newest
        listed = [newest.get(channel, set()) for channel in self._dialect.product_channels]
        self._whole = set.intersection(*listed) & self._lanes.keys()
        for product in (set.union(*listed) & self._lanes.keys()) - self._acked:
            self._acked.add(product)
            self._bad.pop(product, None)  # late, but there
            self._lanes[product].heard_us = now_us
        if self._probed in self._acked:
            self._probed = None

    def _take_refusals(self, now: float, now_us: int) -> list[bytes]:
        requests: list[bytes] = []
        refusals, self._reader.refusals = self._reader.refusals, []
        for text in refusals:
            named = set(_PRODUCT.findall(text)) & self._lanes.keys()
            echo = named <= self._bad.keys() if named else now < self._quiet_until
            if not echo:
                requests += self._take_refusal(text, named - self._bad.keys(), now, now_us)
        return requests

    def _take_refusal(self, text: str, named: set[str], now: float, now_us: int) -> list[bytes]:
        """Write down who is refused; return how the others are asked for."""
        if not named:
            self._quiet_until = now + _ECHO_SECONDS
            named = set() if self._probed is None else {self._probed}
        self._probed = None
        for product in sorted(named):
            self._refuse(product, now, now_us, text)
        if not named:
            self._journal.note(
                "reject", now_us, self._reader.conn, reason="refused", count=1, error=text
            )
        return self._ask_the_others(now, one_by_one=not named)

    def _ask_the_others(self, now: float, *, one_by_one: bool) -> list[bytes]:
        """Ask again for what the refusal voided beside the bad product."""
        for product in self._acked:
            if self._lanes[product].book is None:
                self._reader.want(product, "refused")
        waiting = self._open()
        if not waiting or self._alone:
            return []
        if not one_by_one:
            return self._ask(waiting, now)
        self._alone = waiting
        return []

    def _open(self) -> list[str]:
        """Return the products that were asked for and neither acknowledged nor refused."""
        return [name for name in self._lanes if name not in self._acked | self._bad.keys()]

    def _probe(self, now: float) -> list[bytes]:
        """Ask for the next product alone, once the one before it is answered."""
        if now < self._quiet_until:
            return []
        if self._probed is not None and now - self._asked[self._probed] < _PROBE_SECONDS:
            return []
        while self._alone:
            product = self._alone.pop(0)
            if product in self._open():
                self._probed = product
                return self._ask([product], now)
        return []

    def _drop_unanswered(self, now: float, now_us: int) -> None:
        """Name the products that the exchange left out of its answer."""
        if not self._newest_ack or self._alone:
            return
        for product in self._open():
            # A book that lives says more than an answer that does not come.
            late = now - self._asked[product] > ANSWER_SECONDS
            if late and self._lanes[product].book is None:
                self._refuse(product, now, now_us, "not acknowledged")

    def _refuse(self, product: str, now: float, now_us: int, text: str) -> None:
        self._bad[product] = now
        self._acked.discard(product)
        self._journal.note(
            "reject", now_us, self._reader.conn, symbol=product, reason="bad_product", count=1,
            error=text,
        )  # fmt: skip
        self._reader.lose(self._lanes[product], "bad_product", now_us)
        del self._reader.wanted[product]

    def _retry_bad(self, now: float) -> None:
        """Let products that were refused long ago be asked for again."""
        for product in [one for one, at in self._bad.items() if now - at > RETRY_BAD_SECONDS]:
            del self._bad[product]
            self._asked[product] = now
            self._alone.append(product)

    # Fresh snapshots

    def _watch_products(self, now: float, now_us: int) -> None:
        """Ask again for what did not come: books, subscriptions, any sign of life."""
        for product in self._acked:
            lane = self._lanes[product]
            if now - self._asked[product] > ANSWER_SECONDS:
                self._watch_answer(lane, now_us)
            silent = now_us - lane.heard_us > self._silence_us
            if self._dialect.heartbeats_by_product and silent:
                lane.heard_us = now_us
                self._reader.lose(lane, "silence", now_us)

    def _watch_answer(self, lane: Lane, now_us: int) -> None:
        """Look whether what was asked is there by now: the newest acknowledgement lists it all."""
        product, listed = lane.symbol, self._newest_ack
        if not all(product in listed.get(name, ()) for name in self._dialect.book_channels):
            self._reader.lose(lane, "unsubscribed", now_us)
        elif product not in self._whole:
            self._reader.want(product, "unsubscribed")
        elif lane.book is None and product not in self._reader.wanted:
            self._reader.want(product, "no_snapshot")

    def _resync(self, now: float) -> list[bytes]:
        due = [
            product
            for product in self._reader.wanted
            if product in self._acked and now >= self._next_ask.get(product, 0.0)
        ]
        if not due:
            return []
        self._next_round = now + _PAUSE_SECONDS
        more = [name for name in due if self._reader.wanted[name] in LOST_MORE]
        book = [name for name in due if name not in more]
        for product in due:
            backoff = self._backoffs.setdefault(product, Backoff())
            since = now - self._next_ask.get(product, now)
            self._next_ask[product] = now + backoff.next_delay(since)
            self._asked[product] = now
            # The request stands for every reason so far; a new loss is a new reason.
            del self._reader.wanted[product]
        return self._again(more, self._dialect.channels) + self._again(
            book, self._dialect.book_channels
        )

    def _again(self, products: Sequence[str], channels: Sequence[str]) -> list[bytes]:
        if not products:
            return []
        return self._dialect.unsubscribe(products, channels) + self._dialect.subscribe(
            products, channels
        )
