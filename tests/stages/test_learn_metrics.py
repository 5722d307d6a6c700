"""A run with known input gives every metric of label, train and predict its exact value."""

from contextlib import closing
from pathlib import Path

import pytest

from quotewatch.bus.sqlite import SqliteBus
from quotewatch.bus.topology import topology
from quotewatch.frames import FrameEncoder, decode
from quotewatch.learning.serving import Served
from quotewatch.metrics.catalogue import CATALOGUE
from quotewatch.metrics.recorder import Recorder
from quotewatch.objects.local import LocalObjects
from quotewatch.stages.label import LabelStage
from quotewatch.stages.predict import PredictStage
from quotewatch.stages.train import TrainStage
from quotewatch.tables.unlabelled import PORTION_ROWS
from tests.metrics.exported import Samples, exported
from tests.stages.test_train import EACH, market
from tests.tables.desk import DeskClock, open_desk
from tests.tables.labelled import labels_in, store_some

METRICS = [name for name in CATALOGUE if name.startswith(("ml_", "labeler_"))]
ANSWERED = 3  # frames

Found = dict[str, Samples]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Found, Found]:
    """Return what was exported, and what had to be."""
    folder = tmp_path_factory.mktemp("learn")
    frames = market()
    recorder, clock = Recorder("test"), DeskClock()
    objects = LocalObjects(folder / "objects")
    with (
        open_desk(folder) as committer,
        closing(SqliteBus(folder / "bus.db")) as bus,
    ):
        made = topology()
        bus.create(made.topics, made.subscriptions)
        labeller = LabelStage(committer, recorder, clock, (500, 1_000))
        for part in (frames[:20], frames[20:]):
            store_some(committer, part)
            report = labeller.run_once()
        trained = TrainStage(committer.tables, objects, recorder, clock, (500, 1_000)).run_once()
        predict = PredictStage(bus, Served(objects, (500, 1_000), clock), recorder, clock)
        for frame in frames[:ANSWERED]:
            predict.handle(FrameEncoder().encode(frame))
        rows = labels_in(committer, 500) + labels_in(committer, 1_000)
        said = [
            row["prediction"]
            for each in bus.peek("predictions.write")
            for row in decode(each.message).rows.to_pylist()
        ]
    assert len(said) == 2 * ANSWERED * EACH
    batches = sum(each.batches for each in trained.horizons.values())
    waiting = sum(each.waiting for each in report.horizons.values())
    assert waiting > 0
    wanted: Found = {
        "labeler_buffer_size": {("", ()): waiting},
        "labeler_buffer_capacity": {("", ()): 2 * PORTION_ROWS},
        "ml_samples_total": {
            ("", (("label", str(each)),)): sum(row["label"] == each for row in rows)
            for each in (0, 1)
        },
        "ml_predictions_total": {
            ("", (("prediction", str(each)),)): said.count(each) for each in (0, 1)
        },
        "ml_predict_duration_seconds": durations("ml_predict_duration_seconds", ANSWERED),
        "ml_train_duration_seconds": durations("ml_train_duration_seconds", batches),
    }
    return exported(recorder), wanted


def durations(name: str, count: int) -> Samples:
    """Return a histogram of so many moments: the clock stood still."""
    bounds = [*(str(float(each)) for each in CATALOGUE[name].buckets), "+Inf"]
    found: Samples = {("_count", ()): count, ("_sum", ()): 0.0}
    for bound in bounds:
        found["_bucket", (("le", bound),)] = count
    return found


@pytest.mark.parametrize("name", METRICS)
def test_a_known_run_gives_every_metric_its_exact_value(
    name: str, run: tuple[Found, Found]
) -> None:
    found, wanted = run
    assert found[name] == wanted[name]


def test_no_metric_is_left_out(run: tuple[Found, Found]) -> None:
    assert run[1].keys() == set(METRICS)


def test_nothing_is_counted_twice_when_nothing_is_new(tmp_path: Path) -> None:
    recorder = Recorder("test")
    with open_desk(tmp_path) as committer:
        store_some(committer, market()[:10])
        stage = LabelStage(committer, recorder, DeskClock(), (500,))
        stage.run_once()
        before = recorder.value("ml_samples_total", label="0")
        stage.run_once()
        assert recorder.value("ml_samples_total", label="0") == before > 0
