"""What to ask the exchange for, and when to ask again. Pure: answers in, requests out.

One bad product voids a whole subscribe on the Exchange feed and is left out of the answer on
Advanced Trade: either way it is named in `events` and the others go on.
"""

import re
from collections.abc import Mapping, Sequence

from ingest_gateway.backoff import Backoff
from ingest_gateway.dialect import Dialect
from ingest_gateway.journal import Journal
from ingest_gateway.lane import Lane
from ingest_gateway.reader import Reader
from quotewatch.clock import US_PER_SECOND

ANSWER_SECONDS = 10.0  # an acknowledgement or a snapshot that takes longer is not coming
_PAUSE_SECONDS = 0.5  # between rounds: Advanced Trade takes 8 requests a second and address
_PRODUCT = re.compile(r"[A-Z0-9]+-[A-Z0-9]+")
# After these, more than the book may be lost: every channel of the product is asked again.
_LOST_MORE = frozenset({"sequence_num", "silence"})


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
        self._bad: set[str] = set()
        self._alone: list[str] = []  # to be asked one by one: a refusal named none of them
        self._probed: str | None = None
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
        if not requests:
            requests = self._probe(now)
        self._drop_unanswered(now, now_us)
        self._watch_products(now, now_us)
        if now >= self._next_round:
            requests += self._resync(now)
        return requests

    @property
    def answered(self) -> bool:
        """Whether the exchange has acknowledged anything."""
        return bool(self._acked)

    # Acknowledgements and refusals

    def _ask(self, products: Sequence[str], now: float) -> list[bytes]:
        for product in products:
            self._asked[product] = now
        return self._dialect.subscribe(products, self._dialect.channels)

    def _take_acks(self, now_us: int) -> None:
        acked = self._reader.acked
        listed = [acked.get(channel, set()) for channel in self._dialect.product_channels]
        for product in (set.intersection(*listed) & self._lanes.keys()) - self._acked - self._bad:
            self._acked.add(product)
            self._lanes[product].heard_us = now_us
        if self._probed in self._acked:
            self._probed = None

    def _take_refusals(self, now: float, now_us: int) -> list[bytes]:
        requests: list[bytes] = []
        refusals, self._reader.refusals = self._reader.refusals, []
        for text in refusals:
            named = (set(_PRODUCT.findall(text)) & self._lanes.keys()) - self._bad
            if not named and self._probed is not None:
                named = {self._probed}
            self._probed = None
            for product in sorted(named):
                self._refuse(product, now_us, text)
            if not named:
                self._journal.note(
                    "reject", now_us, self._reader.conn, reason="refused", count=1, error=text
                )
            requests += self._ask_the_others(now, one_by_one=not named)
        return requests

    def _ask_the_others(self, now: float, *, one_by_one: bool) -> list[bytes]:
        """Ask again for what the refusal voided beside the bad product."""
        for product in self._acked:
            if self._lanes[product].book is None:
                self._reader.wanted.setdefault(product, "refused")
        waiting = self._open()
        if not waiting or self._alone:
            return []
        if not one_by_one:
            return self._ask(waiting, now)
        self._alone = waiting
        return []

    def _open(self) -> list[str]:
        """Return the products that were asked for and neither acknowledged nor refused."""
        return [name for name in self._lanes if name not in self._acked | self._bad]

    def _probe(self, now: float) -> list[bytes]:
        """Ask for the next product alone, once the one before it is answered."""
        if self._probed is not None and now - self._asked[self._probed] < 1.0:
            return []
        while self._alone:
            product = self._alone.pop(0)
            if product in self._open():
                self._probed = product
                return self._ask([product], now)
        return []

    def _drop_unanswered(self, now: float, now_us: int) -> None:
        """Name the products that the exchange left out of its answer."""
        if not self._acked or self._alone:
            return
        for product in self._open():
            if now - self._asked.get(product, now) > ANSWER_SECONDS:
                self._refuse(product, now_us, "not acknowledged")

    def _refuse(self, product: str, now_us: int, text: str) -> None:
        self._bad.add(product)
        self._acked.discard(product)
        self._journal.note(
            "reject", now_us, self._reader.conn, symbol=product, reason="bad_product", count=1,
            error=text,
        )  # fmt: skip
        self._reader.lose(self._lanes[product], "bad_product", now_us)
        del self._reader.wanted[product]

    # Fresh snapshots

    def _watch_products(self, now: float, now_us: int) -> None:
        """Ask again for books that did not come and for products that fell silent."""
        for product in self._acked:
            lane = self._lanes[product]
            late = now - self._asked[product] > ANSWER_SECONDS
            if lane.book is None and late and product not in self._reader.wanted:
                self._reader.wanted[product] = "no_snapshot"
            silent = now_us - lane.heard_us > self._silence_us
            if self._dialect.heartbeats_by_product and silent:
                lane.heard_us = now_us
                self._reader.lose(lane, "silence", now_us)
                self._reader.wanted[product] = "silence"

    def _resync(self, now: float) -> list[bytes]:
        due = [
            product
            for product in self._reader.wanted
            if product in self._acked and now >= self._next_ask.get(product, 0.0)
        ]
        if not due:
            return []
        self._next_round = now + _PAUSE_SECONDS
        more = [name for name in due if self._reader.wanted[name] in _LOST_MORE]
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
