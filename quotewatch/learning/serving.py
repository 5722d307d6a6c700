"""The models in use: what the store calls current, looked at now and then.

A store that is away, or a model that cannot be taken, leaves in use what was in use before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

from quotewatch.clock import Clock
from quotewatch.errors import ModelError, NewerModelError, ObjectError
from quotewatch.learning.model import Model
from quotewatch.learning.store import ModelStore
from quotewatch.logs import get_logger
from quotewatch.objects.port import ObjectStore

_log = get_logger("models")


# Looking takes at most this part of the time: a store that is away takes ten seconds to say so, and
# a function that serves one request at a time would do nothing else.
_MOST = 0.1
_POINTER = "current"  # in the place of a version, where not even that can be read


@dataclass(frozen=True, slots=True)
class _Seat:
    """The version that answers for one horizon, and the one that should but is refused."""

    version: str = ""
    model: Model | None = None
    refused: str = ""
    reason: str = ""


_EMPTY = _Seat()


class Served:
    """The model of each horizon, for any number of threads."""

    def __init__(
        self,
        objects: ObjectStore,
        horizons_ms: Sequence[int],
        clock: Clock,
        recheck_seconds: float = 5.0,
    ) -> None:
        self._stores = {each: ModelStore(objects, each) for each in sorted(horizons_ms)}
        self._clock = clock
        self._recheck_seconds = recheck_seconds
        # Replaced as a whole and never changed, so that a request keeps the models it began with.
        self._seats: Mapping[int, _Seat] | None = None
        self._due_at = 0.0
        self._is_away = False
        self._looking = Lock()

    @property
    def refused(self) -> dict[int, str]:
        """Why the current model of a horizon is not in use."""
        seats = self._seats or {}
        return {horizon_ms: seat.reason for horizon_ms, seat in seats.items() if seat.refused}

    def models(self) -> list[Model]:
        """Return the models in use by ascending horizon; raise while nothing at all is known."""
        if self._seats is None:
            self._look_first()
        elif self._is_due() and self._looking.acquire(blocking=False):
            # The others go on with what there is.
            try:
                self._look_again(self._seats)
            finally:
                self._looking.release()
        return [seat.model for seat in (self._seats or {}).values() if seat.model is not None]

    def _is_due(self) -> bool:
        return self._clock.monotonic() >= self._due_at

    def _look_first(self) -> None:
        with self._looking:  # for this one all wait
            if self._seats is None:
                self._seats = {each: self._seated(each, _EMPTY) for each in self._stores}
                self._due_at = self._clock.monotonic() + self._recheck_seconds

    def _look_again(self, before: Mapping[int, _Seat]) -> None:
        began = self._clock.monotonic()
        seats, away = dict(before), ""
        for horizon_ms, seat in before.items():
            try:
                seats[horizon_ms] = self._seated(horizon_ms, seat)
            except ObjectError as error:
                away = str(error)
        self._seats = seats
        now = self._clock.monotonic()
        self._due_at = now + max(self._recheck_seconds, (now - began) / _MOST)
        self._tell(away)

    def _seated(self, horizon_ms: int, before: _Seat) -> _Seat:
        """Return who answers for a horizon now."""
        store, wanted = self._stores[horizon_ms], _POINTER
        try:
            current = store.current()
            if current is None:  # nothing was learnt yet, or all of it was taken away
                return _EMPTY
            wanted = current.version
            if before.version == wanted:
                return _Seat(wanted, before.model)
            model = store.load(wanted).model
        except (ModelError, NewerModelError) as error:
            if before.refused != wanted:  # asked for again each time: it may be repaired
                _log.error("refused", horizon_ms=horizon_ms, version=wanted, error=str(error))
            return _Seat(before.version, before.model, wanted, str(error))
        _log.info("in_use", horizon_ms=horizon_ms, version=wanted, ready=model.ready)
        return _Seat(wanted, model)

    def _tell(self, away: str) -> None:
        """Log when the store goes away and when it is back."""
        if away and not self._is_away:
            _log.warning("store_away", error=away)
        if self._is_away and not away:
            _log.info("store_back")
        self._is_away = bool(away)
