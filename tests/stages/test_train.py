import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from quotewatch.clock import SystemClock
from quotewatch.frames import Frame, FrameId
from quotewatch.learning.document import same_numbers
from quotewatch.learning.model import Model
from quotewatch.learning.store import ModelStore
from quotewatch.metrics.recorder import Recorder
from quotewatch.objects.local import LocalObjects
from quotewatch.stages.train import ModelReport, TrainStage
from quotewatch.streams import PREDICTIONS
from quotewatch.tables.commit import Committer
from quotewatch.tables.label_reset import forget_labels
from quotewatch.tables.ledger import Seen
from tests.tables.desk import open_desk, store
from tests.tables.labelled import EPOCH, NOON_US, Run, label_now, labels_in, store_some

ROOT = Path(__file__).parents[2]
SECOND = 1_000_000
FRAMES = 30
EACH = 50
NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def market(seed: int = 3) -> list[Frame]:
    """Make a book that moves a lot when its spread is wide, so that there is something to learn."""
    run = Run()
    rng = random.Random(seed)
    price = Decimal(100)
    for number in range(FRAMES * EACH):
        price += Decimal(rng.choice((-2, 0, 0, 2))) / 100
        run.update(rng.choice(("BTC-USD", "ETH-USD")), 1, 1, number * SECOND // 20, price)
    return run.feature_frames([EACH] * FRAMES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return where several batches of labels are stored."""
    frames = market()
    with open_desk(tmp_path) as committer:
        for at in range(0, FRAMES, 5):
            store_some(committer, frames[at : at + 5])
            label_now(committer)
    return tmp_path


@pytest.fixture
def committer(folder: Path) -> Iterator[Committer]:
    with open_desk(folder) as opened:
        yield opened


def trained(committer: Committer, folder: Path, **options: Any) -> ModelReport:
    stage = TrainStage(
        committer.tables, LocalObjects(folder / "objects"), Recorder("test"), SystemClock(), (500,),
        **options,
    )  # fmt: skip
    return stage.run_once().horizons["500"]


def models(folder: Path) -> ModelStore:
    return ModelStore(LocalObjects(folder / "objects"), 500)


def newest(folder: Path) -> Model:
    version = models(folder).newest().version
    assert version is not None
    return version.model


def test_all_batches_are_learnt_once_and_the_newest_version_answers(
    committer: Committer, folder: Path
) -> None:
    last = max(row["batch"] for row in labels_in(committer))
    first = trained(committer, folder)
    assert first.error is None
    assert first.batches == last
    assert first.rows == first.labels == len(labels_in(committer))
    current = models(folder).current()
    assert current is not None
    assert first.version == current.version == f"000-{last:09d}"
    again = trained(committer, folder)
    assert (again.batches, again.version) == (0, first.version)
    assert models(folder).versions() == [first.version]


def test_a_batch_at_a_time_is_the_same_model_as_all_at_once(
    committer: Committer, folder: Path, tmp_path: Path
) -> None:
    trained(committer, folder)
    whole = newest(folder)
    other = tmp_path / "other"
    for _ in range(100):
        if not trained(committer, other, budget_seconds=0.0).batches:
            break
    assert len(models(other).versions()) == whole.position
    assert same_numbers(newest(other), whole)


def test_two_trainers_at_once_make_the_same_model(
    committer: Committer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = ModelStore.create

    def overtaken(self: ModelStore, version: Any) -> bool:
        monkeypatch.setattr(ModelStore, "create", create)
        with open_desk(folder) as other:
            assert trained(other, folder).error is None
        return create(self, version)

    monkeypatch.setattr(ModelStore, "create", overtaken)
    report = trained(committer, folder)
    assert report.error is None
    assert models(folder).versions() == [report.version]


def test_each_batch_is_scored_by_the_model_that_did_not_know_it(
    committer: Committer, folder: Path
) -> None:
    report = trained(committer, folder)
    scores = report.scores["test_then_train"]["all"]
    rows = labels_in(committer)
    # The first batches teach it; it answers from 100 of each kind on.
    ready = next(
        batch
        for batch in range(1, 10)
        if min(np.bincount([r["label"] for r in rows if r["batch"] <= batch], minlength=2)) >= 100
    )
    newest: dict[int, Any] = {}
    for row in rows:
        newest[row["batch"]] = max(row["exchange_time"], newest.get(row["batch"], NEVER))
    # What was seen within the horizon of a label it has learnt is not asked: that would be to peek.
    scored = [
        row
        for row in rows
        if row["batch"] > ready
        and row["exchange_time"] >= newest[row["batch"] - 1] + timedelta(milliseconds=500)
    ]
    assert scores["n"] == len(scored)
    assert scores["positives"] == sum(row["label"] for row in scored)


def answers(rows: list[dict[str, Any]], version: str, probability: float) -> list[Frame]:
    """Make predictions frames as `predict` would for these rows."""
    frames = []
    for seq in sorted({row["seq"] for row in rows}):
        mine = [
            {
                "row": row["row"],
                "symbol": row["symbol"],
                "exchange_time": row["exchange_time"],
                "received_at": row["received_at"],
                "horizon_ms": 500,
                "model_version": version,
                "probability": probability if row["label"] else 1 - probability,
                "prediction": row["label"],
                "predicted_at": row.get("predicted_at", NOON_US),
            }
            for row in rows
            if row["seq"] == seq
        ]
        batch = pa.RecordBatch.from_pylist(mine, schema=PREDICTIONS.schema)
        frames.append(Frame(FrameId(PREDICTIONS.name, EPOCH, seq), "test", batch, 1, 1))
    return frames


def test_stored_predictions_are_scored_against_their_labels(
    committer: Committer, folder: Path
) -> None:
    rows = labels_in(committer)
    half = [row for row in rows if row["seq"] % 2]
    store(committer, answers(half, "000-000000000", 0.75))
    served = trained(committer, folder).scores["served"]
    assert served["all"]["n"] == len(half)
    assert served["all"]["auc"] == 1.0
    assert served["all"]["brier"] == pytest.approx(0.0625)
    assert served["unanswered"] == len(rows) - len(half)
    assert served["too_late"] == 0


def test_an_answer_of_a_model_that_knew_the_label_does_not_count(
    committer: Committer, folder: Path
) -> None:
    rows = labels_in(committer)
    store(committer, answers(rows, "000-000000002", 0.75))
    served = trained(committer, folder).scores["served"]
    assert served["all"]["n"] == sum(row["batch"] > 2 for row in rows)
    assert served["too_late"] == sum(row["batch"] <= 2 for row in rows)


def test_labels_made_anew_begin_a_new_line(committer: Committer, folder: Path) -> None:
    before = trained(committer, folder)
    forget_labels(committer, 500)
    label_now(committer)
    after = trained(committer, folder)
    assert after.version is not None
    assert before.version is not None
    assert after.version > before.version
    assert after.version.startswith("001-")
    assert after.labels == before.labels == len(labels_in(committer))


def test_a_version_that_does_not_load_is_named_and_learnt_again(
    committer: Committer, folder: Path
) -> None:
    trained(committer, folder, budget_seconds=0.0)
    good = trained(committer, folder, budget_seconds=0.0).version
    assert good is not None
    path = folder / "objects" / "models" / "500ms" / "versions" / good
    path.write_bytes(path.read_bytes()[:-50])
    report = trained(committer, folder)
    assert list(report.refused) == [good]
    assert report.error is None
    assert report.labels == len(labels_in(committer))


def test_one_that_does_not_load_and_has_no_successor_is_gone_around(
    committer: Committer, folder: Path
) -> None:
    trained(committer, folder, budget_seconds=0.0)
    bad = trained(committer, folder).version
    assert bad is not None
    path = folder / "objects" / "models" / "500ms" / "versions" / bad
    path.write_bytes(b"{}")
    report = trained(committer, folder)
    assert (report.error, list(report.refused)) == (None, [bad])
    assert report.version == bad.replace("000-", "001-")
    assert report.labels == len(labels_in(committer))
    again = trained(committer, folder)
    assert (again.refused, again.batches, again.version) == ({}, 0, report.version)


def test_with_nothing_that_loads_everything_is_learnt_again_a_batch_at_a_time(
    committer: Committer, folder: Path
) -> None:
    trained(committer, folder)
    for _ in range(60):
        for name in models(folder).versions():
            path = folder / "objects" / "models" / "500ms" / "versions" / name
            if name.startswith("000-"):
                path.write_bytes(b"{}")
        report = trained(committer, folder, budget_seconds=0.0)
        assert report.error is None
        if not report.batches:
            break
    assert report.version is not None
    assert report.version.startswith("001-")
    assert report.labels == len(labels_in(committer))


def test_a_table_of_labels_that_was_made_anew_begins_a_new_model(
    committer: Committer, folder: Path
) -> None:
    before = trained(committer, folder)
    committer.tables.catalog.drop_table(("quotewatch", "labels"))
    label_now(committer)
    after = trained(committer, folder)
    assert after.error is None
    assert after.version == "001-000000001"
    assert after.labels == before.labels == len(labels_in(committer))


def test_a_model_that_cannot_answer_yet_does_not_take_the_place_of_one_that_does(
    tmp_path: Path,
) -> None:
    frames = market()
    with open_desk(tmp_path) as committer:
        for part in (frames[:10], frames[10:]):
            store_some(committer, part)
            label_now(committer)
        before = trained(committer, tmp_path).version
        committer.tables.catalog.drop_table(("quotewatch", "labels"))
        committer.tables.catalog.drop_table(("quotewatch", "features"))
        store_some(committer, frames[:6])
        label_now(committer)
        after = trained(committer, tmp_path)
    assert (after.ready, after.version) == (False, "001-000000001")
    current = models(tmp_path).current()
    assert current is not None
    assert current.version == before


def test_what_came_late_is_not_scored_by_a_model_that_knew_what_came_after(
    tmp_path: Path,
) -> None:
    frames = market()
    lost = [frames[10], frames[12], frames[14]]
    with open_desk(tmp_path) as committer:
        store(
            committer,
            [each for each in frames if each not in lost],
            aside=[Seen(EPOCH, each.id.seq, 1) for each in lost],
        )
        label_now(committer)
        for each in lost:  # redriven, one by one
            store_some(committer, [each])
            label_now(committer)
        assert max(row["batch"] for row in labels_in(committer)) == 4
        report = trained(committer, tmp_path)
    assert report.scores["test_then_train"]["all"]["n"] == 0


def test_an_answer_that_came_when_the_label_was_stored_does_not_count(
    committer: Committer, folder: Path
) -> None:
    rows = labels_in(committer)
    for row in rows:
        row["predicted_at"] = row["labeled_at"]
    store(committer, answers(rows, "000-000000000", 0.75))
    served = trained(committer, folder).scores["served"]
    assert (served["all"]["n"], served["too_late"]) == (0, len(rows))


def test_answers_of_another_line_do_not_count(committer: Committer, folder: Path) -> None:
    store(committer, answers(labels_in(committer), "000-000000000", 0.75))
    trained(committer, folder)
    forget_labels(committer, 500)
    label_now(committer)
    served = trained(committer, folder).scores["served"]
    assert served["all"]["n"] == 0
    assert served["too_late"] > 0


def test_a_newer_format_is_left_to_a_newer_program(committer: Committer, folder: Path) -> None:
    version = trained(committer, folder).version
    assert version is not None
    path = folder / "objects" / "models" / "500ms" / "versions" / version
    path.write_bytes(path.read_bytes().replace(b'"format":1', b'"format":2'))
    error = trained(committer, folder).error
    assert error is not None
    assert "deploy this process again" in error


def test_one_kind_of_label_so_far_is_no_model_to_ask(tmp_path: Path) -> None:
    run = Run()
    for number in range(400):
        run.update("BTC-USD", 1, 1, number * SECOND // 20, Decimal(100))
    with open_desk(tmp_path) as committer:
        store_some(committer, run.feature_frames([40] * 10))
        label_now(committer)
        report = trained(committer, tmp_path)
    assert report.error is None
    assert not report.ready
    assert report.scores["test_then_train"]["all"]["auc"] is None


def test_nothing_labelled_is_nothing_to_learn(tmp_path: Path) -> None:
    with open_desk(tmp_path) as committer:
        report = trained(committer, tmp_path)
    assert (report.version, report.error) == (None, None)


def test_a_pinned_version_goes_on_answering_while_training_goes_on(
    committer: Committer, folder: Path
) -> None:
    first = trained(committer, folder, budget_seconds=0.0).version
    assert first is not None
    models(folder).pin(first)
    report = trained(committer, folder)
    assert report.version is not None
    assert report.version > first
    current = models(folder).current()
    assert current is not None
    assert (current.version, current.pinned) == (first, True)


# Killed anywhere


def run_alone(folder: Path, stage: str, point: str = "") -> int:
    arguments = [str(folder), stage, *([point] if point else [])]
    done = subprocess.run(
        [sys.executable, "-m", "tests.stages.learn_worker", *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode


@pytest.mark.parametrize("point", ["create", "create after", "advance", "advance after"])
def test_killed_anywhere_and_run_again_it_is_the_same_model(
    committer: Committer, folder: Path, tmp_path: Path, point: str
) -> None:
    assert run_alone(folder, "train", point) == -9
    report = trained(committer, folder)
    assert report.error is None
    current = models(folder).current()
    assert current is not None
    assert current.version == report.version
    trained(committer, tmp_path / "undisturbed")
    assert same_numbers(newest(folder), newest(tmp_path / "undisturbed"))


@pytest.mark.parametrize("point", ["files", "files after", "commit", "commit after"])
def test_a_labeller_that_is_killed_loses_and_doubles_nothing(tmp_path: Path, point: str) -> None:
    with open_desk(tmp_path) as committer:
        store_some(committer, market())
    assert run_alone(tmp_path, "label", point) == -9
    with open_desk(tmp_path) as committer:
        label_now(committer)
        killed = told(labels_in(committer))
    with open_desk(tmp_path / "undisturbed") as committer:
        store_some(committer, market())
        label_now(committer)
        assert told(labels_in(committer)) == killed


def told(rows: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted((row["epoch"], row["seq"], row["row"], row["label"]) for row in rows)
