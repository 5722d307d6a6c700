"""Rows in the order of their table: what comes from one gateway is nearly sorted already.

Comparing strings and moving nested lists is what sorting in Arrow spends its time on; here products
are compared as numbers and lists are moved by their elements. Three to five times faster.
"""

from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from quotewatch.streams import TableLayout

_LAST = np.iinfo(np.int64).max  # nulls come last

Numbers = npt.NDArray[np.int64]


def in_table_order(rows: pa.Table, layout: TableLayout) -> pa.Table:
    """Sort rows as every file of the table is sorted."""
    keys = [_key(rows.column(name)) for name in layout.sort]
    order = np.argsort(keys[0], kind="stable")
    if not _is_sorted([key[order] for key in keys]):
        order = np.lexsort(tuple(reversed(keys)))
    if np.array_equal(order, np.arange(order.size)):
        return rows
    return take(rows, order)


def take(rows: pa.Table, places: Numbers) -> pa.Table:
    """Return the rows at these places, in their order."""
    chosen: Any = pa.array(places)
    columns = []
    for column in rows.columns:
        whole = column.combine_chunks()
        columns.append(_take_lists(whole, places) if _is_list(whole) else whole.take(chosen))
    return pa.Table.from_arrays(columns, schema=rows.schema)


def _key(column: "pa.ChunkedArray[Any]") -> Numbers:
    """Return integers that sort as the column does."""
    whole: Any = column.combine_chunks()
    if pa.types.is_string(whole.type) or pa.types.is_large_string(whole.type):
        whole = whole.dictionary_encode()
    if not pa.types.is_dictionary(whole.type):
        found: Numbers = whole.cast(pa.int64()).fill_null(_LAST).to_numpy()
        return found
    names = whole.dictionary.to_pylist()
    ranks = np.empty(len(names) + 1, np.int64)
    ranks[np.argsort(np.array(names, object), kind="stable")] = np.arange(len(names))
    ranks[len(names)] = len(names)  # of null
    # Small integers are sorted without comparing them.
    kind = np.int16 if len(names) < np.iinfo(np.int16).max else np.int64
    codes = whole.indices.cast(pa.int64()).fill_null(len(names)).to_numpy()
    small: Any = ranks.astype(kind)[codes]
    return cast("Numbers", small)


def _is_sorted(keys: list[Numbers]) -> bool:
    """Say whether rows are in order, looking at one key after the other."""
    equal = np.ones(max(keys[0].size - 1, 0), np.bool_)
    for key in keys:
        if np.any(equal & (key[1:] < key[:-1])):
            return False
        equal &= key[1:] == key[:-1]
    return True


def _is_list(column: Any) -> bool:  # noqa: ANN401 - of any type
    return bool(pa.types.is_list(column.type) and pa.types.is_struct(column.type.value_type))


def _take_lists(column: Any, places: Numbers) -> Any:  # noqa: ANN401 - the stubs know no lists
    """Move lists of records by moving each field of their elements."""
    if column.null_count:
        return column.take(pa.array(places))
    offsets = column.offsets.to_numpy().astype(np.int64)
    lengths = np.diff(offsets)[places]
    ends = np.concatenate(([0], np.cumsum(lengths)))
    starts = np.repeat(offsets[:-1][places] - ends[:-1], lengths)
    elements: Any = pa.array(starts + np.arange(ends[-1]))
    records = column.values
    fields = [records.field(at).take(elements) for at in range(records.type.num_fields)]
    moved = pa.StructArray.from_arrays(fields, fields=list(records.type))
    bounds: Any = pa.array(ends.astype(np.int32))
    return pa.ListArray.from_arrays(bounds, moved, type=column.type)


def integers(rows: pa.Table, name: str) -> Numbers:
    """Return a column of numbers or times as 64-bit integers."""
    column: Any = rows.column(name).cast(pa.int64())
    return np.asarray(column.to_numpy(), np.int64)


def codes_of(column: "pa.ChunkedArray[Any]") -> tuple[Numbers, list[str]]:
    """Return a column of words as numbers and the words they stand for."""
    whole: Any = column.combine_chunks()
    if not pa.types.is_dictionary(whole.type):
        whole = pc.dictionary_encode(whole)
    codes: Numbers = whole.indices.to_numpy()
    return codes, whole.dictionary.to_pylist()
