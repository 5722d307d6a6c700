"""What happens on the simulated market, in ticks and lots; the dialects spell it. Pure."""

import msgspec


class Trade(msgspec.Struct, frozen=True, gc=False):
    """One trade. `maker_buys` says that the resting order was a bid: the taker sold."""

    product: str
    trade_id: int
    sequence: int
    maker_buys: bool
    tick: int
    lots: int
    time_us: int


class BookChange(msgspec.Struct, frozen=True, gc=False):
    """Levels of one product that changed: (tick, new lots), zero lots where a level went."""

    product: str
    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]
    time_us: int


class Pulse(msgspec.Struct, frozen=True, gc=False):
    """A product's heartbeat."""

    product: str
    last_trade_id: int
    sequence: int
    time_us: int


class Window(msgspec.Struct, frozen=True, gc=False):
    """A quarter of a second of one product is over: what was collected in it goes out."""

    product: str
    time_us: int


class BookCopy(msgspec.Struct, frozen=True):
    """The full book of one product, best levels first."""

    product: str
    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]
    time_us: int


Event = Trade | BookChange | Pulse | Window
