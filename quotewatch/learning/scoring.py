"""How good answers were, beside two that cost nothing: the base rate, the newest known label. Pure.

A window keeps the newest scored rows, in order of scoring. It is a function of the sequence of
rows: in what portions they came does not show.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import zstandard

from quotewatch.errors import ModelError
from quotewatch.learning.inputs import Flags, Floats
from quotewatch.learning.measures import auc, balanced_accuracy, brier, calibration_error, log_loss

Integers: TypeAlias = npt.NDArray[np.integer[Any]]

UNKNOWN = -1  # among labels: none was known yet
WINDOW_ROWS = 10_000
_LARGEST_BYTES = 4_000_000  # of Arrow; what a window of long symbols takes is a third of it

_SCORED = ("label", "probability", "prediction", "persisted")  # in the order of `score`
_TYPES = (pa.int64(), pa.string(), pa.int8(), pa.float64(), pa.int8(), pa.int8())
_ROWS = pa.schema(
    [
        pa.field(name, kind, nullable=False)
        for name, kind in zip(("batch", "symbol", *_SCORED), _TYPES, strict=True)
    ]
)


@dataclass(frozen=True, slots=True)
class Baseline:
    """What answers without a model would have scored."""

    n: int
    auc: float | None
    brier: float | None
    log_loss: float | None
    balanced_accuracy: float | None


@dataclass(frozen=True, slots=True)
class Scores:
    """What a model's answers scored."""

    n: int
    positives: int
    base_rate: float | None
    auc: float | None
    brier: float | None
    log_loss: float | None
    balanced_accuracy: float | None
    calibration_error: float | None
    base_rate_only: Baseline  # of these very rows: known in hindsight only, so hard to beat
    persistence: Baseline  # over the rows for which a label was known


def score(
    labels: Integers, probabilities: Floats, predictions: Integers, persisted: Integers
) -> Scores:
    """Score answers; `persisted` is the newest label known when each row was seen, or UNKNOWN."""
    _check(labels, probabilities, predictions, persisted)
    ones = labels == 1
    positives = int(np.count_nonzero(ones))
    return Scores(
        n=len(ones),
        positives=positives,
        base_rate=positives / len(ones) if len(ones) else None,
        auc=auc(ones, probabilities),
        brier=brier(ones, probabilities),
        log_loss=log_loss(ones, probabilities),
        balanced_accuracy=balanced_accuracy(ones, predictions == 1),
        calibration_error=calibration_error(ones, probabilities),
        base_rate_only=_base_rate_only(ones),
        persistence=_persistence(ones, persisted),
    )


def persisted(
    codes: Integers, exchange_us: Integers, arrival: Integers, labels: Integers, horizon_us: int
) -> npt.NDArray[np.int8]:
    """Return for each row the newest label of its product that was known then, or UNKNOWN.

    A label is known once a horizon has passed since its row, in exchange time: what comes at that
    very time may be what decides it. `codes` tell lives of books apart.
    """
    if not len(codes):
        return np.empty(0, np.int8)
    ranks = np.unique(codes, return_inverse=True)[1]
    order = np.lexsort((arrival, exchange_us, ranks))
    # One number that sorts by product and then by time: 1 is the first moment, 0 is before it.
    times = exchange_us - exchange_us.min() + 1
    width = int(times.max()) + 1
    keys = (ranks * width + times)[order]
    wanted = ranks * width + np.maximum(times - horizon_us, 0)
    newest = order[np.searchsorted(keys, wanted, "left") - 1]
    # Where there is none, the place found belongs to the product before, or is the last of all.
    known = (ranks[newest] == ranks) & (times[newest] + horizon_us < times)
    return np.where(known, labels[newest], UNKNOWN).astype(np.int8)


def _check(
    labels: Integers, probabilities: Floats, predictions: Integers, persisted: Integers
) -> None:
    if not labels.shape == probabilities.shape == predictions.shape == persisted.shape:
        raise ValueError("labels, probabilities, predictions and persisted differ in length")
    if not (_among(labels, 0, 1) and _among(predictions, 0, 1) and _among(persisted, -1, 0, 1)):
        raise ValueError("labels and predictions are 0 or 1, persisted labels -1, 0 or 1")
    # Written so that NaN is refused too.
    if not ((probabilities >= 0.0) & (probabilities <= 1.0)).all():
        raise ValueError("a probability lies between 0 and 1: score usable rows only")


