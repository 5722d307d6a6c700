import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from quotewatch.bus.sqlite import SqliteBus
from quotewatch.bus.topology import topology
from quotewatch.clock import SystemClock
from quotewatch.errors import BusError, NewerSchemaError, ObjectStoreUnavailableError
from quotewatch.frames import NARROW_DECIMAL, Frame, FrameEncoder, FrameId, decode, decode_carried
from quotewatch.learning.inputs import inputs_of
from quotewatch.learning.model import Model
from quotewatch.learning.serving import Served
from quotewatch.learning.trainer import learn
from quotewatch.message import Message
from quotewatch.metrics.recorder import Recorder
from quotewatch.resources import Resources
from quotewatch.settings import load_settings
from quotewatch.stages.predict import PredictStage, answers, build
from quotewatch.streams import PREDICTIONS
from tests.learning.test_serving import Shelf, serve
from tests.tables.frames import (
    EPOCH,
    NOON_US,
    Desk,
    Row,
    assert_each_once,
    frame,
    message,
    numbers,
    relabelled,
    row_of,
    spoilt,
    time_of,
)

NAN, INFINITE = float("nan"), float("inf")
RECEIVED = {"first_received_ns": "7000", "last_received_ns": "9000"}


class Counter(Desk):
    """A desk whose features are answered, by models on a shelf."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.shelf = Shelf(folder / "shelf")

    def predict(self, *horizons_ms: int, **options: Any) -> PredictStage:
        served = Served(self.shelf, horizons_ms or (500,), self.clock)
        return PredictStage(self.bus, served, self.recorder, self.clock, **options)

    def published(self) -> list[Message]:
        """Return what waits for `write`, without leasing it."""
        waiting = self.bus.peek("predictions.write", max_messages=1_000)
        return [each.message for each in waiting]

    def answered(self) -> list[Row]:
        """Return the rows of the only frame that was published."""
        [only] = self.published()
        return decode(only).rows.to_pylist()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Counter]:
    with closing(Counter(tmp_path)) as opened:
        opened.open()
        yield opened


def features(count: int, seed: int = 1) -> list[Row]:
    """Make updates of three books, a millisecond apart."""
    rng = random.Random(seed)
    return [
        row_of(
            "features",
            symbol=rng.choice(("BTC-USD", "ETH-USD", "SOL-USD")),
            exchange_time=NOON_US + number * 1_000,
            received_at=NOON_US + number * 1_000 + 300,
            arrival=number,
            mid=rng.uniform(90, 110),
            spread_bps=rng.uniform(0, 10),
            imbalance=rng.uniform(-1, 1),
            depth=rng.uniform(1, 100),
            volatility=rng.choice((None, rng.uniform(0, 3))),
            trade_imbalance=rng.choice((None, rng.uniform(-1, 1))),
            microprice_bps=rng.gauss(0, 1),
            order_flow_imbalance=rng.gauss(0, 20),
        )
        for number in range(count)
    ]


def learnt(model: Model, seed: int) -> Model:
    """Return what a model is after one more batch: wide spreads move."""
    rows = frame("features", 0, features(600, seed)).rows
    wide = np.asarray(rows.column("spread_bps")) > 5
    chance = np.random.default_rng(seed).random(len(wide)) < 0.1
    return learn(model, inputs_of(rows), (wide ^ chance).astype(np.int32), model.position + 1)


FIRST = learnt(Model.fresh(500, 1), 1)
SECOND = learnt(FIRST, 2)
SLOW = learnt(Model.fresh(5_000, 1), 3)


def asked(seq: int, rows: Sequence[Row]) -> Message:
    """Make the message that is pushed."""
    return relabelled(message("features", seq, rows), **RECEIVED)


def narrow(plain: Frame) -> Frame:
    """Return a frame in columns as the gateway writes them."""
    rows = plain.rows
    symbols: Any = rows.column("symbol")
    rows = rows.set_column(0, "symbol", symbols.dictionary_encode())
    for name in ("best_bid", "best_ask"):
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, name, rows.column(name).cast(NARROW_DECIMAL))
    return replace(plain, rows=rows)


def expected(rows: Sequence[Row], models: Sequence[Model], predicted_us: int) -> list[Row]:
    """Answer row by row."""
    found = []
    for model in models:
        for number, row in enumerate(rows):
            inputs = inputs_of(frame("features", 0, [row]).rows)
            [probability], [prediction] = model.answers(inputs)
            if not inputs.usable[0]:
                continue
            found.append(
                {
                    "row": number,
                    "symbol": row["symbol"],
                    "exchange_time": time_of(row["exchange_time"]),
                    "received_at": time_of(row["received_at"]),
                    "horizon_ms": model.horizon_ms,
                    "model_version": model.version,
                    "probability": probability,
                    "prediction": prediction,
                    "predicted_at": time_of(predicted_us),
                }
            )
    return found


def now_us(desk: Desk) -> int:
    return desk.clock.now_ns() // 1_000


def without_time(rows: Sequence[Row]) -> list[Row]:
    return [{name: row[name] for name in row if name != "predicted_at"} for row in rows]


# Answers


def test_every_row_is_answered_for_every_horizon_under_the_frames_identity(desk: Counter) -> None:
    serve(desk.shelf, FIRST, SLOW)
    rows = features(40)
    report = desk.predict(5_000, 500).handle(asked(7, rows))
    [published] = desk.published()
    answer = decode(published)
    assert answer.id == FrameId("predictions", EPOCH, 7)
    assert answer.producer == "predict"
    assert (answer.first_received_ns, answer.last_received_ns) == (7_000, 9_000)
    assert answer.rows.to_pylist() == expected(rows, [FIRST, SLOW], now_us(desk))
    assert report.plain() == {
        "frames": 1,
        "dropped": 0,
        "rows_asked": 40,
        "answers": 80,
        "versions": {"500": FIRST.version, "5000": SLOW.version},
        "error": None,
    }
    assert not report.failed


@pytest.mark.parametrize("models", [[FIRST], [FIRST, SLOW]], ids=["one horizon", "two"])
@pytest.mark.parametrize("broken", [(), (3, 8)], ids=["whole", "with holes"])
def test_a_frame_as_the_gateway_writes_it_has_the_same_answers(
    models: list[Model], broken: tuple[int, ...]
) -> None:
    rows = [
        {**row, "depth": NAN if at in broken else row["depth"]}
        for at, row in enumerate(features(9))
    ]
    plain = frame("features", 0, rows)
    carried = decode_carried(FrameEncoder().encode(narrow(plain))).rows
    answered = answers(carried, models, NOON_US)
    wide = replace(plain, id=FrameId("predictions", EPOCH, 0), rows=answered)
    assert decode(FrameEncoder().encode(wide)).rows.to_pylist() == expected(rows, models, NOON_US)
    # Words stay words by number: whoever gathers frames need not cast them.
    assert answered.schema.field("symbol").type == carried.schema.field("symbol").type


@pytest.mark.parametrize("name", ["mid", "spread_bps", "depth", "order_flow_imbalance"])
@pytest.mark.parametrize("value", [NAN, INFINITE, -INFINITE])
def test_a_row_with_a_number_that_is_none_has_no_answer_and_its_neighbours_have(
    desk: Counter, name: str, value: float
) -> None:
    serve(desk.shelf, FIRST)
    rows = features(3)
    rows[1][name] = value
    report = desk.predict().handle(asked(0, rows))
    assert [row["row"] for row in desk.answered()] == [0, 2]
    assert (report.rows_asked, report.answers) == (3, 2)


def test_a_frame_without_a_usable_row_is_answered_with_no_rows(desk: Counter) -> None:
    serve(desk.shelf, FIRST)
    desk.predict().handle(asked(0, [{**row, "mid": NAN} for row in features(3)]))
    assert desk.answered() == []


def test_a_frame_without_rows_is_answered_with_no_rows(desk: Counter) -> None:
    serve(desk.shelf, FIRST, SLOW)
    desk.predict(500, 5_000).handle(asked(0, []))
    assert desk.answered() == []


def test_without_a_model_the_answer_is_a_frame_without_rows(desk: Counter) -> None:
    report = desk.predict().handle(asked(4, features(5)))
    [published] = desk.published()
    assert published.attributes["rows"] == "0"
    assert decode(published).id == FrameId("predictions", EPOCH, 4)
    assert (report.frames, report.rows_asked, report.answers) == (1, 5, 0)


def test_a_model_that_is_not_ready_leaves_the_answers_to_the_others(desk: Counter) -> None:
    serve(desk.shelf, replace(FIRST, classes=(99, 5_000)), SLOW)
    report = desk.predict(500, 5_000).handle(asked(0, features(2)))
    assert {row["horizon_ms"] for row in desk.answered()} == {5_000}
    assert report.versions == {"5000": SLOW.version}


def test_answers_are_counted_by_what_they_say(desk: Counter) -> None:
    serve(desk.shelf, FIRST)
    stage = desk.predict()
    for seq in range(2):
        stage.handle(asked(seq, features(60)))
    said = [row["prediction"] for each in desk.published() for row in decode(each).rows.to_pylist()]
    assert set(said) == {0, 1}
    for value in (0, 1):
        counted = desk.recorder.value("ml_predictions_total", prediction=str(value))
        assert counted == said.count(value)
    assert desk.recorder.value("ml_predict_duration_seconds_count") == 2


# The same again, and into the table


def test_the_same_frame_five_times_makes_each_row_once(desk: Counter) -> None:
    serve(desk.shelf, FIRST, SLOW)
    stage = desk.predict(500, 5_000)
    again = asked(3, features(20))
    for _ in range(5):
        stage.handle(again)
        desk.clock.sleep(1)
    frames = [decode(each) for each in desk.published()]
    assert [each.id for each in frames] == [FrameId("predictions", EPOCH, 3)] * 5
    first, *others = [without_time(each.rows.to_pylist()) for each in frames]
    assert all(each == first for each in others)
    report = desk.write().streams["predictions"]
    assert (report.inserted, report.duplicate, report.acked) == (40, 160, 5)
    assert_each_once(desk, "predictions", [(EPOCH, 3, row) for row in range(20) for _ in "12"])


def test_frames_with_and_without_rows_leave_no_hole_in_the_ledger(desk: Counter) -> None:
    stage = desk.predict()
    stage.handle(asked(0, features(3)))  # nothing is learnt yet
    serve(desk.shelf, FIRST)
    desk.clock.sleep(5)
    stage.handle(asked(1, features(3)))
    stage.handle(spoilt(asked(2, features(3))))
    stage.handle(asked(3, features(3)))
    assert desk.write().streams["predictions"].quarantined == 0
    assert desk.lineage("predictions") == [(EPOCH, seq, row) for seq in (1, 3) for row in range(3)]
    done = desk.ledger("predictions").stream("predictions").epochs[EPOCH].done
    assert numbers(done) == [0, 1, 2, 3]


# What is no frame of features


def test_a_body_that_cannot_be_read_is_answered_with_no_rows_and_a_warning(desk: Counter) -> None:
    with capture_logs() as lines:
        report = desk.predict().handle(spoilt(asked(5, features(3))))
    answer = decode(desk.published()[0])
    assert answer.id == FrameId("predictions", EPOCH, 5)
    assert answer.rows.num_rows == 0
    assert (answer.first_received_ns, answer.last_received_ns) == (7_000, 9_000)
    assert [(line["event"], line["log_level"], line["seq"]) for line in lines] == [
        ("not_answered", "warning", 5)
    ]
    assert (report.frames, report.failed) == (1, False)
    assert report.error is not None


@pytest.mark.parametrize("said", [None, "", "soon", "9" * 30, "-5"])
def test_even_if_nothing_but_the_identity_can_be_read(desk: Counter, said: str | None) -> None:
    bad = relabelled(asked(5, features(3)), first_received_ns=said, rows=said, schema=said)
    desk.predict().handle(bad)
    answer = decode(desk.published()[0])
    assert (answer.id.seq, answer.rows.num_rows) == (5, 0)
    assert answer.first_received_ns == desk.clock.now_ns()


@pytest.mark.parametrize("missing", ["stream", "epoch", "seq"])
def test_what_has_no_identity_is_dropped_with_a_warning(desk: Counter, missing: str) -> None:
    with capture_logs() as lines:
        report = desk.predict().handle(relabelled(asked(0, features(1)), **{missing: None}))
    assert desk.published() == []
    assert (report.frames, report.dropped, report.failed) == (0, 1, False)
    assert [(line["event"], line["log_level"]) for line in lines] == [("dropped", "warning")]
    assert missing in lines[0]["error"]


def test_a_frame_of_another_stream_is_refused_with_a_warning(desk: Counter) -> None:
    with capture_logs() as lines:
        report = desk.predict().handle(message("events", 0, [row_of("events")]))
    assert desk.published() == []
    assert report.dropped == 1
    assert "events" in lines[0]["error"]


def test_a_newer_schema_is_raised_so_that_it_comes_again(desk: Counter) -> None:
    with pytest.raises(NewerSchemaError):
        desk.predict().handle(relabelled(asked(0, features(1)), schema="99"))
    assert desk.published() == []


def test_frames_are_not_told_one_by_one(desk: Counter) -> None:
    serve(desk.shelf, FIRST)
    stage = desk.predict()
    with capture_logs() as lines:
        for seq in range(5):
            stage.handle(asked(seq, features(2)))
    assert [line["event"] for line in lines] == ["in_use"]


# What is away


def test_while_nothing_is_known_of_the_models_frames_are_raised(desk: Counter) -> None:
    serve(desk.shelf, FIRST)
    stage = desk.predict()
    desk.shelf.away = "models"
    with pytest.raises(ObjectStoreUnavailableError):
        stage.handle(asked(0, features(2)))
    assert desk.published() == []
    desk.shelf.away = ""
    stage.handle(asked(0, features(2)))
    assert len(desk.answered()) == 2


def test_what_could_not_be_published_is_raised_and_not_counted(tmp_path: Path) -> None:
    with closing(Counter(tmp_path)) as desk:  # without topics
        serve(desk.shelf, FIRST)
        with pytest.raises(BusError, match="predictions"):
            desk.predict().handle(asked(0, features(2)))
        assert desk.recorder.value("ml_predict_duration_seconds_count") == 0


def test_topics_that_are_missing_are_made_where_they_are_ours_to_make(tmp_path: Path) -> None:
    with closing(Counter(tmp_path)) as desk:

        def repair() -> bool:
            desk.open()
            return True

        desk.predict(repair=repair).handle(asked(0, features(2)))
        assert desk.answered() == []


def test_the_stage_is_made_from_settings(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path, horizon_ms=(500, 5_000))
    with closing(Resources(settings)) as resources:
        serve(resources.objects, FIRST, SLOW)
        report = build(resources).handle(asked(0, features(2)))
        assert report.answers == 4
        assert len(resources.bus.peek("predictions.write")) == 1


# Several threads


def test_the_model_is_swapped_while_threads_answer_and_no_frame_fails_or_mixes(
    tmp_path: Path,
) -> None:
    frames, rows = 400, features(30)
    shelf = Shelf(tmp_path / "shelf")
    serve(shelf, FIRST)
    served = Served(shelf, (500,), SystemClock(), recheck_seconds=0.0)
    made = topology()
    with closing(SqliteBus(tmp_path / "bus.db")) as bus:
        bus.create(made.topics, made.subscriptions)
        stage = PredictStage(bus, served, Recorder("test"), SystemClock())

        def handle(seq: int) -> str:
            if seq == frames // 2:
                serve(shelf, SECOND)
            return stage.handle(asked(seq, rows)).versions["500"]

        with ThreadPoolExecutor(4) as threads:
            versions = list(threads.map(handle, range(frames)))
        waiting = bus.peek("predictions.write", max_messages=1_000)
    assert set(versions) == {FIRST.version, SECOND.version}
    assert versions[-1] == SECOND.version
    published = {each.id.seq: each for each in (decode(one.message) for one in waiting)}
    assert sorted(published) == list(range(frames))
    wanted = {each.version: without_time(expected(rows, [each], 0)) for each in (FIRST, SECOND)}
    for seq, version in enumerate(versions):
        assert without_time(published[seq].rows.to_pylist()) == wanted[version]


def test_answers_have_the_columns_of_their_stream_in_order() -> None:
    answered = answers(frame("features", 0, features(3)).rows, [], NOON_US)
    assert answered.schema.names == PREDICTIONS.schema.names
