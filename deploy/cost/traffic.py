"""What a number of products sends through every part in a second. Pure: facts in, rates out."""

import math
from dataclasses import dataclass

from deploy.cost.facts import amount
from quotewatch.frames import SOFT_LIMIT_BYTES
from quotewatch.settings import fixed_settings

_MS = 1_000
# What the gateway guesses of a page to close it early: four bytes a value (ingest_gateway/tape.py).
_GUESSED_BYTES = {"raw_orderbook": 36, "raw_trades": 44, "features": 36, "events": 48}
_GUESSED_CHANGE_BYTES = 8


@dataclass(frozen=True)
class Stream:
    """One stream: its rows, its frames, and what both weigh."""

    name: str
    rows_a_second: float
    frames_a_second: float
    frame_bytes: float  # with attributes
    stored_row_bytes: float

    @property
    def message_bytes(self) -> float:
        """What a message counts when it is alone in its request."""
        return max(self.frame_bytes, amount("least_request_bytes"))


@dataclass(frozen=True)
class Traffic:
    """All streams of a deployment."""

    products: int
    streams: tuple[Stream, ...]

    def __getitem__(self, name: str) -> Stream:
        return next(each for each in self.streams if each.name == name)

    @property
    def messages_a_second(self) -> float:
        """Messages of the exchange that carry data."""
        return self["raw_orderbook"].rows_a_second + self["raw_trades"].rows_a_second


def traffic_of(products: int) -> Traffic:
    """Say what so many products send, the liveliest first."""
    book, trades, changes = _rates(products)
    settings = fixed_settings({})
    raw, fast = settings.frame_ms_raw / _MS, settings.frame_ms_features / _MS
    # Every product, and each of the four streams, once in a while.
    events = (products + 4) / amount("high_water_seconds")
    book_row = amount("book_row_bytes") + changes * amount("book_change_bytes")
    stored = amount("stored_book_row") + changes * amount("stored_book_change")
    features = _stream(
        "features", book, fast, amount("feature_row_bytes"), amount("stored_feature")
    )
    return Traffic(
        products,
        (
            _stream("raw_orderbook", book, raw, book_row, stored, changes),
            _stream("raw_trades", trades, raw, amount("trade_row_bytes"), amount("stored_trade")),
            features,
            # Those of all products come together, and no row of them is worth a line here.
            Stream("events", events, 1 / amount("high_water_seconds"),
                   _weight(products + 4, amount("event_row_bytes")), 0),
            Stream("predictions", book, features.frames_a_second,
                   _weight(book / features.frames_a_second, amount("answer_row_bytes")),
                   amount("stored_answer")),
        ),
    )  # fmt: skip


def _rates(products: int) -> tuple[float, float, float]:
    """Return book messages and trades a second, and changes a book message."""
    lively = min(products - 1, amount("lively_products"))
    counts = {"btc": 1.0, "lively": lively, "thin": products - 1 - lively}
    book = sum(count * amount(f"{kind}_book") for kind, count in counts.items())
    trades = sum(count * amount(f"{kind}_trades") for kind, count in counts.items())
    changes = sum(
        count * amount(f"{kind}_book") * amount(f"{kind}_changes") for kind, count in counts.items()
    )
    return book, trades, changes / book


def _stream(
    name: str, rows: float, window: float, row_bytes: float, stored: float, changes: float = 0
) -> Stream:
    guessed = rows * (_GUESSED_BYTES[name] + changes * _GUESSED_CHANGE_BYTES)
    # A window closes at its end if a row came, or early at the size that is guessed.
    frames = max((1 - math.exp(-rows * window)) / window, guessed / SOFT_LIMIT_BYTES)
    return Stream(name, rows, frames, _weight(rows / frames, row_bytes), stored)


def _weight(rows: float, row_bytes: float) -> float:
    return amount("message_bytes") + amount("frame_bytes") + rows * row_bytes
