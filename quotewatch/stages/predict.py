"""Answer a features frame with a predictions frame of the same identity.

Published before it returns, or it raises and the frame comes again. What cannot be answered is
left out, and a frame without answers goes out all the same: so a hole still means loss.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from quotewatch.bus.port import Bus
from quotewatch.clock import Clock
from quotewatch.errors import BusError, BusUnavailableError, FrameError, NewerSchemaError
from quotewatch.frames import Frame, FrameEncoder, FrameId, decode_carried, identify
from quotewatch.learning.inputs import inputs_of
from quotewatch.learning.model import Model
from quotewatch.learning.serving import Served
from quotewatch.logs import get_logger
from quotewatch.message import Message
from quotewatch.metrics.latency import LATENCY, Sent
from quotewatch.metrics.recorder import Recorder
from quotewatch.streams import FEATURES, PREDICTIONS, TIME

if TYPE_CHECKING:  # it imports the tables, which take longer than all that is needed here
    from quotewatch.resources import Resources

_log = get_logger("predict")

PRODUCER = "predict"
_NS_PER_US = 1_000
_WORDS = pa.dictionary(pa.int8(), pa.string())


@dataclass
class PredictReport:
    """One frame."""

    frames: int = 0  # published
    dropped: int = 0  # no frame of features: there is no name to answer it under
    rows_asked: int = 0  # of features
    answers: int = 0
    versions: dict[str, str] = field(default_factory=dict)  # by horizon, of those that answered
    error: str | None = None  # what is wrong with the frame, and would be again

    @property
    def failed(self) -> bool:
        """Whether it should be tried again: never, since what should be raises."""
        return False

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


class _Encoders(threading.local):
    """One encoder for each thread: they own their compressors."""

    def __init__(self) -> None:
        self.mine = FrameEncoder()


class PredictStage:
    """Answers frames, on any number of threads at once."""

    def __init__(
        self,
        bus: Bus,
        served: Served,
        recorder: Recorder,
        clock: Clock,
        *,
        repair: Callable[[], bool] = lambda: False,
    ) -> None:
        self._bus = bus
        self._served = served
        self._recorder = recorder
        self._clock = clock
        self._repair = repair
        self._encoders = _Encoders()

    def handle(self, message: Message) -> PredictReport:
        """Publish the answer to a frame of features, or raise: then it must not be acked."""
        began = self._clock.monotonic()
        report = PredictReport()
        identity = _identity(message, report)
        if identity is None:
            return report
        answer = self._answer(message, identity, report)
        encoded = self._encoders.mine.encode(answer)
        seconds = self._clock.monotonic() - began
        self._publish(encoded)
        report.frames = 1
        report.answers = answer.rows.num_rows
        self._measure(answer.rows, seconds)
        self._recorder.observe(
            "pipeline_callback_duration_seconds",
            self._clock.monotonic() - began,
            stage="classifier",
        )
        return report

    def _answer(self, message: Message, identity: FrameId, report: PredictReport) -> Frame:
        try:
            asked = decode_carried(message)
        except NewerSchemaError:
            raise  # it waits for a newer program
        except FrameError as error:
            report.error = str(error)
            _log.warning("not_answered", epoch=identity.epoch, seq=identity.seq, error=str(error))
            return self._nothing(message, identity)
        models = [model for model in self._served.models() if model.ready]
        report.rows_asked = asked.rows.num_rows
        report.versions = {str(model.horizon_ms): model.version for model in models}
        return Frame(
            _renamed(identity),
            PRODUCER,
            answers(asked.rows, models, self._clock.now_ns() // _NS_PER_US),
            asked.first_received_ns,
            asked.last_received_ns,
        )

    def _nothing(self, message: Message, identity: FrameId) -> Frame:
        """Return a frame that says: it came, and nothing could be answered."""
        now_ns = self._clock.now_ns()
        first, last = (
            _number(message.attributes.get(name, ""), now_ns)
            for name in ("first_received_ns", "last_received_ns")
        )
        return Frame(_renamed(identity), PRODUCER, _NO_ANSWERS, first, last)

    def _publish(self, encoded: Message) -> None:
        """Publish; topics that are missing are made once, where they are ours to make."""
        try:
            self._bus.publish(PREDICTIONS.name, [encoded])
        except BusUnavailableError:
            raise
        except BusError:
            if not self._repair():
                raise
            self._bus.publish(PREDICTIONS.name, [encoded])

    def _measure(self, rows: pa.RecordBatch, seconds: float) -> None:
        ones = int(np.count_nonzero(rows.column("prediction").to_numpy()))
        sent, now_us = Sent(rows.column("exchange_time")), self._clock.now_ns() // _NS_PER_US
        self._recorder.observe_all(LATENCY, sent.until(now_us), stamp="predicted")
        self._recorder.observe("ml_predict_duration_seconds", seconds)
        self._recorder.inc("ml_predictions_total", ones, prediction="1")
        self._recorder.inc("ml_predictions_total", rows.num_rows - ones, prediction="0")


def answers(rows: pa.RecordBatch, models: Sequence[Model], now_us: int) -> pa.RecordBatch:
    """Return one row for each model and usable row, horizon by horizon."""
    inputs = inputs_of(rows)
    usable = np.flatnonzero(inputs.usable).astype(np.int32)
    given = [model.answers(inputs) for model in models]
    if usable.size < rows.num_rows:
        given = [(probability[usable], prediction[usable]) for probability, prediction in given]
    places = _array(pa.int32(), usable if len(models) == 1 else np.tile(usable, len(models)))
    # With one horizon and nothing left out, columns pass as they came.
    passing = len(places) == rows.num_rows and len(models) == 1
    asked = [rows.column(name) for name in ("symbol", "exchange_time", "received_at")]
    horizons_ms = np.array([model.horizon_ms for model in models], np.int32)
    columns = [
        places,
        *(asked if passing else [column.take(places) for column in asked]),
        _array(pa.int32(), np.repeat(horizons_ms, usable.size)),
        _versions(models, usable.size),
        _array(pa.float64(), _joined([probability for probability, _ in given])),
        _array(pa.int32(), _joined([prediction for _, prediction in given])),
        _array(TIME, np.full(len(places), now_us)),
    ]
    return pa.RecordBatch.from_arrays(columns, names=PREDICTIONS.schema.names)


def _array(kind: Any, values: Any) -> Any:  # noqa: ANN401 - the stubs know no kind of both
    """Return numbers as a column without looking at them: a cast costs 30 µs."""
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


def _versions(models: Sequence[Model], count: int) -> Any:  # noqa: ANN401 - of two parameters
    codes = np.repeat(np.arange(len(models), dtype=np.int8), count)
    words = _words(tuple(model.version for model in models))
    return pa.DictionaryArray.from_arrays(_array(pa.int8(), codes), words, safe=False)


@lru_cache(maxsize=16)
def _words(words: tuple[str, ...]) -> "pa.StringArray":
    return pa.array(words, pa.string())


def _joined(parts: Sequence[Any]) -> Any:  # noqa: ANN401 - of any numbers
    return parts[0] if len(parts) == 1 else np.concatenate(parts or [np.empty(0)])


def _no_answers() -> pa.RecordBatch:
    """Return no rows, in the types that most frames have: whoever gathers them need not cast."""
    kinds = [_WORDS if kind == pa.string() else kind for kind in PREDICTIONS.schema.types]
    nothing = [pa.array([], kind) for kind in kinds]
    return pa.RecordBatch.from_arrays(nothing, names=PREDICTIONS.schema.names)


_NO_ANSWERS = _no_answers()


def _identity(message: Message, report: PredictReport) -> FrameId | None:
    """Return what the frame is known by; None, and why, if it is no frame of features."""
    try:
        identity = identify(message)
        if identity.stream == FEATURES.name:
            return identity
        report.error = f"attribute stream: {identity.stream}; push {FEATURES.name} here"
    except FrameError as error:
        report.error = str(error)
    report.dropped = 1
    _log.warning("dropped", error=report.error)  # `write` keeps the bytes
    return None


def _renamed(identity: FrameId) -> FrameId:
    return FrameId(PREDICTIONS.name, identity.epoch, identity.seq)


def _number(text: str, otherwise: int) -> int:
    fits = text.isascii() and text.isdecimal() and len(text) < len(str(2**63))
    return int(text) if fits else otherwise


def build(resources: "Resources") -> PredictStage:
    """Make the stage the settings ask for."""
    settings = resources.settings
    served = Served(resources.objects, settings.horizon_ms, resources.clock)
    return PredictStage(
        resources.bus,
        served,
        resources.recorder,
        resources.clock,
        repair=resources.create_names,
    )
