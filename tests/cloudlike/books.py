"""Book changes that were sent and are not stored: each must lie in a stretch that `gaps` names.

A kill -9 of the gateway loses the open window and what was sent while nobody listened; that nobody
can fetch again, so it has to be written down.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from quotewatch.clock import US_PER_SECOND
from quotewatch.local.exchange.truth import TruthLine
from quotewatch.local.proof.evidence import Evidence
from quotewatch.local.proof.truth_lines import TruthReader
from quotewatch.tables.gaps import Gap

_PRODUCT = re.compile(r'"product_id":\s*"([A-Z0-9-]+)"')


@dataclass(frozen=True, slots=True)
class LostChange:
    """One message of a book that is not stored."""

    symbol: str
    sent_us: int


@dataclass(frozen=True, slots=True)
class LostBooks:
    """All of them, and what is said of them."""

    changes: int
    unnamed: int  # outside every stretch that `gaps` names
    early_seconds: float  # how long before its stretch the earliest of those was sent


def judge(truth: Path, evidence: Evidence, gaps: Iterable[Gap]) -> LostBooks:
    """Find what is lost, and whether `gaps` tells of it."""
    stretches = [each for each in gaps if each.scope.kind == "book"]
    lost = list(lost_changes(truth, evidence))
    unnamed = [each for each in lost if not any(_covers(gap, each) for gap in stretches)]
    early_us = [_early_us(each, stretches) for each in unnamed]
    return LostBooks(len(lost), len(unnamed), max(early_us, default=0) / US_PER_SECOND)


def lost_changes(truth: Path, evidence: Evidence) -> Iterator[LostChange]:
    """Yield the messages that were sent and are not stored as often as they were sent."""
    there = Counter({key: len(conns) for key, conns in evidence.books.items()})
    for line, raw in zip(TruthReader().read(truth), _raw_lines(truth), strict=True):
        for key in line.books if line.sent else ():
            there[key] -= 1
            found = _PRODUCT.search(raw.message)
            if there[key] < 0 and found:
                yield LostChange(found[1], round(raw.t * US_PER_SECOND))


def unnamed_kills(
    kills_us: Iterable[int], first_books_us: dict[str, int], gaps: Sequence[Gap]
) -> list[str]:
    """Say which product's book no gap is said to have over a kill, once it had one."""
    stretches = [each for each in gaps if each.scope.kind == "book"]
    return [
        f"{symbol}: no gap of its book over the kill at {at_us}"
        for at_us in kills_us
        for symbol, first_us in first_books_us.items()
        if first_us < at_us
        and not any(_covers(gap, LostChange(symbol, at_us)) for gap in stretches)
    ]


def _covers(gap: Gap, lost: LostChange) -> bool:
    return (
        gap.scope.symbol == lost.symbol
        and gap.from_us is not None
        and gap.from_us <= lost.sent_us
        and (gap.to_us is None or lost.sent_us <= gap.to_us)
    )


def _early_us(lost: LostChange, stretches: Iterable[Gap]) -> int:
    """Return how long before the next stretch of its product it was sent."""
    begins = [
        each.from_us - lost.sent_us
        for each in stretches
        if each.scope.symbol == lost.symbol
        and each.from_us is not None
        and each.from_us >= lost.sent_us
    ]
    return min(begins, default=0)


def _raw_lines(truth: Path) -> Iterator[TruthLine]:
    decoder = msgspec.json.Decoder(TruthLine)
    with truth.open("rb") as file:
        yield from map(decoder.decode, file)
