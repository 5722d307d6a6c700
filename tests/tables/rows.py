"""Rows as a gateway writes them: messages in, frames of every stream out, and stored."""

import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from pyiceberg.table import Table

from quotewatch.clock import US_PER_SECOND
from quotewatch.coinbase import exchange
from quotewatch.coinbase.values import time_text
from quotewatch.frames import Frame, FrameEncoder, FrameId, decode
from quotewatch.streams import CAPTURED, TABLES
from quotewatch.tables.commit import Change, Committer
from quotewatch.tables.data_files import write_files
from quotewatch.tables.gathering import Arrived
from quotewatch.tables.intake import Intake
from quotewatch.tables.ledger import Ledger
from tests.gateway.desk import Desk, Row
from tests.gateway.test_parity import PRODUCTS, change, fresh

MIDNIGHT = datetime(2026, 8, 10, tzinfo=UTC)
MIDNIGHT_US = 1_786_320_000 * US_PER_SECOND

Message = tuple[int, bytes]  # when it was received, and what


def at(seconds: float) -> datetime:
    """Return a moment before or after midnight."""
    return MIDNIGHT + timedelta(seconds=seconds)


def at_us(seconds: float) -> int:
    """Return the same in microseconds."""
    return MIDNIGHT_US + round(seconds * US_PER_SECOND)


class FrameDesk(Desk):
    """A gateway's reader whose frames are kept."""

    def __init__(
        self, epoch: str, products: Sequence[str] = PRODUCTS, dialect: str = "exchange"
    ) -> None:
        super().__init__(dialect, products)
        self._epoch = epoch
        self.frames: list[Frame] = []

    def close_page(self, stream: str) -> None:
        """End a window; its frame is kept."""
        if not self.tape.rows_of(stream):
            return
        identity = FrameId(stream, self._epoch, self._seqs[stream])
        self._seqs[stream] += 1
        page = self.tape.take(stream)
        received_ns = page.last_received_us * 1_000
        frame = Frame(identity, "desk", page.build(), received_ns, received_ns)
        self.frames.append(decode(FrameEncoder().encode(frame)))

    def close_pages(self) -> None:
        """End the windows of all streams."""
        for stream in CAPTURED:
            self.close_page(stream)

    def kept(self, stream: str) -> list[Row]:
        """Return the rows of the frames of a stream."""
        mine = [frame for frame in self.frames if frame.id.stream == stream]
        return [row for frame in mine for row in frame.rows.to_pylist()]

    def hang_up(self, received_us: int, reason: str = "1006 connection lost") -> None:
        """End the connection as the gateway does, and open the next."""
        conn = self.reader.conn
        self.reconnect()
        self.journal.note("close", received_us, conn, reason=reason)

    def follow(self, messages: Iterable[Message], *, window: int = 400) -> "FrameDesk":
        """Read messages; a window ends after every so many."""
        for number, (received_us, raw) in enumerate(messages, 1):
            self.read(raw, received_us=received_us)
            if not number % window:
                self.close_pages()
        self.close_pages()
        return self


def feed(
    seed: int, steps: int, *, begin_us: int, first_id: int = 100, products: Sequence[str] = PRODUCTS
) -> Iterator[Message]:
    """Yield books that drift, cross and come back, and trades; about 160 ms apart."""
    chance = random.Random(seed)
    us, ids = begin_us, dict.fromkeys(products, first_id)
    for product in products:
        yield us, fresh(product, chance)
    for _ in range(steps):
        product = chance.choice(products)
        us += chance.choice([20_000, 20_000, 150_000, 450_000])
        draw = chance.random()
        if draw < 0.02:
            yield us, fresh(product, chance)
        elif draw < 0.3:
            ids[product] += 1
            yield us, trade(chance, product, ids[product], us)
        else:
            changes = [change(chance) for _ in range(chance.randint(1, 6))]
            stamp = time_text(us - chance.choice([5_000, 5_000, 40_000]))
            yield us, exchange.encode(exchange.L2Update(product, changes, stamp))


def trade(chance: random.Random, product: str, number: int, us: int) -> bytes:
    """Make one trade."""
    side: exchange.MakerSide = chance.choice(["buy", "sell"])
    size = f"{chance.randint(1, 10**9) / 1e8:.8f}"
    return exchange.encode(
        exchange.Match(number, side, size, "100", product, number, time_text(us - 3_000))
    )


def update(product: str, us: int, *changes: tuple[exchange.MakerSide, str, str]) -> Message:
    """Make one update of a book."""
    return us, exchange.encode(exchange.L2Update(product, list(changes), time_text(us)))


def snapshot(product: str, us: int, bid: str = "99", ask: str = "101") -> Message:
    """Make one small book."""
    return us, exchange.encode(exchange.Snapshot(product, [(bid, "1")], [(ask, "1")]))


def store(committer: Committer, frames: Iterable[Frame], *, at_once: int = 4) -> None:
    """Store frames as `write` would, some in each commit."""
    waiting = list(frames)
    for stream in CAPTURED:
        mine = [frame for frame in waiting if frame.id.stream == stream]
        for first in range(0, len(mine), at_once):
            part = [Arrived(each, each.last_received_ns) for each in mine[first : first + at_once]]
            Intake(committer, stream).store(part)


def compact(committer: Committer, name: str) -> None:
    """Rewrite all rows of a table into one file a day, as maintenance does."""

    def plan(table: Table, ledger: Ledger) -> Change:
        old = [task.file for task in table.scan().plan_files()]
        return Change(ledger, write_files(table, TABLES[name], table.scan().to_arrow()), old)

    committer.commit(name, plan)
