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
    received_us: int
    arrival: int
    kind: str
    conn: int
    symbol: str | None = None
    stream: str | None = None
    to_id: int | None = None
    reason: str | None = None


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
    known: set[str] = field(default_factory=set)
    newest_us: int = 0


def validities(entries: Iterable[Entry], now_us: int) -> list[Validity]:
    """Return every stretch of validity, those of lives that ended without a word cut there."""
    lives: dict[str, _Life] = defaultdict(_Life)
    found: list[Validity] = []
    crashed: set[str] = set()
    ordered = sorted(entries, key=lambda each: (each.epoch, each.received_us, each.arrival))
    for entry in ordered:
        life = lives[entry.epoch]
        life.newest_us = max(life.newest_us, entry.received_us)
        if entry.kind == "start" and (entry.reason or "").startswith("after_crash "):
            crashed.add((entry.reason or "").partition(" ")[2])
        found.extend(_step(life, entry))
    for epoch, life in lives.items():
        dead = epoch in crashed or life.newest_us < now_us - SILENT_US
        for symbol, (since_us, _) in life.valid.items():
            end = life.newest_us if dead else None
            found.append(Validity(epoch, symbol, since_us, end, "died" if dead else None))
    return found


def _step(life: _Life, entry: Entry) -> list[Validity]:
    """Take one entry; return the stretches that end with it."""
    match entry.kind:
        case "snapshot" if entry.symbol is not None:
            life.known.add(entry.symbol)
            since_us, _ = life.valid.get(entry.symbol, (entry.received_us, entry.conn))
            life.valid[entry.symbol] = (since_us, entry.conn)
            return []
        case "high_water" if entry.symbol is not None and entry.symbol not in life.known:
            # The entries begin in the middle of this life: it had a book before.
            life.known.add(entry.symbol)
            life.valid[entry.symbol] = (entry.received_us, entry.conn)
            return []
        case "invalid" if entry.symbol in life.valid:
            reason = f"invalid {entry.reason or ''}".strip()
            return [_end(life, entry, str(entry.symbol), reason)]
        case "close":
            closed = [symbol for symbol, (_, conn) in life.valid.items() if conn == entry.conn]
            reason = f"close {(entry.reason or '').partition(' ')[0]}".strip()
            return [_end(life, entry, symbol, reason) for symbol in closed]
        case "final":
            return [_end(life, entry, symbol, "stopped") for symbol in list(life.valid)]
    return []


def _end(life: _Life, entry: Entry, symbol: str, reason: str) -> Validity:
    since_us, _ = life.valid.pop(symbol)
    return Validity(entry.epoch, symbol, since_us, entry.received_us, reason)


def outages(found: Iterable[Validity]) -> list[Outage]:
    """Return what no stretch covers, from the first book of each product on."""
    by_symbol: dict[str, list[Validity]] = defaultdict(list)
    for each in found:
        by_symbol[each.symbol].append(each)
    gone: list[Outage] = []
    for stretches in by_symbol.values():
        gone += _uncovered(sorted(stretches, key=lambda each: each.from_us))
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


def newest_ids(entries: Iterable[Entry]) -> tuple[dict[str, int], dict[tuple[str, str], int]]:
    """Return the newest trade id known of each product, and the newest seq of (epoch, stream)."""
    trades: dict[str, int] = {}
    frames: dict[tuple[str, str], int] = {}
    for each in entries:
        if each.to_id is None:
            continue
        if each.kind in {"high_water", "final"}:
            if each.symbol is not None:
                trades[each.symbol] = max(trades.get(each.symbol, -1), each.to_id)
            elif each.stream is not None:
                key = (each.epoch, each.stream)
                frames[key] = max(frames.get(key, -1), each.to_id)
        elif each.kind == "gap" and each.stream == "raw_trades" and each.symbol is not None:
            trades[each.symbol] = max(trades.get(each.symbol, -1), each.to_id)
    return trades, frames


def settled(entries: Iterable[Entry], until_us: int) -> list[Entry]:
    """Return the entries that nothing in flight can contradict any more.

    A life that ended cleanly has said its last word; of the others only what is old enough counts.
    """
    listed = list(entries)
    ended = {each.epoch for each in listed if each.kind == "final"}
    return [each for each in listed if each.epoch in ended or each.received_us <= until_us]
