"""Where rows go over to a book that is under way already, put that book before them. Pure.

An epoch that speaks again after a newer one has failed sent no snapshot for that: without one, its
updates would be applied to the other epoch's book.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from quotewatch.tables.records import BookRecord

Record = TypeVar("Record")


def resumed(
    rows: Iterable[Record],
    book_before: Callable[[BookRecord], BookRecord | None],
    *,
    opening: bool,
) -> Iterator[Record | BookRecord]:
    """Yield the rows, and a made snapshot where an epoch begins to speak in the middle of a book.

    Where the first rows of a product do so, only if an opening is asked for.
    """
    current: dict[str, str] = {}
    for row in rows:
        if isinstance(row, BookRecord):
            spoke = current.get(row.symbol, "" if opening else row.epoch)
            current[row.symbol] = row.epoch
            made = None if row.snapshot or spoke == row.epoch else book_before(row)
            if made is not None:
                yield made
        yield row


def book_after(rows: Iterable[BookRecord], until: BookRecord) -> BookRecord | None:
    """Put the book before a row together from the rows of its life; None without a snapshot."""
    levels: dict[tuple[str, str], str] | None = None
    last = until
    for row in rows:
        if row.book != until.book or row.arrival >= until.arrival:
            continue
        if row.snapshot:
            levels = {}
        if levels is not None:
            _apply(levels, row)
            last = row
    if levels is None:
        return None
    return BookRecord(
        until.symbol,
        until.book,
        snapshot=True,
        changes=[(side, price, size) for (side, price), size in levels.items()],
        exchange_us=None,
        arrival=last.arrival,
        received_us=until.received_us,
        epoch=until.epoch,
        conn=until.conn,
        made=True,
    )


def _apply(levels: dict[tuple[str, str], str], row: BookRecord) -> None:
    for side, price, size in row.changes:
        if size == "0":
            levels.pop((side, price), None)
        else:
            levels[side, price] = size
