"""The faults that happen to messages: a parcel for one connection in, what leaves instead out.

A rule looks at every message and takes the ones it is waiting for; `None` lets the message pass to
the next rule. Each is spent after its deed. Pure.
"""

from collections.abc import Collection
from typing import Protocol

from quotewatch.local.exchange.advanced_dialect import AdvancedDialect
from quotewatch.local.exchange.exchange_dialect import ExchangeDialect
from quotewatch.local.exchange.market_events import BookChange, Trade
from quotewatch.local.exchange.sessions import Parcel, Session, Shipment
from quotewatch.local.exchange.spoiling import Flaw, spoil

Dialect = ExchangeDialect | AdvancedDialect

TRADES = frozenset({"match", "market_trades"})
BOOKS = frozenset({"l2update", "l2_data"})


class Rule(Protocol):
    """One fault waiting for its moment."""

    @property
    def spent(self) -> bool:
        """Say whether it has happened."""
        ...

    def take(self, session: Session, parcel: Parcel, dialect: Dialect) -> list[Shipment] | None:
        """Return what leaves instead of the message, or None if it is not the one waited for."""
        ...

    def closed(self, session: Session, dialect: Dialect) -> list[Shipment]:
        """Return what was held back for a connection that is gone."""
        ...


class _Once:
    """What most rules share: a product, if it matters, and whether it has happened."""

    def __init__(self, product: str | None = None) -> None:
        self._asked_for = product
        self.product = product
        self.conn: int | None = None
        self.spent = False

    def wants(self, session: Session, parcel: Parcel, kinds: Collection[str]) -> bool:
        return (
            parcel.update
            and parcel.kind in kinds
            and self.product in (None, parcel.product)
            and self.conn in (None, session.conn)
        )

    def stay_with(self, session: Session, parcel: Parcel) -> None:
        """Wait from now on for this product on this connection."""
        self.product, self.conn = parcel.product, session.conn

    def closed(self, session: Session, dialect: Dialect) -> list[Shipment]:  # noqa: ARG002
        if self.conn == session.conn:
            self.conn, self.product = None, self._asked_for
            self.forget()
        return []

    def forget(self) -> None:
        """Start afresh with another connection."""


def _sent(session: Session, parcel: Parcel, fault: str | None = None) -> Shipment:
    return Shipment(session.write(parcel), parcel.kind, fault=fault)


def _withheld(session: Session, parcel: Parcel, fault: str) -> Shipment:
    """Withhold a message that was numbered: the reader sees a hole where numbers are contiguous."""
    return Shipment(session.write(parcel), parcel.kind, sent=False, fault=fault)


def _never_written(session: Session, parcel: Parcel, fault: str) -> Shipment:
    """Withhold without using a number up: the message never came to be."""
    return Shipment(parcel.text(session.number), parcel.kind, sent=False, fault=fault)


def _with_trades(parcel: Parcel, trades: Collection[Trade], dialect: Dialect) -> Parcel | None:
    """Return the parcel with other trades, or None without any. Exchange matches carry just one."""
    if not trades or isinstance(dialect, ExchangeDialect):
        return None
    in_order = sorted(trades, key=lambda trade: trade.trade_id)
    return dialect.trades(in_order, parcel.time_us)


class DropTrades(_Once):
    """Withhold some trades of one product: the n-th ones (from 1) after the rule was armed."""

    def __init__(self, ordinals: Collection[int], product: str | None = None) -> None:
        super().__init__(product)
        self.left = set(ordinals)
        self._seen = 0

    def take(self, session: Session, parcel: Parcel, dialect: Dialect) -> list[Shipment] | None:
        """Take the wanted trades out; numbering goes on as if they had never been collected."""
        if not self.wants(session, parcel, TRADES):
            return None
        self.stay_with(session, parcel)
        gone = [t for n, t in enumerate(parcel.trades, self._seen + 1) if n in self.left]
        self._seen += len(parcel.trades)
        self.left -= set(range(self._seen + 1))
        self.spent = not self.left
        if not gone:
            return None
        if len(gone) == len(parcel.trades):
            return [_never_written(session, parcel, "drop_trades")]
        lost = _with_trades(parcel, gone, dialect)
        kept = _with_trades(parcel, [t for t in parcel.trades if t not in gone], dialect)
        shipments = [] if lost is None else [_never_written(session, lost, "drop_trades")]
        return shipments if kept is None else [*shipments, _sent(session, kept)]


class DropMessage(_Once):
    """Withhold the next message of some kinds."""

    def __init__(self, kinds: Collection[str], product: str | None = None) -> None:
        super().__init__(product)
        self._kinds = kinds

    def take(self, session: Session, parcel: Parcel, dialect: Dialect) -> list[Shipment] | None:  # noqa: ARG002
        """Withhold it; on Advanced Trade its number is missing."""
        if not self.wants(session, parcel, self._kinds):
            return None
        self.spent = True
        return [_withheld(session, parcel, "drop_messages")]


