"""The gateway's journal: what happens to completeness upstream of the bus is data, a row each.

Every entry is a row of `events`, a counter with its kind and reason, and a log line; repeated
lines are held back and counted, so that a flood of bad messages is no flood of logs.
"""

from collections import Counter
from typing import Any

from ingest_gateway.tape import Tape
from quotewatch.logs import get_logger
from quotewatch.metrics.declared.capture import EVENT_REASONS
from quotewatch.metrics.metric import OTHER

_LONGEST = 300  # characters of a text in a log line
_QUIET_US = 10_000_000  # the same line at most once in ten seconds
_ROUTINE = frozenset({"high_water", "final"})

_log = get_logger("gateway")


class Journal:
    """Writes events to the tape, counts them and logs them."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._logged_us: dict[tuple[str, str | None, str | None], int] = {}
        self._held_back: Counter[tuple[str, str | None, str | None]] = Counter()
        self.counts: Counter[tuple[str, str]] = Counter()  # (kind, reason), for the metrics
        self.missed_trades = 0  # in the gaps noted

    def note(
        self,
        kind: str,
        received_us: int,
        conn: int,
        *,
        at_us: int | None = None,
        symbol: str | None = None,
        book: int | None = None,
        stream: str | None = None,
        from_id: int | None = None,
        to_id: int | None = None,
        count: int | None = None,
        reason: str | None = None,
        **details: object,
    ) -> None:
        """Write one entry; `details` go to the log line only."""
        tape = self._tape
        tape.events.extend(
            (
                kind,
                at_us,
                received_us,
                conn,
                symbol,
                book,
                stream,
                from_id,
                to_id,
                count,
                reason,
                tape.arrival,
            )
        )
        self.counts[kind, reason_label(reason)] += 1
        if kind == "gap" and stream == "raw_trades":
            self.missed_trades += count or 0
        if kind not in _ROUTINE:
            fields = {"symbol": symbol, "book": book, "stream": stream, "from_id": from_id,
                      "to_id": to_id, "count": count, "reason": reason} | details  # fmt: skip
            self._log(kind, received_us, conn, fields)

    def _log(self, kind: str, received_us: int, conn: int, fields: dict[str, Any]) -> None:
        reason = fields["reason"]
        # What a peer says when it closes may be new each time, and what is logged is remembered.
        key = (kind, fields["symbol"], reason_label(reason) if kind == "close" else reason)
        last = self._logged_us.get(key)
        if last is not None and 0 <= received_us - last < _QUIET_US:
            self._held_back[key] += 1
            return
        self._logged_us[key] = received_us
        held_back = self._held_back.pop(key, 0)
        if held_back:
            fields["held_back"] = held_back
        present = {name: _cut(value) for name, value in fields.items() if value is not None}
        level = _log.info if kind in {"start", "open", "snapshot"} else _log.warning
        level(kind, conn=conn, **present)


def reason_label(reason: str | None) -> str:
    """Name a reason from a closed set: what follows its first word is an id or a free text."""
    word = (reason or "").partition(" ")[0]
    return word if word in EVENT_REASONS else OTHER


def _cut(value: object) -> object:
    """Keep a line a line: a peer may send a product id of megabytes."""
    return value[:_LONGEST] if isinstance(value, str) else value
