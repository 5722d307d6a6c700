"""The table of losses: what is missing now against what was known, as rows to append.

A gap keeps the interval it was first seen with; `missing` says how much of it is still away. The
newest row of a gap_id counts.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import pyarrow as pa
from pyiceberg.table import Table

from quotewatch.intervals import Intervals
from quotewatch.market.outages import SILENT_US, Outage
from quotewatch.streams import TABLES

State = Literal["open", "healed", "permanent"]
Kind = Literal["frames", "quarantine", "trades", "book"]


class Scope(NamedTuple):
    """Whose ids they are: frames of a stream in an epoch, or trades of a product."""

    kind: Kind
    stream: str
    symbol: str | None = None
    epoch: str | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """One loss as it stands."""

    gap_id: str
    scope: Scope
    state: State
    at_us: int
    first_us: int  # when it was first seen
    from_id: int | None = None
    to_id: int | None = None
    missing: int | None = None
    from_us: int | None = None
    to_us: int | None = None
    reason: str | None = None

    @property
    def span(self) -> Intervals:
        """The ids it was first seen with."""
        if self.from_id is None or self.to_id is None:
            return Intervals.none()
        return Intervals.of([(self.from_id, self.to_id)])


def compare(
    known: Iterable[Gap],
    missing: Mapping[Scope, Intervals],
    now_us: int,
    *,
    patience_us: int,
    verdicts: Mapping[Scope, Mapping[str, str]] | None = None,
) -> list[Gap]:
    """Return the rows to append: gaps that are new, shrank, healed, or are permanent now.

    Frames are given up after `patience_us`; trades when the exchange has said why (`verdicts`:
    gap_id -> reason).
    """
    before: dict[Scope, list[Gap]] = defaultdict(list)
    for gap in known:
        if gap.scope.kind != "book":
            before[gap.scope].append(gap)
    changed = []
    for scope in before.keys() | missing.keys():
        holes = missing.get(scope, Intervals.none())
        reasons = (verdicts or {}).get(scope, {})
        covered = Intervals.none()
        for gap in before[scope]:
            covered |= gap.span
            now = _judged(gap, (holes & gap.span).count, now_us, patience_us, reasons)
            if now is not None:
                changed.append(now)
        changed += [_opened(scope, a, b, now_us) for a, b in holes - covered]
    return changed


def _judged(
    gap: Gap, left: int, now_us: int, patience_us: int, reasons: Mapping[str, str]
) -> Gap | None:
    """Return the gap as it is now, None where nothing has changed."""
    if not left:
        if gap.state == "healed":
            return None
        return replace(gap, state="healed", missing=0, at_us=_after(gap, now_us), reason=None)
    state: State = "permanent" if gap.state == "permanent" else "open"
    reason = gap.reason
    old_enough = now_us - gap.first_us >= patience_us
    if gap.gap_id in reasons:
        reason = reasons[gap.gap_id]
        if old_enough:
            state = "permanent"
    elif gap.scope.kind == "frames" and old_enough and gap.state != "healed":
        state, reason = "permanent", "not seen on the bus for two ack deadlines"
    if (state, left, reason) == (gap.state, gap.missing, gap.reason):
        return None
    return replace(gap, state=state, missing=left, at_us=_after(gap, now_us), reason=reason)


def _after(gap: Gap, now_us: int) -> int:
    """Return when a gap changes: the newest row counts, whatever clocks say."""
    return max(now_us, gap.at_us + 1)


def _opened(scope: Scope, first: int, last: int, now_us: int) -> Gap:
    parts = [scope.kind, scope.stream, scope.symbol or scope.epoch or "", f"{first}-{last}"]
    return Gap(":".join(parts), scope, "open", now_us, now_us, first, last, last - first + 1)


def compare_outages(
    known: Iterable[Gap], found: Iterable[Outage], now_us: int, *, since_us: int
) -> list[Gap]:
    """Return the rows to append for stretches without a book; what is older is not looked at.

    Entries that begin in the middle of lives tell of a book only after a while.
    """
    told_us = since_us + SILENT_US if since_us else 0
    before = {gap.gap_id: gap for gap in known if gap.scope.kind == "book" and _told(gap, told_us)}
    outages = [gap for gap in (_of_outage(each, now_us) for each in found) if _told(gap, told_us)]
    changed = []
    for gap in outages:
        old = before.pop(gap.gap_id, None)
        if old is None:
            changed.append(gap)
        elif _differs(old, gap):
            changed.append(replace(gap, first_us=old.first_us, at_us=_after(old, now_us)))
    for gap in before.values():
        if gap.state != "healed":
            reason = "later entries show a valid book"
            changed.append(replace(gap, state="healed", at_us=_after(gap, now_us), reason=reason))
    return changed


def _told(gap: Gap, told_us: int) -> bool:
    return gap.from_us is not None and gap.from_us >= told_us


def _differs(one: Gap, other: Gap) -> bool:
    return (one.state, one.to_us, one.reason) != (other.state, other.to_us, other.reason)


def _of_outage(outage: Outage, now_us: int) -> Gap:
    """Book changes that nobody received cannot be fetched: once over, the loss stays."""
    return Gap(
        f"book:{outage.symbol}:{outage.from_us}",
        Scope("book", "raw_orderbook", outage.symbol, outage.epoch),
        "open" if outage.to_us is None else "permanent",
        now_us,
        now_us,
        from_us=outage.from_us,
        to_us=outage.to_us,
        reason=outage.reason,
    )


# Rows


def read_gaps(table: Table) -> list[Gap]:
    """Return every gap as its newest row says."""
    latest: dict[str, Gap] = {}
    for batch in table.scan().to_arrow_batch_reader():
        plain = batch.schema
        for place, field in enumerate(plain):
            if pa.types.is_timestamp(field.type):
                plain = plain.set(place, pa.field(field.name, pa.int64()))
        for row in batch.cast(plain).to_pylist():
            gap = _gap_of(row)
            other = latest.setdefault(gap.gap_id, gap)
            newest = gap if gap.at_us >= other.at_us else other
            latest[gap.gap_id] = replace(newest, first_us=min(gap.first_us, other.first_us))
    return list(latest.values())


def _gap_of(row: Mapping[str, Any]) -> Gap:
    return Gap(
        row["gap_id"],
        Scope(row["kind"], row["stream"], row["symbol"], row["epoch"]),
        row["state"],
        row["at"],
        row["at"],
        row["from_id"],
        row["to_id"],
        row["missing"],
        row["from_time"],
        row["to_time"],
        row["reason"],
    )


def rows_of_gaps(gaps: Sequence[Gap], by: str) -> pa.Table:
    """Return gaps as rows of their table."""
    plain = [
        {
            "gap_id": gap.gap_id,
            "stream": gap.scope.stream,
            "kind": gap.scope.kind,
            "state": gap.state,
            "at": gap.at_us,
            "by": by,
            "symbol": gap.scope.symbol,
            "from_id": gap.from_id,
            "to_id": gap.to_id,
            "missing": gap.missing,
            "from_time": gap.from_us,
            "to_time": gap.to_us,
            "epoch": gap.scope.epoch,
            "reason": gap.reason,
        }
        for gap in gaps
    ]
    schema = TABLES["gaps"].schema
    columns = [
        pa.array([row[name] for row in plain], schema.field(name).type) for name in schema.names
    ]
    return pa.Table.from_arrays(columns, schema=schema)
