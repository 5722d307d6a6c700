"""Messages of one connection in, rows on the tape out: what both dialects have in common. Pure.

Nothing is applied half: a message that cannot be taken as it is leaves a `reject` behind, and if
it may have been about a book, that book is lost until a fresh snapshot. Every level-2 message that
can be read is kept, also while its book is lost: a reader of the rows sees what we saw.
"""

import re
from collections.abc import Iterable, Mapping
from itertools import chain

from ingest_gateway.journal import Journal
from ingest_gateway.lane import Lane
from ingest_gateway.pages import Column
from ingest_gateway.refusals import check_time, reason_of
from ingest_gateway.tape import Tape
from quotewatch.coinbase.values import Number
from quotewatch.errors import WireError
from quotewatch.market.book import Book
from quotewatch.market.continuity import Arrival, Gap
from quotewatch.market.features import depth_of, same_best, top_of

_PRODUCT = re.compile(rb'"product_id"\s*:\s*"([^"]{1,40})"')
_SAMPLE = 300  # bytes of a rejected message that its log line shows
# After these, more than the book may be lost: a snapshot of the book alone does not answer them.
LOST_MORE = frozenset({"sequence_num", "silence", "refused", "unsubscribed"})

Levels = list[tuple[str, str]]

_STRANGERS = 1_000  # unknown names of a connection that get an event of their own
# Trades no product does in a month: an id so far ahead is a mistake, and would hide later gaps.
_LONGEST_GAP = 100_000_000


