"""One currency of the simulated market: time in; value in USD, pressure and agitation out. Pure."""

import random

from quotewatch.local.exchange.listings import liveliness, usd_price

_PRESSURE_SECONDS = 0.6  # how long buyers or sellers push
_CALM_SECONDS, _AGITATED_SECONDS = 6.0, 3.0
_CALM, _AGITATED = 0.25, 1.15  # multiples of the move below
_MOVE_BPS = 1.9  # undirected move in a square-root second, agitation 1
_PUSH_BPS = 5.0  # directed move in a second at full pressure, agitation 1
_FOLLOW = 0.6  # how much of BTC's move and pressure the other assets share


class Asset:
    """One currency: its value in USD, who pushes it, and how agitated it is."""

    __slots__ = ("agitation", "lively", "move", "pressure", "push", "switch_in", "value")

    def __init__(self, name: str) -> None:
        self.value = usd_price(name)
        self.lively = liveliness(name)
        self.agitation = _CALM
        self.switch_in = _CALM_SECONDS / 3
        self.push = 0.0  # its own pressure
        self.pressure = 0.0  # its own and BTC's, -1 all sellers to 1 all buyers
        self.move = 0.0

    def advance(self, rng: random.Random, seconds: float, leader: "Asset | None") -> None:
        """Let so much time pass. `leader` is the asset all others follow in part."""
        draw = rng.random
        self.switch_in -= seconds
        if self.switch_in <= 0.0:
            calms_down = self.agitation != _CALM
            self.agitation = _CALM if calms_down else _AGITATED
            usual = _CALM_SECONDS if calms_down else _AGITATED_SECONDS
            self.switch_in = (0.2 + 1.6 * draw()) * usual
        # Sums of uniform draws, not gauss(): cheaper, and no libm in what must repeat exactly.
        kept = min(1.0, seconds / _PRESSURE_SECONDS)
        shock = (draw() + draw() + draw() - 1.5) * 2.0
        self.push += -kept * self.push + (2.0 * kept) ** 0.5 * 0.5 * shock
        self.push = max(-0.95, min(0.95, self.push))
        noise = (draw() + draw() + draw() - 1.5) * 2.0
        move = _PUSH_BPS * self.push * seconds + _MOVE_BPS * noise * seconds**0.5
        self.move = self.agitation * move
        self.pressure = self.push
        if leader is not None:
            self.move += _FOLLOW * leader.move
            self.pressure += _FOLLOW * leader.pressure
        self.value *= 1.0 + self.lively * self.move * 1e-4