class Duplicate(_Once):
    """Send a trade twice: the same match again, or an old trade within a later message."""

    def __init__(self, product: str | None = None) -> None:
        super().__init__(product)
        self._old: Trade | None = None

    def take(self, session: Session, parcel: Parcel, dialect: Dialect) -> list[Shipment] | None:
        """Repeat a trade. Sequence numbers are never repeated: the transport is TCP."""
        if not self.wants(session, parcel, TRADES):
            return None
        if isinstance(dialect, ExchangeDialect):
            self.spent = True
            return [_sent(session, parcel), _sent(session, parcel, "duplicate")]
        if self._old is None:
            self.stay_with(session, parcel)
            self._old = parcel.trades[-1]
            return None
        self.spent = True
        # Newest first on the wire: the old one stands at the end.
        doubled = dialect.trades([self._old, *parcel.trades], parcel.time_us)
        return [_sent(session, doubled, "duplicate")]

    def forget(self) -> None:
        """Take another trade."""
        self._old = None


class Reorder(_Once):
    """Let a trade arrive after its successor."""

    def __init__(self, product: str | None = None) -> None:
        super().__init__(product)
        self._held: Parcel | None = None

    def take(self, session: Session, parcel: Parcel, dialect: Dialect) -> list[Shipment] | None:
        """Hold the first trade back and send it after the next one, or within the next message."""
        if not self.wants(session, parcel, TRADES):
            return None
        if self._held is None:
            self.stay_with(session, parcel)
            return self._hold(session, parcel, dialect)
        self.spent = True
        if isinstance(dialect, ExchangeDialect):
            return [_sent(session, parcel), _sent(session, self._held, "reorder")]
        joined = _with_trades(parcel, [*self._held.trades, *parcel.trades], dialect)
        return None if joined is None else [_sent(session, joined, "reorder")]

    def _hold(self, session: Session, parcel: Parcel, dialect: Dialect) -> list[Shipment]:
        held = _with_trades(parcel, parcel.trades[:1], dialect)
        rest = _with_trades(parcel, parcel.trades[1:], dialect)
        self._held = held or parcel
        return [] if rest is None else [_sent(session, rest)]

    def closed(self, session: Session, dialect: Dialect) -> list[Shipment]:
        """Give back what is held: it will not be sent any more."""
        held = self._held if self.conn == session.conn else None
        super().closed(session, dialect)
        return [] if held is None else [_never_written(session, held, "reorder")]

    def forget(self) -> None:
        """Hold another trade back."""
        self._held = None


class Malform(_Once):
    """Spoil the next message of some kinds."""

    def __init__(self, flaw: Flaw, kinds: Collection[str], product: str | None = None) -> None:
        super().__init__(product)
        self._flaw = flaw
        self._kinds = kinds

    def take(self, session: Session, parcel: Parcel, dialect: Dialect) -> list[Shipment] | None:  # noqa: ARG002
        """Send it spoilt. The good text is withheld, so that what it carried can be judged."""
        if not self.wants(session, parcel, self._kinds):
            return None
        self.spent = True
        good = _withheld(session, parcel, "malformed")
        return [good, Shipment(spoil(good.text, self._flaw), parcel.kind, fault="malformed")]


class Cross(_Once):
    """Send a level beyond the other side of the book. The market itself knows nothing of it."""

    def take(self, session: Session, parcel: Parcel, dialect: Dialect) -> list[Shipment] | None:
        """Let an update be followed by one that crosses."""
        if not self.wants(session, parcel, BOOKS) or parcel.change is None:
            return None
        self.spent = True
        market = dialect.market.products[parcel.product]
        beyond = 1 - market.asks.best()
        change = BookChange(parcel.product, [(beyond, market.lot_step)], [], parcel.change.time_us)
        return [_sent(session, parcel), _sent(session, dialect.change(change), "crossed")]


class Silence(_Once):
    """Send nothing at all on one connection, or on all, until the market's clock says so."""

    def __init__(self, until_us: int | None, *, everywhere: bool = False) -> None:
        super().__init__()
        self._until_us = until_us
        self._everywhere = everywhere

    def take(self, session: Session, parcel: Parcel, dialect: Dialect) -> list[Shipment] | None:
        """Withhold whatever comes."""
        if self._until_us is not None and dialect.market.now_us >= self._until_us:
            self.spent = True
            return None
        if not self._everywhere:
            if self.conn not in (None, session.conn):
                return None
            self.conn = session.conn
        return [_withheld(session, parcel, "silence")]

    def forget(self) -> None:
        """Be over when the connection is."""
        self.spent = not self._everywhere
