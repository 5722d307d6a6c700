"""Features to labels, labels to models, models to answers: each of the three told apart.

The clocks stand still but where the run moves them: a commit, a batch learnt, an answer and a
publish take what is written here.
"""

import errno
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from quotewatch import training
from quotewatch.bus.topology import write_subscription
from quotewatch.clock import NS_PER_SECOND, US_PER_SECOND
from quotewatch.errors import BusUnavailableError, ObjectStoreUnavailableError
from quotewatch.frames import Frame, FrameEncoder, decode
from quotewatch.learning.serving import Served
from quotewatch.learning.trainer import learn
from quotewatch.stages import predict as answering
from quotewatch.stages.accounting import Account, Counted, CountedPushed
from quotewatch.stages.label import LabelStage
from quotewatch.stages.predict import PredictStage
from quotewatch.stages.train import TrainStage
from quotewatch.streams import FEATURES, PREDICTIONS
from quotewatch.tables.commit import Committer
from quotewatch.tables.unlabelled import PORTION_ROWS
from tests.bus.clocks import HandClock
from tests.metrics.exact.known import Known, calls, recorder_of, taking
from tests.metrics.exported import Exported, by, histogram, one
from tests.stages.test_train import EACH, FRAMES, market
from tests.tables.desk import NOON_NS
from tests.tables.frames import Desk, Faults, events, message
from tests.tables.labelled import labels_in, store_some

OWNERS = ("label", "train", "predict")
HORIZONS_MS = (500, 1_000)
COMMIT, LEARN, ANSWER, PUBLISH = 0.2, 0.003, 0.0004, 0.02  # seconds
STORED = 20  # frames in the tables at first; the rest later
UNUSABLE = 3  # rows of the last frame answered


def known_run(folder: Path) -> Known:
    known = Known()
    clock = HandClock(start_ns=NOON_NS)
    with closing(Desk(folder, clock=clock)) as desk, pytest.MonkeyPatch.context() as patch:
        learnt = Learnt(desk.open(), patch)
        learnt.in_two_parts()
        known.note("label", learnt.label_recorder, learnt.labels_wanted())
        known.note("train", learnt.train_recorder, learnt.training_wanted())
        answered = Answered(desk, patch)
        answered.all()
        known.note("predict", answered.recorder, answered.wanted())
    return known


class Learnt:
    """Features stored in two parts, each labelled and then learnt."""

    def __init__(self, desk: Desk, patch: pytest.MonkeyPatch) -> None:
        self.desk = desk
        self.label_recorder, self.train_recorder = recorder_of("label"), recorder_of("train")
        self._patch = patch
        self._faults = Faults(desk.tables)
        self._labelled_ns = self._trained_ns = 0

    def in_two_parts(self) -> None:
        frames = market()
        store_some(self.desk.committer, frames[:STORED])
        self._faults.on_commit = lambda: self.desk.clock.sleep(COMMIT)
        self._label()
        self._label()  # nothing is new
        with self._patch.context() as away:
            away.setattr(self.desk.objects, "names", _away)
            self._train()
        self._train()
        self._train()  # nothing is new
        self._faults.on_commit = lambda: None
        store_some(self.desk.committer, frames[STORED:])
        self._faults.on_commit = lambda: self.desk.clock.sleep(COMMIT)
        self._faults.add(("before", OSError(errno.ENOSPC, "No space left on device")))
        self._label()
        self._label()
        self._labelled_ns = self.desk.clock.now_ns()
        self._train()
        self._trained_ns = self.desk.clock.now_ns()
        self._faults.on_commit = lambda: None

    def _label(self) -> None:
        desk, recorder = self.desk, self.label_recorder
        committer = Committer(
            desk.tables, clock=desk.clock, sleep=desk.clock.sleep, recorder=recorder
        )
        stage = LabelStage(committer, recorder, desk.clock, HORIZONS_MS)
        Counted(stage, Account("label", recorder, desk.clock)).run_once()

    def _train(self) -> None:
        desk, recorder = self.desk, self.train_recorder
        stage = TrainStage(desk.tables, desk.objects, recorder, desk.clock, HORIZONS_MS)
        with self._patch.context() as patch:
            patch.setattr(training, "learn", taking(desk.clock, LEARN, learn))
            Counted(stage, Account("train", recorder, desk.clock)).run_once()

    def labels_wanted(self) -> Exported:
        # What the tables hold is what was labelled: two batches of each horizon.
        stored = [row for each in HORIZONS_MS for row in labels_in(self.desk.committer, each)]
        batches = Counter((row["horizon_ms"], row["batch"]) for row in stored)
        assert len(batches) == 4
        waiting = FRAMES * EACH * len(HORIZONS_MS) - len(stored)
        assert waiting > 0
        # The first look at a horizon notes what the ledger remembers, in a commit without rows.
        portions = [2 * COMMIT, 2 * COMMIT, 0, 0, COMMIT, COMMIT]
        return calls(
            "label", ok=3, failed=1, seconds=2 * COMMIT, succeeded_ns=self._labelled_ns
        ) | {
            "labeler_buffer_size": one(waiting),
            "labeler_buffer_capacity": one(2 * PORTION_ROWS),
            "ml_samples_total": by("label", Counter(str(row["label"]) for row in stored)),
            "pipeline_callback_duration_seconds": histogram(
                "pipeline_callback_duration_seconds", portions, stage="labeler"
            ),
            "iceberg_rows_written_total": one(len(stored), table="labels"),
            "iceberg_flush_total": one(4, table="labels"),
            "iceberg_flush_duration_seconds": histogram(
                "iceberg_flush_duration_seconds", [COMMIT] * 4, table="labels"
            ),
            "iceberg_flush_rows": histogram(
                "iceberg_flush_rows", [*batches.values()], table="labels"
            ),
        }

    def training_wanted(self) -> Exported:
        name = "ml_train_duration_seconds"
        learnt = calls("train", ok=3, failed=1, seconds=2 * LEARN, succeeded_ns=self._trained_ns)
        return learnt | {name: histogram(name, [LEARN] * 4)}


