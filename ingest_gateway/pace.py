"""Requests of all connections of one address, no faster than the exchange takes them. Pure."""


class Pace:
    """Hands out the moments at which a request may go."""

    def __init__(self, per_second: float) -> None:
        self._pause = 1.0 / per_second
        self._next = 0.0

    def wait_seconds(self, now: float) -> float:
        """Take the next free moment; return how long it is until then."""
        moment = max(now, self._next)
        self._next = moment + self._pause
        return moment - now
