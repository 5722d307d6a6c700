"""When which fault happens: names and a seed in, moments out. Pure.

The moments are spread so that even a run of 20 s shows each fault and leaves time to recover.
Longer runs repeat them about every 20 s.
"""

import random
from collections.abc import Iterator, Sequence

import msgspec

from quotewatch.errors import SettingsError

FROM_THE_START = ("big_snapshot", "bad_product")
TO_MESSAGES = ("drop_trades", "drop_messages", "duplicate", "reorder", "malformed", "crossed")
TO_CONNECTIONS = ("silence", "disconnect", "restart", "rest_down")
FAULTS = (*TO_MESSAGES, *TO_CONNECTIONS, *FROM_THE_START)

_CYCLE_SECONDS = 20.0
_SILENCES_IN_A_CYCLE = 2.5
_FIRST, _LAST = 0.1, 0.8  # of a cycle: first the client settles, at the end it recovers
_LAST_BEFORE_SILENCE = 0.55


class Moment(msgspec.Struct, frozen=True):
    """One fault, so many microseconds after the start; `number` counts this fault's moments."""

    at_us: int
    fault: str
    number: int


def check_faults(names: Sequence[str], products: int) -> None:
    """Refuse what is no fault, naming all there are."""
    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        raise SettingsError(f"no such fault: {', '.join(unknown)}; there are {', '.join(FAULTS)}")
    if "bad_product" in names and products < 2:  # noqa: PLR2004 - one goes, one stays
        raise SettingsError("bad_product delists the last product: name at least two products")


def schedule(
    names: Sequence[str], seed: int, seconds: float | None, silence_seconds: float
) -> Iterator[Moment]:
    """Yield the moments in order; without an end of the run they never end."""
    rng = random.Random(f"faults {seed}")  # noqa: S311 - must repeat, not be secret
    shortest = max(_CYCLE_SECONDS, _SILENCES_IN_A_CYCLE * silence_seconds)
    cycles = None if seconds is None else max(1, int(seconds // shortest))
    length = shortest if seconds is None or cycles is None else seconds / cycles
    counts: dict[str, int] = {}
    cycle = 0
    while (cycles is None or cycle < cycles) and set(names) - set(FROM_THE_START):
        for share, fault in _one_cycle(names, rng):
            counts[fault] = counts.get(fault, 0) + 1
            yield Moment(int((cycle + share) * length * 1e6), fault, counts[fault] - 1)
        cycle += 1


def _one_cycle(names: Sequence[str], rng: random.Random) -> list[tuple[float, str]]:
    # Faults of messages come twice a cycle: once each for books and trades.
    todo = [name for name in names if name in TO_MESSAGES] * 2
    todo += [name for name in names if name in TO_CONNECTIONS and name != "silence"]
    rng.shuffle(todo)
    last = _LAST_BEFORE_SILENCE if "silence" in names else _LAST
    slot = (last - _FIRST) / max(1, len(todo))
    planned = [
        (_FIRST + slot * (number + 0.5 * rng.random()), name) for number, name in enumerate(todo)
    ]
    # Silence comes last: whoever waits long before reconnecting would miss the others.
    return [*planned, (last + 0.05, "silence")] if "silence" in names else planned