class Answered:
    """Frames of features handed to `predict` on a clock of its own, 6 s after the first row."""

    def __init__(self, desk: Desk, patch: pytest.MonkeyPatch) -> None:
        self.recorder = recorder_of("predict")
        self.clock = HandClock(start_ns=NOON_NS + 6 * NS_PER_SECOND)
        self._desk = desk
        self._patch = patch
        served = Served(desk.objects, HORIZONS_MS, self.clock)
        stage = PredictStage(desk.bus, served, self.recorder, self.clock)
        self._stage = CountedPushed(stage, Account("predict", self.recorder, self.clock))
        self._seconds: list[float] = []  # that answers took to be on the bus

    def all(self) -> None:
        """Answer two frames, drop what is none, fail with one, and answer it and one more."""
        first, second, third, fourth, *_ = market()
        bus, clock = self._desk.bus, self.clock
        self._patch.setattr(answering, "answers", taking(clock, ANSWER, answering.answers))
        self._patch.setattr(bus, "publish", taking(clock, PUBLISH, bus.publish))
        self._answer(first)
        self._answer(second)
        self._stage.handle(message("events", 0, events(2)))
        with self._patch.context() as cut:
            cut.setattr(bus, "publish", _cut)
            with pytest.raises(BusUnavailableError):
                self._stage.handle(FrameEncoder().encode(third))
        self._answer(third)
        self._answer(_spoilt(fourth))

    def _answer(self, frame: Frame) -> None:
        self._stage.handle(FrameEncoder().encode(frame))
        now_us = self.clock.now_ns() // 1_000
        for row in frame.rows.to_pylist():
            if row["depth"] == row["depth"]:  # not NaN: such a row has no answer
                sent_us = round(row["exchange_time"].timestamp() * US_PER_SECOND)
                took = max(0, now_us - sent_us) / US_PER_SECOND
                self._seconds += [took] * len(HORIZONS_MS)

    def wanted(self) -> Exported:
        said = [
            row["prediction"]
            for each in self._desk.bus.peek(write_subscription(PREDICTIONS.name))
            for row in decode(each.message).rows.to_pylist()
        ]
        assert len(said) == len(self._seconds) == 2 * (4 * EACH - UNUSABLE)
        assert 0 in self._seconds  # some came before they were sent
        answered = calls(
            "predict", ok=5, failed=1, seconds=ANSWER + PUBLISH, succeeded_ns=self.clock.now_ns()
        )
        return answered | {
            "ml_predictions_total": by("prediction", Counter(map(str, said))),
            "ml_predict_duration_seconds": histogram("ml_predict_duration_seconds", [ANSWER] * 4),
            "pipeline_callback_duration_seconds": histogram(
                "pipeline_callback_duration_seconds", [ANSWER + PUBLISH] * 4, stage="classifier"
            ),
            "pipeline_message_latency_seconds": histogram(
                "pipeline_message_latency_seconds", self._seconds, stamp="predicted"
            ),
        }


def _spoilt(frame: Frame) -> Frame:
    """Return a frame some rows of which nobody can answer."""
    rows = frame.rows.to_pylist()
    for row in rows[:UNUSABLE]:
        row["depth"] = float("nan")
    return replace(frame, rows=pa.RecordBatch.from_pylist(rows, schema=FEATURES.schema))


def _away(*_: object) -> None:
    raise ObjectStoreUnavailableError("the disk is away")


def _cut(*_given: Any, **_options: Any) -> None:
    raise BusUnavailableError("the line is cut")
