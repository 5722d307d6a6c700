"""The simulated exchange without its sockets: time and requests in, shipments per connection out.

Pure. The market runs on whether anybody listens or not.
"""

from quotewatch.local.exchange.fault_plan import FaultPlan
from quotewatch.local.exchange.fault_rules import Dialect
from quotewatch.local.exchange.market_model import Market
from quotewatch.local.exchange.sessions import Parcel, Session, Shipment

NOBODY = 0  # the connection number of trades that happened while nobody listened
SUBSCRIBE_WITHIN_US = 5_000_000


class SimulatedExchange:
    """A market, a dialect, and who is connected."""

    def __init__(self, market: Market, dialect: Dialect, plan: FaultPlan) -> None:
        self.market = market
        self.dialect = dialect
        self.plan = plan
        self.sessions: dict[int, Session] = {}
        self.connections = 0
        self.nobody = Session(NOBODY, 0)
        self._routes: dict[tuple[str, str], list[Session]] = {}
        self._ever_heard: set[str] = set()
        plan.begin(market.start_us)

    # -- connections ------------------------------------------------------------------------

    def open(self) -> Session:
        """Admit a connection."""
        self.connections += 1
        session = Session(self.connections, self.market.now_us)
        self.sessions[session.conn] = session
        return session

    def close(self, session: Session) -> list[Shipment]:
        """Forget a connection, and return what will never be sent to it."""
        if self.sessions.pop(session.conn, None) is None:
            return []
        self._route()
        waiting = [*session.take(), *self.plan.closed(session, self.dialect)]
        return [_never_sent(shipment) for shipment in waiting]

    def request(self, session: Session, text: str | bytes) -> None:
        """Carry out what a client asked for."""
        answers = self.dialect.answer(session, text)
        self._route()
        for parcel in answers:
            self.deliver(session, parcel)

    def _route(self) -> None:
        self._routes.clear()
        for session in self.sessions.values():
            for channel, products in session.subscribed.items():
                for product in dict.fromkeys(map(self.dialect.routed, products)):
                    self._routes.setdefault((channel, product), []).append(session)
        trades = self.dialect.trades_channel
        self._ever_heard |= {product for channel, product in self._routes if channel == trades}

    def late(self) -> list[Session]:
        """Return who has not subscribed in time."""
        latest = self.market.now_us - SUBSCRIBE_WITHIN_US
        return [s for s in self.sessions.values() if not s.asked and s.opened_us < latest]

    # -- time -------------------------------------------------------------------------------

    def advance(self, until_us: int) -> None:
        """Let the market run, and queue what its subscribers get."""
        parcels_of, routes = self.dialect.parcels, self._routes
        plan = self.plan
        for event in self.market.play(until_us):
            if event.time_us >= plan.due_us:
                plan.tick(event.time_us)
            for channel, parcel in parcels_of(event, routes):
                listeners = routes.get((channel, parcel.product))
                if listeners is None:
                    self._unheard(channel, parcel)
                elif plan.idle:
                    for session in listeners:
                        session.ship(parcel)
                else:
                    for session in listeners:
                        self.deliver(session, parcel)

    def deliver(self, session: Session, parcel: Parcel) -> None:
        """Queue one message, as the faults want it."""
        for shipment in self.plan.apply(session, parcel, self.dialect):
            session.put(shipment)

    def _unheard(self, channel: str, parcel: Parcel) -> None:
        # Before anybody ever listened nothing can be missed.
        if channel == self.dialect.trades_channel and parcel.product in self._ever_heard:
            text = self.nobody.write(parcel)
            self.nobody.put(Shipment(text, parcel.kind, sent=False, fault="outage"))


def _never_sent(shipment: Shipment) -> Shipment:
    fault = shipment.fault or "outage"
    return Shipment(shipment.text, shipment.kind, sent=False, fault=fault)
