"""What goes wrong on purpose: moments of a schedule, or a test's orders, become rules. Pure.

Messages in, shipments out; a plan without rules lets all of them pass unchanged.
"""

import random
from collections.abc import Collection, Iterable, Iterator

from quotewatch.local.exchange.fault_rules import (
    BOOKS,
    TRADES,
    Cross,
    Dialect,
    DropMessage,
    DropTrades,
    Duplicate,
    Malform,
    Reorder,
    Rule,
    Silence,
)
from quotewatch.local.exchange.fault_schedule import Moment
from quotewatch.local.exchange.sessions import Parcel, Session, Shipment
from quotewatch.local.exchange.spoiling import FLAWS, Flaw

_NEVER = 1 << 62
_LONGEST_RUN = 5  # trades withheld at once
_HEARTBEATS = frozenset({"heartbeats"})
ABNORMAL, SERVER_ERROR, GOING_AWAY = 1006, 1011, 1001


class FaultPlan:
    """The rules in force, and what is to happen to connections and the REST interface."""

    def __init__(
        self,
        moments: Iterable[Moment] = (),
        seed: int = 1,
        silence_seconds: float = 8.0,
        rest_down_seconds: float = 4.0,
    ) -> None:
        self.rules: list[Rule] = []
        self.hangups: list[tuple[str, int]] = []  # (fault, close code), for the server to carry out
        self.rest_down_until_us = 0
        self._moments: Iterator[Moment] = iter(moments)
        self._next = next(self._moments, None)
        self._start_us = 0
        self._silence_us = int(silence_seconds * 1e6)
        self._rest_down_us = int(rest_down_seconds * 1e6)
        self._random = random.Random(f"plan {seed}")  # noqa: S311 - must repeat, not be secret
        self.due_us = _NEVER

    def begin(self, start_us: int) -> None:
        """Count the moments of the schedule from here."""
        self._start_us = start_us
        self._set_due()

    def _set_due(self) -> None:
        self.due_us = _NEVER if self._next is None else self._start_us + self._next.at_us

    # -- what happens to messages -----------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Say whether messages pass unchanged."""
        return not self.rules

    def apply(self, session: Session, parcel: Parcel, dialect: Dialect) -> list[Shipment]:
        """Return what becomes of a message."""
        for rule in self.rules:
            taken = rule.take(session, parcel, dialect)
            if rule.spent:
                self.rules = [each for each in self.rules if not each.spent]
            if taken is not None:
                return taken
        return [Shipment(session.write(parcel), parcel.kind)]

    def closed(self, session: Session, dialect: Dialect) -> list[Shipment]:
        """Return what was held back for a connection that is gone."""
        held = [shipment for rule in self.rules for shipment in rule.closed(session, dialect)]
        self.rules = [each for each in self.rules if not each.spent]
        return held

    # -- the schedule -----------------------------------------------------------------------

    def tick(self, now_us: int) -> None:
        """Arm whatever is due. A rule waits until a message comes that it can be done to."""
        while self._next is not None and self.due_us <= now_us:
            self._arm(self._next, now_us)
            self._next = next(self._moments, None)
            self._set_due()

    def _arm(self, moment: Moment, now_us: int) -> None:
        odd = moment.number % 2 == 1
        kinds = TRADES if odd else BOOKS
        match moment.fault:
            case "disconnect":
                self.hangups.append(("disconnect", SERVER_ERROR if odd else ABNORMAL))
            case "restart":
                self.hangups.append(("restart", GOING_AWAY))
            case "rest_down":
                self.rest_down_until_us = now_us + self._rest_down_us
            case "silence":
                self.silence(now_us + self._silence_us)
            case "drop_messages":
                self.drop_message(kinds)
            case "malformed":
                self.malform(FLAWS[moment.number // 2 % len(FLAWS)], kinds)
            case fault:
                self._arm_simple(fault)

    def _arm_simple(self, fault: str) -> None:
        match fault:
            case "drop_trades":
                self.drop_trades(range(1, 1 + self._random.randint(1, _LONGEST_RUN)))
            case "duplicate":
                self.duplicate()
            case "reorder":
                self.reorder()
            case "crossed":
                self.cross()

    # -- orders, for tests ------------------------------------------------------------------

    def drop_trades(self, ordinals: Collection[int], product: str | None = None) -> None:
        """Withhold the n-th trades from now on (1: the next), of the product that trades first."""
        self.rules.append(DropTrades(ordinals, product))

    def drop_message(
        self, kinds: Collection[str] = BOOKS | TRADES | _HEARTBEATS, product: str | None = None
    ) -> None:
        """Withhold the next message of these kinds."""
        self.rules.append(DropMessage(kinds, product))

    def duplicate(self, product: str | None = None) -> None:
        """Send the next trade twice."""
        self.rules.append(Duplicate(product))

    def reorder(self, product: str | None = None) -> None:
        """Swap the next two trades."""
        self.rules.append(Reorder(product))

    def malform(
        self, flaw: Flaw, kinds: Collection[str] = BOOKS | TRADES, product: str | None = None
    ) -> None:
        """Spoil the next message of these kinds."""
        self.rules.append(Malform(flaw, kinds, product))

    def cross(self, product: str | None = None) -> None:
        """Cross the book of the next product that changes."""
        self.rules.append(Cross(product))

    def silence(self, until_us: int | None = None, *, everywhere: bool = False) -> None:
        """Say nothing on the next connection that would get something, or on all of them."""
        # In front: a silent connection gets no other faults either.
        self.rules.insert(0, Silence(until_us, everywhere=everywhere))

    def speak(self) -> None:
        """End every silence."""
        self.rules = [rule for rule in self.rules if not isinstance(rule, Silence)]
