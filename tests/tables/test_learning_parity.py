"""One features row is the same wherever it is met: over real captures."""

from pathlib import Path

import pytest

from quotewatch.clock import SystemClock
from quotewatch.frames import FrameEncoder, decode_carried
from quotewatch.learning.inputs import inputs_of
from quotewatch.learning.store import ModelStore
from quotewatch.local.capture import read_capture
from quotewatch.metrics.recorder import Recorder
from quotewatch.objects.local import LocalObjects
from quotewatch.stages.predict import answers
from quotewatch.stages.train import TrainStage
from tests.captures import capture_files
from tests.gateway.test_parity import EXCHANGE_PRODUCTS
from tests.tables.desk import open_desk
from tests.tables.labelled import label_now
from tests.tables.parity import assert_copied, assert_labelled, assert_recomputed, rows_of
from tests.tables.rows import FrameDesk, store

_WINDOW_US = 250_000
_LEAST = {"exchange": 9_000, "advanced": 2_000}


@pytest.mark.parametrize("place", range(3))
def test_over_a_real_capture_every_features_row_is_the_same_everywhere(
    tmp_path: Path, place: int
) -> None:
    path = capture_files()[place]
    dialect = path.parent.name
    products = EXCHANGE_PRODUCTS if dialect == "exchange" else ["BTC-USD"]
    gateway = FrameDesk("0001-capture", products, dialect)
    closes_us = 0
    for recorded in read_capture(path):
        received_us = round(recorded.at * 1e6)
        if received_us >= closes_us:
            gateway.close_pages()
            closes_us = received_us + _WINDOW_US
        gateway.read(recorded.message, received_us=received_us)
    gateway.journal.note("final", received_us, 1, stream="features", to_id=None)
    gateway.close_pages()
    with open_desk(tmp_path) as committer:
        store(committer, gateway.frames, at_once=500)
        label_now(committer)
        tables, objects = committer.tables, LocalObjects(tmp_path / "objects")
        assert assert_recomputed(tables) >= _LEAST[dialect]
        assert assert_copied(tables) > _LEAST[dialect] / 2
        assert assert_labelled(tables, 500, every=97) > _LEAST[dialect] / 400

        stage = TrainStage(tables, objects, Recorder("test"), SystemClock(), (500,))
        assert not stage.run_once().failed
        version = ModelStore(objects, 500).newest().version
        assert version is not None
        # What a frame is answered is what the row in the table is answered.
        stored = rows_of(tables, "features")
        asked, said = inputs_of(stored), version.model.answers(inputs_of(stored))
        at = 0
        frames = [each for each in gateway.frames if each.id.stream == "features"]
        for frame in frames:
            rows = decode_carried(FrameEncoder().encode(frame)).rows
            end = at + rows.num_rows
            assert inputs_of(rows).matrix.tobytes() == asked.matrix[at:end].tobytes()
            given = answers(rows, [version.model], 0)
            assert given.column("probability").to_pylist() == said[0][at:end].tolist()
            at = end
        assert at == stored.num_rows