class Reader:
    """Reads one connection. `wanted` collects the products that need a fresh snapshot."""

    def __init__(self, conn: int, tape: Tape, lanes: Mapping[str, Lane], journal: Journal) -> None:
        self.conn = conn
        self.counts = tape.counts  # messages by type, of the whole epoch
        self.wanted: dict[str, str] = {}  # symbol -> why
        self.acked: dict[str, set[str]] = {}  # channel -> products, once acknowledged
        self.refusals: list[str] = []  # errors the exchange answered
        self._tape = tape
        self._lanes = lanes
        self._journal = journal
        self._keys = tape.keys
        self._sizes = tape.sizes
        self._strangers: set[str] = set()

    def read(self, raw: bytes, received_us: int) -> None:
        """Take one message as it came from the socket."""
        raise NotImplementedError

    def want(self, symbol: str, reason: str) -> None:
        """Ask for a fresh snapshot; that more than the book is lost is not forgotten over it."""
        if self.wanted.get(symbol) not in LOST_MORE:
            self.wanted[symbol] = reason

    def lose_all(self, reason: str, received_us: int) -> None:
        """Give up every book of this connection: something was lost and it may have been theirs."""
        for lane in self._lanes.values():
            self.lose(lane, reason, received_us)

    def lose(self, lane: Lane, reason: str, received_us: int) -> None:
        """Give up one book and ask for a fresh snapshot."""
        self.want(lane.symbol, reason)
        if lane.book is None:
            return
        self._journal.note(
            "invalid", received_us, self.conn, symbol=lane.symbol, book=lane.number, reason=reason,
            stream="raw_orderbook",
        )  # fmt: skip
        lane.end()

    # Books

    def _snapshot(
        self, lane: Lane, bids: Levels, asks: Levels, us: int | None, received_us: int
    ) -> None:
        """Keep a snapshot and begin the next life of the book with it."""
        near, far = self._levels(bids), self._levels(asks)
        book = Book(near, far)
        if lane.book is not None:
            lane.end()
        lane.number += 1
        changes = self._tape.changes
        changes.extend(chain.from_iterable(near))
        for price, size in far:
            changes += (-price, size)
        self._keep_book_row(lane, 1, us, received_us)
        if us is not None:
            self._note_time(lane, us)
        self._journal.note(
            "snapshot", received_us, self.conn, at_us=us, symbol=lane.symbol, book=lane.number,
            stream="raw_orderbook", count=len(bids) + len(asks), skipped=lane.waiting or None,
        )  # fmt: skip
        if book.one_sided or book.crossed:
            self._spoilt(lane, "one_sided" if book.one_sided else "crossed", received_us)
            return
        lane.begin(book)
        if self.wanted.get(lane.symbol) not in LOST_MORE:
            self.wanted.pop(lane.symbol, None)

    def _spoilt(self, lane: Lane, reason: str, received_us: int) -> None:
        """Give up a book that its own snapshot began spoilt."""
        self._journal.note(
            "invalid", received_us, self.conn, symbol=lane.symbol, book=lane.number, reason=reason,
            stream="raw_orderbook",
        )  # fmt: skip
        lane.end()
        self.want(lane.symbol, reason)

    def _levels(self, levels: Levels) -> list[tuple[Number, float]]:
        keys, sizes = self._keys, self._sizes
        return [(keys[price], sizes[size]) for price, size in levels]

    def _keep_book_row(self, lane: Lane, kind: int, us: int | None, received_us: int) -> None:
        tape = self._tape
        tape.orderbook.extend(
            (
                lane.code,
                lane.number,
                kind,
                len(tape.changes),
                us,
                received_us,
                self.conn,
                self._sequence(),
                tape.arrival,
            )
        )

    def _sequence(self) -> int | None:
        return None

    def _keep_update(
        self, lane: Lane, changes: Column, us: int, received_us: int, sequence: int | None,
        *, moved: bool,
    ) -> None:  # fmt: skip
        """Write the row of an update, and its features row while the book is valid."""
        tape = self._tape
        arrival, conn, code, number = tape.arrival, self.conn, lane.code, lane.number
        kept = tape.changes
        kept += changes
        tape.orderbook += (
            code, number, 0, len(kept), us, received_us, conn, sequence, arrival,
        )  # fmt: skip
        if lane.newest_us is None or us > lane.newest_us:
            lane.newest_us = us
        book = lane.book
        if book is None:
            lane.waiting += 1
            return
        if moved and not self._look(lane, book, received_us):
            return
        top = lane.top
        # The top and what the windows say go in whole: most rows share them with the row before.
        tape.features += (
            code, number, us, received_us, conn, arrival, lane.depth, top,
            lane.windows.update(us, top),
        )  # fmt: skip

    def _look(self, lane: Lane, book: Book, received_us: int) -> bool:
        """Read the top of a book that moved; a crossed or one-sided book ends here."""
        bids, asks = book.bids.keys, book.asks.keys
        if not bids or not asks:
            self.lose(lane, "one_sided", received_us)
            return False
        if bids[-1] >= -asks[-1]:
            self.lose(lane, "crossed", received_us)
            return False
        if same_best(book, lane.top):
            lane.depth = depth_of(book)
        else:
            lane.top = top_of(book)
            lane.depth = lane.top.depth
        return True

    def _note_time(self, lane: Lane, us: int) -> None:
        if lane.newest_us is None or us > lane.newest_us:
            lane.newest_us = us

    # Trades

    def _trade(
        self, lane: Lane, trade_id: int, price: str, size: str, us: int, received_us: int,
        *, taker_buys: bool, live: bool, sequence: int | None,
    ) -> bool:  # fmt: skip
        """Keep a trade unless it was seen in this epoch; return whether it was new."""
        check_time(us, received_us)
        amount = self._check_trade(price, size)
        last = lane.ids.last
        if last is not None and trade_id - last > _LONGEST_GAP:
            raise WireError("bad_trade_id", f"{trade_id} after {last}")
        arrival, gap = lane.ids.see(trade_id)
        if arrival is Arrival.SEEN:
            return False
        if gap is not None:
            self._gap(lane, gap, us, received_us, "trade_id")
        self._note_time(lane, us)
        if live and lane.book is not None:
            lane.windows.trade(us, taker_buys=taker_buys, size=amount)
        self._tape.trades.extend(
            (
                lane.code,
                trade_id,
                price,
                size,
                0 if taker_buys else 1,
                sequence,
                us,
                received_us,
                live,
                self.conn,
                self._tape.arrival,
            )
        )
        return True

    def _check_trade(self, price: str, size: str) -> float:
        self._keys[price]
        amount = self._sizes[size]
        if not amount:
            raise WireError("bad_size", f"a trade of {size!r}")
        return amount

    def _drop_seen(self, lane: Lane, ids: Iterable[int], received_us: int) -> None:
        """Say which trades were dropped because this epoch has them already."""
        seen = sorted(ids)
        if seen:
            self._journal.note(
                "drop",
                received_us,
                self.conn,
                symbol=lane.symbol,
                stream="raw_trades",
                from_id=seen[0],
                to_id=seen[-1],
                count=len(seen),
                reason="duplicate",
            )

    def _gap(self, lane: Lane, gap: Gap, us: int | None, received_us: int, reason: str) -> None:
        self._journal.note(
            "gap", received_us, self.conn, at_us=us, symbol=lane.symbol, stream="raw_trades",
            from_id=gap.first, to_id=gap.last, count=gap.missing, reason=reason,
        )  # fmt: skip

    # What cannot be taken

    def _lane(self, product: str, received_us: int) -> Lane | None:
        lane = self._lanes.get(product)
        if lane is None and self._is_new(product):
            self._journal.note(
                "reject", received_us, self.conn, reason="unknown_product", product=product
            )
        return lane

    def _is_new(self, name: str) -> bool:
        """Say whether an unknown name is met for the first time, as far as we care to remember."""
        if name in self._strangers or len(self._strangers) >= _STRANGERS:
            return False
        self._strangers.add(name)
        return True

    def _stranger(self, kind: str, raw: bytes, received_us: int) -> None:
        """Count a message of a type nobody knows; the first of each connection is an event."""
        self.counts["unknown_type"] += 1
        if self._is_new(kind):
            self._journal.note(
                "reject",
                received_us,
                self.conn,
                reason="unknown_type",
                sample=raw[:_SAMPLE].decode(errors="replace"),
            )

    def _reject(
        self, raw: bytes, received_us: int, error: Exception, *, about_book: bool, about_trade: bool
    ) -> None:
        """Refuse a message; a book it may have been about is lost until a fresh snapshot."""
        if not isinstance(error, WireError):
            self.counts["unreadable"] += 1  # what could be decoded is counted under its own type
        products = {name.decode(errors="replace") for name in _PRODUCT.findall(raw)}
        lanes = [self._lanes[name] for name in sorted(products & self._lanes.keys())]
        stream = "raw_trades" if about_trade else "raw_orderbook" if about_book else None
        self._journal.note(
            "reject", received_us, self.conn, symbol=lanes[0].symbol if lanes else None,
            stream=stream, count=1, reason=reason_of(error), error=str(error),
            sample=raw[:_SAMPLE].decode(errors="replace"),
        )  # fmt: skip
        if about_trade:
            return  # its id will be missing: continuity tells, reconcile heals
        if lanes and about_book:
            for lane in lanes:
                self.lose(lane, "rejected", received_us)
        elif about_book:
            self.lose_all("rejected", received_us)
