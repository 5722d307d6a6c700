"""The rows of the frames that wait on a bus, for people or for programs; nothing is consumed.

Frames are read one after the other: a long queue does not fill the memory.
"""

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

from quotewatch.bus.opening import open_bus
from quotewatch.bus.port import Bus
from quotewatch.bus.sqlite import SqliteBus
from quotewatch.bus.topology import topology, write_subscription
from quotewatch.errors import SettingsError
from quotewatch.frames import decode, identify
from quotewatch.local.proof.row_keys import plain_text
from quotewatch.local.stack import bus_path
from quotewatch.local.tap import console_subscription
from quotewatch.message import Message
from quotewatch.settings import load_settings
from quotewatch.streams import STREAMS

_SHOWN = 8  # rows from either end
_PEEKED = 1_000  # messages, where a queue cannot be walked through
_PIPE_WIDTH = 160
# What people see; programs get every column.
_COLUMNS = {
    "raw_orderbook": ("symbol", "kind", "book", "changes", "exchange_time", "feed_seq", "conn"),
    "raw_trades": ("symbol", "trade_id", "price", "size", "taker_side", "exchange_time", "live"),
    "features": ("symbol", "book", "exchange_time", "best_bid", "best_ask", "spread_bps",
                 "imbalance", "microprice_bps", "volatility", "trade_imbalance"),
    "events": ("received_at", "kind", "symbol", "book", "stream", "from_id", "to_id", "count",
               "reason"),
    "predictions": ("row", "symbol", "exchange_time", "horizon_ms", "model_version", "probability",
                    "prediction", "predicted_at"),
}  # fmt: skip

Row = dict[str, Any]


@dataclass(frozen=True)
class Listing:
    """What is asked for. Without `data` the environment says where the bus is."""

    stream: str
    subscription: str | None = None
    data: Path | None = None


def list_frames(listing: Listing, out: TextIO, *, as_json: bool) -> int:
    """Write the rows and return the exit code."""
    subscription = _subscription(listing)
    bus = _open(listing.data)
    try:
        messages = _waiting(bus, subscription)
        if as_json:
            out.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows_of(messages))
        else:
            console = Console(file=out, width=None if out.isatty() else _PIPE_WIDTH)
            _show(messages, listing.stream, subscription, console)
        out.flush()
    finally:
        bus.close()
    return 0


def rows_of(messages: Iterable[Message]) -> Iterator[Row]:
    """Yield every row with its lineage, in values that JSON has."""
    for message in messages:
        yield from _rows_in(message)


def _rows_in(message: Message) -> Iterator[Row]:
    frame = decode(message)
    lineage = {"epoch": frame.id.epoch, "seq": frame.id.seq}
    for number, row in enumerate(frame.rows.to_pylist()):
        # A prediction names its row itself.
        yield {**lineage, "row": number, **{name: _plain(value) for name, value in row.items()}}


def _plain(value: object) -> object:
    match value:
        case Decimal():
            return plain_text(value)
        case datetime():
            text = value.astimezone(UTC).isoformat(timespec="microseconds")
            return text.replace("+00:00", "Z")
        case list():
            return [_plain(item) for item in value]
        case dict():
            return {name: _plain(item) for name, item in value.items()}
    return value


# Where the frames are


def _open(data: Path | None) -> Bus:
    if data is not None:
        return SqliteBus(_existing(bus_path(data)))
    settings = load_settings()
    if settings.bus == "sqlite":
        return SqliteBus(_existing(settings.bus_path))
    return open_bus(settings.bus, project=settings.project)


def _existing(path: Path) -> Path:
    # Opening a bus makes its file: looking must not.
    if path.is_file():
        return path
    others = sorted(path.parent.glob("*/bus.db"), key=lambda other: other.stat().st_mtime)
    hint = f"; the newest run below it: --data {others[-1].parent}" if others else ""
    raise SettingsError(f"no bus at {path}: name the data directory of a run with --data{hint}")


def _subscription(listing: Listing) -> str:
    """Return whose frames are asked for; a name that cannot exist is refused here."""
    stream = listing.stream
    if stream not in STREAMS:
        raise SettingsError(f"no such stream: {stream}; there are {', '.join(STREAMS)}")
    prefixes = (f"{stream}.", f"{stream}-dead.")
    known = [each.name for each in topology().subscriptions if each.name.startswith(prefixes)]
    known.append(console_subscription(stream))
    asked = listing.subscription or write_subscription(stream)
    if asked not in known:
        raise SettingsError(
            f"no such subscription of {stream}: {asked}; there are {', '.join(known)}"
        )
    return asked


def _waiting(bus: Bus, subscription: str) -> Iterator[Message]:
    walk = (
        bus.browse(subscription)
        if isinstance(bus, SqliteBus)
        else bus.peek(subscription, max_messages=_PEEKED)
    )
    for waiting in walk:
        yield waiting.message


# For people


def _show(messages: Iterable[Message], stream: str, subscription: str, console: Console) -> None:
    """Show the first and the last rows; of what is between only the number is read."""
    head: list[Row] = []
    tail: deque[Message] = deque()
    frames = rows = tail_rows = 0
    for message in messages:
        count = int(message.attributes["rows"]) if identify(message) else 0
        frames, rows = frames + 1, rows + count
        if len(head) < _SHOWN:
            head.extend(_rows_in(message))
        else:
            tail.append(message)
            tail_rows += count
            while tail_rows - int(tail[0].attributes["rows"]) >= _SHOWN:
                tail_rows -= int(tail.popleft().attributes["rows"])
    last = [*head[_SHOWN:], *rows_of(tail)][-_SHOWN:]
    first = head[:_SHOWN]
    between = rows - len(first) - len(last)
    console.print(_table(stream, first, last, cut=between > 0))
    note = f"{rows:,} rows in {frames:,} frames wait in {subscription}"
    more = f"; {between:,} more than shown, --json has all of them" if between else ""
    console.print(note + more, highlight=False, soft_wrap=True)


def _table(stream: str, first: list[Row], last: list[Row], *, cut: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = _COLUMNS[stream]
    for name in ("seq", "row", *columns):
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    for row in first:
        table.add_row(*_cells(row, columns))
    if cut:
        table.add_row("…", style="dim")
    for row in last:
        table.add_row(*_cells(row, columns))
    return table


def _cells(row: Mapping[str, Any], columns: Iterable[str]) -> Iterator[str]:
    yield str(row["seq"])
    yield str(row["row"])
    for name in columns:
        yield _cell(name, row[name])


def _cell(name: str, value: object) -> str:
    match value:
        case None:
            return ""
        case float():
            return f"{value:.6g}"
        case list():
            return f"{len(value)} levels"
        case str() if name in {"exchange_time", "received_at"}:
            return value[11:]
    return str(value)
