"""The ledger: which frames the rows of a table came from, and which trades it holds. Pure.

It travels in the summary of every snapshot, so rows and what they came from are one commit.
docs/ledger.md describes the states of a frame and of an epoch.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import reduce
from itertools import groupby
from operator import or_
from typing import Any

import msgspec

from quotewatch.clock import NS_PER_SECOND
from quotewatch.errors import LedgerMissingError, TableError
from quotewatch.intervals import Intervals

# A subscription keeps messages for seven days; a day more for clocks and for those who are late.
KEPT_SECONDS = 8 * 86_400

_VERSION = 1


class Knowledge(Enum):
    """What a ledger says about a frame."""

    NEW = "new"
    DONE = "done"
    QUARANTINED = "quarantined"
    UNSURE = "unsure"  # of an epoch the ledger has let go of: the table's rows must be asked


@dataclass(frozen=True, slots=True)
class Seen:
    """A frame as the ledger notes it."""

    epoch: str
    seq: int
    published_ns: int


@dataclass(frozen=True, slots=True)
class EpochEntry:
    """What is known of one producer's life."""

    done: Intervals = field(default_factory=Intervals.none)
    quarantined: Intervals = field(default_factory=Intervals.none)
    newest: int = 0  # seconds since 1970: when the newest of its frames was published
    partial: bool = False  # it came back after it had left: what is not noted is not known

    def know(self, seq: int) -> Knowledge:
        """Say what is known of one frame."""
        if seq in self.done:
            return Knowledge.DONE
        if seq in self.quarantined:
            return Knowledge.QUARANTINED
        return Knowledge.UNSURE if self.partial else Knowledge.NEW

    def holes(self) -> Intervals:
        """Return the unseen frames below the newest one; none can be told if partial."""
        if self.partial:
            return Intervals.none()
        seen = self.done | self.quarantined
        return (Intervals.of([(-1, -1)]) | seen).holes()


@dataclass(frozen=True, slots=True)
class StreamLedger:
    """The frames of one source. Epochs up to `floor` that are not listed have left the ledger."""

    epochs: Mapping[str, EpochEntry] = field(default_factory=dict)
    floor: str = ""

    def know(self, epoch: str, seq: int) -> Knowledge:
        """Say what is known of one frame."""
        entry = self.epochs.get(epoch)
        if entry is not None:
            return entry.know(seq)
        return Knowledge.UNSURE if epoch <= self.floor else Knowledge.NEW

    def note(self, frames: Iterable[Seen], *, quarantined: bool = False) -> "StreamLedger":
        """Return the ledger with these frames done, or put aside."""
        epochs = dict(self.epochs)
        ordered = sorted(frames, key=lambda each: each.epoch)
        for epoch, group in groupby(ordered, key=lambda each: each.epoch):
            entry = epochs.get(epoch) or EpochEntry(partial=epoch <= self.floor)
            epochs[epoch] = _noted(entry, list(group), quarantined=quarantined)
        return StreamLedger(epochs, self.floor)

    def forget(self, kept_seconds: int) -> "StreamLedger":
        """Let go of epochs whose newest frame is this much older than the newest of all.

        By the bus's own times: a clock of ours that jumps changes nothing.
        """
        newest = max((entry.newest for entry in self.epochs.values()), default=0)
        old = {
            epoch for epoch, entry in self.epochs.items() if entry.newest < newest - kept_seconds
        }
        kept = {epoch: entry for epoch, entry in self.epochs.items() if epoch not in old}
        return StreamLedger(kept, max([self.floor, *old]))


