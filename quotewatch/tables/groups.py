"""Which small files of a table become one: files as a planner sees them in, groups out. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.types import (
    BooleanType,
    DateType,
    DecimalType,
    FloatType,
    IcebergType,
    IntegerType,
    StringType,
)

from quotewatch.clock import NS_PER_SECOND

# In memory, estimated. Reading, sorting and writing take some three times as much.
GROUP_BYTES = 128_000_000
# A group ends where the next small file does not fit: by then it holds more than two thirds, so
# what comes of it is not small, and nothing is merged again and again.
SMALL_BYTES = GROUP_BYTES // 3

# A day that is not over: commits get slower with the files there are, so old ones are merged.
OPEN_FILES = 64
OPEN_FILES_LEFT = 16
LATE_SECONDS = 3_600  # a day is over an hour after midnight

_DAY_NS = 86_400 * NS_PER_SECOND
_COMPRESSION = 12  # of files that do not say how many values they hold
_WIDTHS: Mapping[type[IcebergType], int] = {
    BooleanType: 1,
    IntegerType: 4,
    FloatType: 4,
    DateType: 4,
    DecimalType: 16,
    StringType: 16,
}
_WIDTH = 8


@dataclass(frozen=True, slots=True)
class Piece:
    """One data file as the planner sees it."""

    path: str
    day: int  # days since 1970
    bytes: int  # in memory, estimated
    sequence: int  # of the commit that brought it

    @property
    def is_small(self) -> bool:
        """Whether it is worth rewriting."""
        return self.bytes < SMALL_BYTES


def first_open_day(now_ns: int) -> int:
    """Return the first day that may still get rows, as days since 1970."""
    return (now_ns - LATE_SECONDS * NS_PER_SECOND) // _DAY_NS


def plan_groups(pieces: Iterable[Piece], open_day: int) -> list[list[Piece]]:
    """Say which files become one: never across days, and the newest day first."""
    days: dict[int, list[Piece]] = defaultdict(list)
    for piece in pieces:
        if piece.is_small:
            days[piece.day].append(piece)
    groups: list[list[Piece]] = []
    for day in sorted(days, reverse=True):
        ordered = sorted(days[day], key=lambda each: (each.sequence, each.path))
        groups += _packed(ordered if day < open_day else _oldest(ordered))
    return groups


def _oldest(ordered: list[Piece]) -> list[Piece]:
    """Of a day that still grows: all but the newest files, once there are many."""
    return ordered[:-OPEN_FILES_LEFT] if len(ordered) > OPEN_FILES else []


def _packed(ordered: list[Piece]) -> list[list[Piece]]:
    """Fill one group after the other; a file alone is no group."""
    groups: list[list[Piece]] = []
    room = -1
    for piece in ordered:
        if piece.bytes > room:
            groups.append([])
            room = GROUP_BYTES
        groups[-1].append(piece)
        room -= piece.bytes
    return [group for group in groups if len(group) > 1]


def widths_of(schema: Schema) -> dict[int, int]:
    """Say what a value of each column takes in memory."""
    return {each: _WIDTHS.get(type(schema.find_type(each)), _WIDTH) for each in schema.field_ids}


def memory_of(file: DataFile, widths: Mapping[int, int]) -> int:
    """Estimate what a file takes in memory from the number of values in each of its columns.

    Rows would mislead, because one snapshot of a book is worth ten thousand updates; so would
    compressed bytes. And it adds up: what is merged is estimated as its parts were.
    """
    counts = file.value_counts or {}
    if not counts:
        return file.file_size_in_bytes * _COMPRESSION
    return sum(count * widths.get(column, _WIDTH) for column, count in counts.items())
