"""When a book was valid: the gateway's events in, the lives of books out. Pure.

Two gateways may run at once while one replaces the other. At each moment the newest epoch that has
a valid book of a product speaks for it; where it has none, the next older one that has.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from quotewatch.intervals import Intervals

# What the lives of books follow from.
DECISIVE = ("snapshot", "invalid", "close", "final")

Visible = Mapping[tuple[str, str], Intervals]  # (symbol, epoch) -> the microseconds that count


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One row of events, as far as it says something about books."""

    epoch: str
    kind: str
    symbol: str | None
    book: int | None
    conn: int
    received_us: int


@dataclass(frozen=True, slots=True)
class Life:
    """One book from its snapshot to its end, both included, by the gateway's clock."""

    epoch: str
    symbol: str
    book: int
    conn: int
    from_us: int
    to_us: int
    ended: bool = True  # False where nothing says so: its epoch runs, or died


def lives_of(entries: Iterable[JournalEntry]) -> list[Life]:
    """Return the lives that entries tell of; those of one epoch come in the order written."""
    found: list[Life] = []
    epochs: dict[str, dict[str, Life]] = defaultdict(dict)
    for entry in entries:
        found += _take(epochs[entry.epoch], entry)
    for lives in epochs.values():
        found += [replace(life, ended=False) for life in lives.values()]
    return sorted(found, key=lambda life: (life.from_us, life.epoch, life.symbol))


def _take(lives: dict[str, Life], entry: JournalEntry) -> list[Life]:
    """Note one entry among the open lives of its epoch; return the lives it ends."""
    symbol = entry.symbol
    match entry.kind:
        case "snapshot" if symbol is not None and entry.book is not None:
            over = _end(lives, entry, lambda life: life.symbol == symbol)
            at_us = entry.received_us
            lives[symbol] = Life(entry.epoch, symbol, entry.book, entry.conn, at_us, at_us)
            return over
        case "invalid":
            return _end(lives, entry, lambda life: life.symbol == symbol)
        case "close":
            return _end(lives, entry, lambda life: life.conn == entry.conn)
        case "final":
            return _end(lives, entry, lambda _: True)
    return []


def _end(lives: dict[str, Life], entry: JournalEntry, chosen: Callable[[Life], bool]) -> list[Life]:
    over = [lives.pop(life.symbol) for life in list(lives.values()) if chosen(life)]
    # A book that its own snapshot left crossed or one-sided never lived.
    return [
        replace(life, to_us=entry.received_us) for life in over if life.from_us < entry.received_us
    ]


def visible(lives: Iterable[Life]) -> Visible:
    """Return which microseconds of which epoch count for each product: the newest that is valid."""
    by_symbol: dict[str, dict[str, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
    for life in lives:
        by_symbol[life.symbol][life.epoch].append((life.from_us, life.to_us))
    found: dict[tuple[str, str], Intervals] = {}
    for symbol, epochs in by_symbol.items():
        taken = Intervals.none()
        for epoch in sorted(epochs, reverse=True):
            valid = Intervals.of(epochs[epoch])
            found[symbol, epoch] = valid - taken
            taken |= valid
    return found