def _among(values: Integers, *allowed: int) -> bool:
    return bool(np.isin(values, allowed).all())


def _base_rate_only(ones: Flags) -> Baseline:
    rate = np.full(len(ones), ones.mean() if len(ones) else 0.0)
    both = 0.5 if ones.any() and not ones.all() else None
    return Baseline(len(ones), both, brier(ones, rate), log_loss(ones, rate), both)


def _persistence(ones: Flags, persisted: Integers) -> Baseline:
    known = persisted != UNKNOWN
    ones, said = ones[known], persisted[known] == 1
    # Certain every time, and wrong at times: the logarithm has nothing to say.
    return Baseline(
        len(ones), auc(ones, said), brier(ones, said * 1.0), None, balanced_accuracy(ones, said)
    )


@dataclass(frozen=True, slots=True)
class ScoreWindow:
    """Up to WINDOW_ROWS rows. Equal windows hold equal rows."""

    rows: pa.Table

    @classmethod
    def empty(cls) -> Self:
        """Return a window of no rows."""
        return cls(_ROWS.empty_table())

    @classmethod
    def of(cls, plain: bytes) -> Self:
        """Return the window that `plain` wrote; ModelError for anything else."""
        try:
            rows = _read(plain)
            _check(*_scored(rows))
        except (zstandard.ZstdError, pa.ArrowException, OSError, ValueError) as error:
            raise ModelError(f"the window of scored rows cannot be read ({error})") from error
        return cls(rows)

    def add(
        self,
        batch: int | Integers,
        symbols: Sequence[str | None],
        labels: Integers,
        probabilities: Floats,
        predictions: Integers,
        persisted: Integers,
    ) -> Self:
        """Return a window with more rows; the oldest make room. `batch` is one for all, or each."""
        _check(labels, probabilities, predictions, persisted)
        columns: list[Any] = [
            np.full(len(labels), batch), symbols, labels, probabilities, predictions, persisted,
        ]  # fmt: skip
        arrays = [
            pa.array(column, field.type) for column, field in zip(columns, _ROWS, strict=True)
        ]
        new = pa.Table.from_arrays(arrays, schema=_ROWS)
        _check_complete(new)
        rows = pa.concat_tables([self.rows, new])
        return type(self)(rows.slice(max(0, rows.num_rows - WINDOW_ROWS)).combine_chunks())

    def plain(self) -> bytes:
        """Return the window as bytes: zstd over Arrow."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, _ROWS) as writer:
            writer.write_table(self.rows)
        return zstandard.ZstdCompressor().compress(memoryview(sink.getvalue()))

    def report(self) -> dict[str, Any]:
        """Return the scores of all rows and of each product, and the batches they came from."""
        scored = _scored(self.rows)
        symbols = np.array(self.rows["symbol"].to_pylist(), object)
        batches = self.rows["batch"].to_numpy().tolist()
        return {
            "all": _plain(score(*scored)),
            "by_product": {
                symbol: _plain(score(*(column[symbols == symbol] for column in scored)))
                for symbol in sorted(set(symbols))
            },
            "from": min(batches, default=None),
            "to": max(batches, default=None),
        }


def _check_complete(rows: pa.Table) -> None:
    if any(column.null_count for column in rows.columns):
        raise ValueError("a scored row has a null: every row has a batch and a symbol")


def _plain(scores: Scores) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(scores)
    return plain


def _scored(rows: pa.Table) -> tuple[npt.NDArray[Any], ...]:
    return tuple(rows[name].to_numpy() for name in _SCORED)


def _read(plain: bytes) -> pa.Table:
    size = zstandard.get_frame_parameters(plain).content_size
    if size > _LARGEST_BYTES:  # an unknown size is said as a huge one
        raise ValueError(f"{size} bytes unpacked are too many")
    with pa.ipc.open_stream(zstandard.ZstdDecompressor().decompress(plain)) as reader:
        rows = reader.read_all()
    rows.validate(full=True)  # an offset that is wrong would end this process
    if not rows.schema.equals(_ROWS):
        raise ValueError(f"its columns are {rows.schema.names}, of {rows.schema.types}")
    _check_complete(rows)
    if rows.num_rows > WINDOW_ROWS:
        raise ValueError(f"{rows.num_rows} rows are too many")
    return rows.combine_chunks()
