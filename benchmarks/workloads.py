"""What the benchmarks feed: recorded captures and one simulated load, as bytes with their times.

Standard library only: the peers read it under package versions of their own.
"""

import gzip
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from benchmarks import level2_batch

Message = tuple[bytes, int]  # raw text, received_us

_BESIDE = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
_BOOK_SNAPSHOT = re.compile(rb'"type"\s*:\s*"snapshot"\s*,\s*"product_id"')
_HEAD = 400  # bytes within which a snapshot says what it is
_RECEIVED_US = 1_767_614_400_000_000  # of the simulated load, which nobody received
_STEP_US = 500


@dataclass(frozen=True, slots=True)
class Source:
    """One workload: its letter, what it is, and the capture it comes from, if any."""

    name: str
    dialect: str
    title: str
    capture: str | None
    products: tuple[str, ...]


_TEN = (
    "SKL-USD", "SKL-BTC", "BAND-GBP", "BAND-BTC", "NMR-EUR",
    "YFI-BTC", "DASH-BTC", "NU-GBP", "CRV-EUR", "SKL-GBP",
)  # fmt: skip

SOURCES = {
    source.name: source
    for source in (
        Source("X", "exchange", "recorded Exchange, 10 products",
               "exchange/2021-04-17-ten-pairs.jsonl.gz", _TEN),
        Source("S", "exchange", "simulated level2_batch, 100 products",
               None, level2_batch.PRODUCTS),
        Source("A", "advanced", "recorded Advanced Trade, book",
               "advanced/2026-08-09-btc-usd-live.jsonl.gz", ("BTC-USD",)),
        Source("B", "advanced", "recorded Advanced Trade, book and trades",
               "advanced/2026-08-09-btc-usd-trades.jsonl.gz", ("BTC-USD",)),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Workload:
    """Messages up to the last snapshot of a book, and those after it."""

    source: Source
    opening: list[Message]
    messages: list[Message]


def captures() -> Path | None:
    """Return the folder of the captures: QUOTEWATCH_CAPTURES, or beside the checkout."""
    named = os.environ.get("QUOTEWATCH_CAPTURES")
    folder = Path(named) if named else _BESIDE
    return folder if folder.is_dir() else None


def missing(source: Source) -> str | None:
    """Say why a workload cannot run here, None if it can."""
    if source.capture is None:
        return None
    folder = captures()
    if folder is None:
        return "no captures here; name their folder in QUOTEWATCH_CAPTURES"
    return None if (folder / source.capture).is_file() else f"{source.capture} is not there"


def load(name: str) -> Workload:
    """Load a workload and split it where the books are complete."""
    source = SOURCES[name]
    messages = _simulated() if source.capture is None else _recorded(source.capture)
    opened = 1 + max(
        at for at, (raw, _) in enumerate(messages) if _BOOK_SNAPSHOT.search(raw[:_HEAD])
    )
    return Workload(source, messages[:opened], messages[opened:])


def _recorded(capture: str) -> list[Message]:
    folder = captures()
    if folder is None:
        raise FileNotFoundError(capture)
    with gzip.open(folder / capture, "rt", encoding="utf-8") as lines:
        records = map(json.loads, lines)
        return [(line["message"].encode(), round(line["received_at"] * 1e6)) for line in records]


def _simulated() -> list[Message]:
    texts = level2_batch.generate()
    return [(raw, _RECEIVED_US + at * _STEP_US) for at, raw in enumerate(texts)]
