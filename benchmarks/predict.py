"""Answering features: rows a second and core beside river, and a push through the deployed door.

river's scaler and logistic regression have learnt the same rows and are asked row by row, with the
same inputs ready as dicts. A push is a request to a real functions-framework process, the answer
on a SQLite bus when it returns; beside it a function that does nothing with the same body.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _timing, predict_push, trained
from benchmarks.feature_rows import HORIZON_MS, frames_of
from quotewatch.clock import SystemClock
from quotewatch.frames import decode, decode_carried
from quotewatch.learning.inputs import INPUTS, Floats, inputs_of
from quotewatch.learning.model import Model
from quotewatch.learning.serving import Served
from quotewatch.logs import configure_logs
from quotewatch.message import Message
from quotewatch.metrics.recorder import Recorder
from quotewatch.objects.local import LocalObjects
from quotewatch.stages.predict import PredictStage

_HERE = "benchmarks.predict"
_FRAMES = {1_000: 20, 100: 30, 10: 30}  # rows a frame -> frames a pass
_ROUNDS = 4  # of fresh processes, ours and theirs by turns
_PASSES = 60  # the cores change their speed within a second: as long for both
_THEIR_PASSES = 15
_THEIR_ROWS = 10_000
_AIMED_ROWS, _AIM = 1_000, 10.0
_PUSHED = (10, 1_000)
_ROW_BY_ROW = "river"

Found = dict[str, float]


def main() -> None:
    """Measure ours and river by turns, then the door, and print the tables."""
    ours: dict[int, list[Found]] = {size: [] for size in _FRAMES}
    theirs: list[Found] = []
    for _ in range(_ROUNDS):
        try:
            theirs.append(_timing.measure(_HERE, _ROW_BY_ROW))
        except _timing.MeasureError as error:
            print(f"  river skipped: {error}")
        for size, found in ours.items():
            found.append(_timing.measure(_HERE, "ours", str(size)))
    river = _best(theirs)
    _timing.print_table(
        "Answers, rows/s of one core, CPU, best of many",
        [line for size, found in ours.items() for line in _lines(size, _best(found), river)],
    )
    _timing.print_table(
        f"A push through functions-framework on loopback, ms, {predict_push.REQUESTS} one after"
        " the other",
        [predict_push.line(rows) for rows in _PUSHED],
    )


def _best(found: Sequence[Found]) -> Found:
    return {name: max(each[name] for each in found) for name in (found[0] if found else ())}


def _lines(size: int, ours: Found, river: Found) -> list[dict[str, object]]:
    peer = river.get(_ROW_BY_ROW)
    return [
        {
            "what": name,
            "rows a frame": size,
            "us a frame": size / rate * 1e6,
            "rows/s": round(rate),
            **{f"{way} rows/s": round(each) for way, each in river.items()},
            "of river": rate / peer if peer else None,
            "aim": _AIM if size == _AIMED_ROWS else None,
        }
        for name, rate in ours.items()
    ]


# Ours


class _Memory:
    """A bus that keeps what was published last."""

    message = Message(b"")

    def publish(self, _: str, messages: Sequence[Message]) -> list[str]:
        self.message = messages[-1]
        return ["1"] * len(messages)


def _ours(size: int) -> Found:
    configure_logs(level=50)
    messages = frames_of(size, _FRAMES[size])
    batches = [decode_carried(each).rows for each in messages]
    bus: Any = _Memory()
    with tempfile.TemporaryDirectory() as folder:
        objects = LocalObjects(Path(folder))
        model = trained.serve(objects)
        served = Served(objects, (HORIZON_MS,), SystemClock(), recheck_seconds=3_600.0)
        stage = PredictStage(bus, served, Recorder("bench"), SystemClock())
        work: dict[str, Callable[[], object]] = {
            "inputs and answer": lambda: [model.answers(inputs_of(rows)) for rows in batches],
            "handle, no bus": lambda: [stage.handle(each) for each in messages],
        }
        found = {name: _rate(size * len(messages), each, _PASSES) for name, each in work.items()}
    _check(bus.message, messages[-1], model)
    return found


def _check(answer: Message, asked: Message, model: Model) -> None:
    """Look whether all rows were answered, and not all alike."""
    said = decode(answer).rows
    expected, _ = model.answers(inputs_of(decode(asked).rows))
    if not np.array_equal(np.asarray(said.column("probability")), expected):
        raise _timing.MeasureError("the published answers are not those of the model")
    if said.num_rows > 100 and len(set(said.column("prediction").to_pylist())) < 2:
        raise _timing.MeasureError("the model gives every row the same answer")


# river


def _river() -> Found:
    taught = trained.lesson()
    xs = _dicts_of(taught.inputs.matrix)
    river = _trained_river(xs, taught.labels.tolist())
    asked, matrix = xs[:_THEIR_ROWS], taught.inputs.matrix[:_THEIR_ROWS]

    def row_by_row() -> None:
        ask = river.predict_proba_one
        for x in asked:
            ask(x)

    found = {_ROW_BY_ROW: _rate(len(asked), row_by_row, _THEIR_PASSES)}
    if find_spec("pandas"):  # it does not come with river
        frames = _pandas_frames(matrix)

        def by_frames() -> None:
            for frame in frames:
                river.predict_proba_many(frame)

        found["river, pandas"] = _rate(len(asked), by_frames, _THEIR_PASSES)
    return found


def _trained_river(xs: Sequence[Mapping[str, float]], labels: Sequence[int]) -> Any:  # noqa: ANN401
    preprocessing, linear = (
        import_module("river.preprocessing"),
        import_module("river.linear_model"),
    )
    pipeline = preprocessing.StandardScaler() | linear.LogisticRegression()
    for x, label in zip(xs, labels, strict=True):
        pipeline.learn_one(x, bool(label))
    return pipeline


def _dicts_of(matrix: Floats) -> list[dict[str, float]]:
    """Return inputs as river's users have them; what is unknown is not there."""
    known = (~np.isnan(matrix)).tolist()
    return [
        {name: value for name, value, there in zip(INPUTS, row, said, strict=True) if there}
        for row, said in zip(matrix.tolist(), known, strict=True)
    ]


def _pandas_frames(matrix: Floats) -> list[Any]:
    pandas = import_module("pandas")
    filled = np.where(np.isnan(matrix), np.nanmean(matrix, axis=0), matrix)
    return [
        pandas.DataFrame(filled[first : first + _AIMED_ROWS], columns=list(INPUTS))
        for first in range(0, len(filled), _AIMED_ROWS)
    ]


def _rate(rows: int, work: Callable[[], object], passes: int) -> float:
    return rows / _timing.best_cpu_seconds(lambda: work, passes)


if __name__ == "__main__":
    _timing.pin()
    print(json.dumps(_river() if sys.argv[1] == _ROW_BY_ROW else _ours(int(sys.argv[2]))))