def _noted(entry: EpochEntry, frames: list[Seen], *, quarantined: bool) -> EpochEntry:
    seqs = Intervals.of_numbers(frame.seq for frame in frames)
    newest = max(entry.newest, *(frame.published_ns // NS_PER_SECOND for frame in frames))
    if quarantined:
        aside = entry.quarantined | (seqs - entry.done)
        return replace(entry, quarantined=aside, newest=newest)
    return replace(
        entry, done=entry.done | seqs, quarantined=entry.quarantined - seqs, newest=newest
    )


@dataclass(frozen=True, slots=True)
class Ledger:
    """Everything a table knows of its sources; raw_trades also which trades it holds."""

    streams: Mapping[str, StreamLedger] = field(default_factory=dict)
    trades: Mapping[str, Intervals] = field(default_factory=dict)
    marks: Mapping[str, int] = field(default_factory=dict)  # how far somebody has come, by name

    def stream(self, name: str) -> StreamLedger:
        """Return the ledger of one source."""
        return self.streams.get(name, StreamLedger())

    def note(self, stream: str, frames: Iterable[Seen], *, quarantined: bool = False) -> "Ledger":
        """Return the ledger with these frames of a source done, or put aside."""
        noted = self.stream(stream).note(frames, quarantined=quarantined).forget(KEPT_SECONDS)
        return replace(self, streams={**self.streams, stream: noted})

    def hold(self, trades: Mapping[str, Intervals]) -> "Ledger":
        """Return the ledger with these trades stored."""
        none = Intervals.none()
        held = {symbol: self.trades.get(symbol, none) | ids for symbol, ids in trades.items()}
        return replace(self, trades={**self.trades, **held})

    def mark(self, name: str, value: int) -> "Ledger":
        """Return the ledger with a mark moved."""
        return replace(self, marks={**self.marks, name: value})

    def __or__(self, other: "Ledger") -> "Ledger":
        """Return what either of them knows."""
        streams = {
            name: _joined(self.stream(name), other.stream(name))
            for name in self.streams.keys() | other.streams.keys()
        }
        marks = {**other.marks, **self.marks}
        return replace(self, streams=streams, marks=marks).hold(other.trades)

    # As text

    def dump(self) -> bytes:
        """Write it down, the same ledger always as the same bytes."""
        return msgspec.json.encode(
            {
                "version": _VERSION,
                "streams": {name: _plain(each) for name, each in sorted(self.streams.items())},
                "trades": {symbol: str(ids) for symbol, ids in sorted(self.trades.items())},
                "marks": dict(sorted(self.marks.items())),
            }
        )


def load(data: bytes | str) -> Ledger:
    """Read what dump() wrote; LedgerMissingError if it was not that.

    What a newer program wrote is not missing, and no repair may replace it: another TableError.
    """
    try:
        found = msgspec.json.decode(data)
        if found["version"] > _VERSION:
            raise TableError(
                f"the ledger has version {found['version']}, newer than {_VERSION}: deploy this"
                " process again"
            )
        streams = {name: _stream_of(each) for name, each in found["streams"].items()}
        trades = {symbol: Intervals.parse(text) for symbol, text in found["trades"].items()}
        marks = {name: int(value) for name, value in found.get("marks", {}).items()}
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise LedgerMissingError(f"the ledger cannot be read ({error}): repair it") from error
    return Ledger(streams, trades, marks)


def _plain(stream: StreamLedger) -> dict[str, Any]:
    epochs = {}
    for epoch, entry in sorted(stream.epochs.items()):
        plain: dict[str, Any] = {"done": str(entry.done), "newest": entry.newest}
        if entry.quarantined:
            plain["quarantined"] = str(entry.quarantined)
        if entry.partial:
            plain["partial"] = True
        epochs[epoch] = plain
    return {"epochs": epochs, "floor": stream.floor}


def _stream_of(plain: Mapping[str, Any]) -> StreamLedger:
    epochs = {
        epoch: EpochEntry(
            Intervals.parse(each["done"]),
            Intervals.parse(each.get("quarantined", "")),
            int(each["newest"]),
            bool(each.get("partial", False)),
        )
        for epoch, each in plain["epochs"].items()
    }
    return StreamLedger(epochs, str(plain["floor"]))


def _joined(one: StreamLedger, other: StreamLedger) -> StreamLedger:
    epochs = {}
    for epoch in one.epochs.keys() | other.epochs.keys():
        entries = [each.epochs[epoch] for each in (one, other) if epoch in each.epochs]
        done = reduce(or_, (each.done for each in entries))
        aside = reduce(or_, (each.quarantined for each in entries)) - done
        newest = max(each.newest for each in entries)
        epochs[epoch] = EpochEntry(done, aside, newest, all(each.partial for each in entries))
    return StreamLedger(epochs, max(one.floor, other.floor))
