"""When nobody had a valid book: the journal's entries in, stretches of time out. Pure.

Several gateways may have lived at once; what one of them had is not lost.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

US_PER_SECOND = 1_000_000
# A living gateway says something every ten seconds.
SILENT_US = 60 * US_PER_SECOND


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of `events`, as far as books and their ends are told by it."""

    epoch: str
    seq: int
    row: int
    received_us: int
    kind: str
    conn: int
    symbol: str | None = None
    stream: str | None = None
    to_id: int | None = None
    reason: str | None = None

    @property
    def place(self) -> tuple[str, int, int]:
        """Where the gateway wrote it: a message may end a book and begin one, in either order."""
        return self.epoch, self.seq, self.row


@dataclass(frozen=True, slots=True)
class Validity:
    """A stretch in which one gateway had a valid book of one product; open where it still has."""

    epoch: str
    symbol: str
    from_us: int
    to_us: int | None
    ended_by: str | None = None


@dataclass(frozen=True, slots=True)
class Outage:
    """A stretch in which nobody had one; open while it lasts."""

    symbol: str
    epoch: str  # whose book was the last one
    from_us: int
    to_us: int | None
    reason: str


@dataclass
class _Life:
    """One gateway's life, entry by entry."""

    valid: dict[str, tuple[int, int]] = field(default_factory=dict)  # symbol -> (since, conn)
    known: set[str] = field(default_factory=set)  # products whose books the entries tell of
    told: set[int] = field(default_factory=set)  # connections that began or ended in the entries
    whole: bool = False  # the entries begin with it
    newest_us: int = 0

    def had_a_book(self, entry: Entry) -> bool:
        """Say whether a product had a book before the entries begin."""
        open_before = entry.conn > 0 and entry.conn not in self.told
        return not self.whole and open_before and entry.symbol not in self.known


def validities(entries: Iterable[Entry], until_us: int) -> list[Validity]:
    """Return every stretch of validity, those of lives that ended without a word cut there.

    The entries go up to `until_us`: who was silent long before that is dead.
    """
    lives: dict[str, _Life] = defaultdict(_Life)
    found: list[Validity] = []
    crashed: set[str] = set()
    for entry in sorted({each.place: each for each in entries}.values(), key=_place):
        life = lives[entry.epoch]
        life.newest_us = max(life.newest_us, entry.received_us)
        if entry.kind == "start" and (entry.reason or "").startswith("after_crash "):
            crashed.add((entry.reason or "").partition(" ")[2])
        found.extend(_step(life, entry))
    for epoch, life in lives.items():
        dead = epoch in crashed or life.newest_us < until_us - SILENT_US
        for symbol, (since_us, _) in life.valid.items():
            end = life.newest_us if dead else None
            found.append(Validity(epoch, symbol, since_us, end, "died" if dead else None))
    return found


def _place(entry: Entry) -> tuple[str, int, int]:
    return entry.place


def _step(life: _Life, entry: Entry) -> list[Validity]:
    """Take one entry; return the stretches that end with it."""
    symbol, ended = entry.symbol, list[str]()
    match entry.kind:
        case "start":
            life.whole = True
        case "open":
            life.told.add(entry.conn)
        case "snapshot" if symbol is not None:
            life.known.add(symbol)
            since_us, _ = life.valid.get(symbol, (entry.received_us, entry.conn))
            life.valid[symbol] = (since_us, entry.conn)
        case "high_water" if symbol is not None and life.had_a_book(entry):
            life.known.add(symbol)
            life.valid[symbol] = (entry.received_us, entry.conn)
        case "invalid" if symbol is not None:
            life.known.add(symbol)
            ended = [symbol]
        case "close":
            life.told.add(entry.conn)
            ended = [each for each, (_, conn) in life.valid.items() if conn == entry.conn]
        case "final":
            ended = list(life.valid)
    return [_end(life, entry, each) for each in ended if each in life.valid]


def _end(life: _Life, entry: Entry, symbol: str) -> Validity:
    since_us, _ = life.valid.pop(symbol)
    return Validity(entry.epoch, symbol, since_us, entry.received_us, _reason(entry))


def _reason(entry: Entry) -> str:
    """Say what ended a book; what follows the first word of a close is free text."""
    if entry.kind == "final":
        return "stopped"
    reason = entry.reason or ""
    return f"{entry.kind} {reason.partition(' ')[0] if entry.kind == 'close' else reason}".strip()


def outages(found: Iterable[Validity]) -> list[Outage]:
    """Return what no stretch covers, from the first book of each product on."""
    by_symbol: dict[str, list[Validity]] = defaultdict(list)
    for each in found:
        by_symbol[each.symbol].append(each)
    gone: list[Outage] = []
    for stretches in by_symbol.values():
        gone += _uncovered(sorted(stretches, key=lambda each: (each.from_us, each.epoch)))
    return gone


def _uncovered(stretches: list[Validity]) -> list[Outage]:
    gone: list[Outage] = []
    reach = stretches[0]
    for each in stretches[1:]:
        if reach.to_us is None:
            return gone
        if each.from_us > reach.to_us:
            gone.append(_outage(reach, each.from_us))
        if each.to_us is None or each.to_us >= reach.to_us:
            reach = each
    if reach.to_us is not None:
        gone.append(_outage(reach, None))
    return gone


def _outage(last: Validity, to_us: int | None) -> Outage:
    reason = last.ended_by or "unknown"
    return Outage(last.symbol, last.epoch, int(last.to_us or 0), to_us, reason)


def trades_told(entries: Iterable[Entry]) -> dict[str, tuple[int, int]]:
    """Return the lowest and the highest trade id of each product that the entries vouch for."""
    told: dict[str, tuple[int, int]] = {}
    for each in entries:
        if each.symbol is None or each.to_id is None or each.stream != "raw_trades":
            continue
        if each.kind in {"high_water", "final", "gap"}:
            low, high = told.get(each.symbol, (each.to_id, each.to_id))
            told[each.symbol] = min(low, each.to_id), max(high, each.to_id)
    return told


def frames_told(entries: Iterable[Entry]) -> dict[tuple[str, str], int]:
    """Return the newest seq of each epoch and stream that the entries vouch for."""
    told: dict[tuple[str, str], int] = {}
    for each in entries:
        if each.kind not in {"high_water", "final"} or each.symbol is not None:
            continue
        if each.stream is not None and each.to_id is not None:
            key = (each.epoch, each.stream)
            told[key] = max(told.get(key, -1), each.to_id)
    return told


def settled(entries: Iterable[Entry], until_us: int) -> list[Entry]:
    """Return the entries that nothing in flight can contradict any more.

    A life that ended cleanly has said its last word; of the others only what is old enough counts.
    """
    listed = list(entries)
    ended = {each.epoch for each in listed if each.kind == "final"}
    return [each for each in listed if each.epoch in ended or each.received_us <= until_us]
