"""Columns of decimals as whole numbers: exact sums without a Decimal for each value."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_WIDE = pa.decimal128(38, 18)
_NARROW = pa.decimal128(38, 8)
_MOST = 1 << 61  # two of them fit into 64 bits together
_LOW = (1 << 64) - 1


def sum_of(first: Any, second: Any) -> npt.NDArray[Any]:  # noqa: ANN401 - the stubs know no decimals
    """Add two columns: in units of 1e-8 and 64 bits where that is exact, else as Python's ints."""
    narrow = [_narrow(each) for each in (first, second)]
    if narrow[0] is not None and narrow[1] is not None:
        return narrow[0] + narrow[1]
    wide = [np.array(_whole(each), object) for each in (first, second)]
    both: npt.NDArray[Any] = wide[0] + wide[1]
    return both


def _narrow(column: Any) -> npt.NDArray[np.int64] | None:  # noqa: ANN401
    try:
        halves = _halves(column.cast(_NARROW))
    except pa.ArrowInvalid:  # it would lose digits
        return None
    low, high = halves[:, 0], halves[:, 1]
    fits = not high.any() and bool(((low >= 0) & (low < _MOST)).all())
    return low if fits else None


def _whole(column: Any) -> list[int]:  # noqa: ANN401
    halves = _halves(column.cast(_WIDE)).tolist()
    return [(high << 64) + (low & _LOW) for low, high in halves]


def _halves(column: Any) -> npt.NDArray[np.int64]:  # noqa: ANN401
    """Return the two halves of each 128-bit number, the lower one first."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if not len(whole):
        return np.empty((0, 2), np.int64)
    buffer: Any = whole.buffers()[1]
    halves = np.frombuffer(buffer, np.int64).reshape(-1, 2)
    return halves[whole.offset : whole.offset + len(whole)]
