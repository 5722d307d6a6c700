"""From the feed's stamp to the answer on the bus: gateway and `predict` as processes, 5 000/s.

The bus is SQLite, the model was learnt before. A row waits for its window, then for the bus, for
`predict` to see the frame, and for the answer to be stored. FEED_TO_PREDICTION_SECONDS changes how
long it lasts.
"""

import json
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks import trained
from benchmarks._timing import MeasureError, print_table
from benchmarks.level2_batch import PRODUCTS
from quotewatch.bus.sqlite import SqliteBus
from quotewatch.bus.topology import PREDICT, write_subscription
from quotewatch.frames import decode_carried
from quotewatch.local.children import Child
from quotewatch.objects.local import LocalObjects
from quotewatch.streams import FEATURES, PREDICTIONS

_RATE = 5_000
_SECONDS = float(os.environ.get("FEED_TO_PREDICTION_SECONDS", "20"))
_WINDOW_MS = 250
_AIM_MS = _WINDOW_MS + 50
_WARM_SECONDS = 3.0
_DRAIN_SECONDS = 20.0
_LOOK_SECONDS = 0.1

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """A frame on the bus: when it came, and when its rows were sent."""

    published_ns: int
    sent_us: npt.NDArray[np.int64]

    @property
    def late_ms(self) -> Floats:
        """How long ago each row was sent."""
        return (self.published_ns // 1_000 - self.sent_us) / 1e3


def main() -> None:
    """Run it and print what a row waited for."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        _run(data)
        with closing(SqliteBus(data / "bus.db")) as bus:
            features, answers = _seen(bus, FEATURES.name), _seen(bus, PREDICTIONS.name)
    kept = [at for at in _after_warming(features) if at in answers]
    unanswered = features.keys() - answers.keys()
    rows = [
        _line("features on the bus", np.concatenate([features[at].late_ms for at in kept])),
        _line("answers on the bus", np.concatenate([answers[at].late_ms for at in kept]), _AIM_MS),
        _line("between, frame by frame", _between(features, answers, kept)),
    ]
    print_table(
        f"Feed to prediction, ms; {len(PRODUCTS)} products, {_RATE} messages/s, {_SECONDS:g} s,"
        f" windows of {_WINDOW_MS} ms, {os.cpu_count()} cores",
        rows,
    )
    missing = sum(each.sent_us.size for each in features.values()) - sum(
        each.sent_us.size for each in answers.values()
    )
    print(
        f"  {len(features)} frames of features, {len(unanswered)} without an answer,"
        f" {missing} rows without one"
    )


def _run(data: Path) -> None:
    """Let the feed send to the gateway, and `predict` answer, until all is answered."""
    trained.serve(LocalObjects(data / "objects"))
    environment = {**os.environ, "QUOTEWATCH_DATA_DIR": str(data)}
    seconds = _SECONDS + _WARM_SECONDS
    feed = Child(
        "feed", ["benchmarks.load_feed", str(_RATE), str(seconds)], data / "feed.log", environment,
        speaks=True,
    )  # fmt: skip
    port = json.loads(feed.next_line())["port"]
    predict = Child(
        "predict", ["quotewatch", "stage", "predict", "--every", "1"], data / "predict.log",
        environment, speaks=True,
    )  # fmt: skip
    predict.next_line()  # its first second is over
    gateway = Child(
        "gateway", ["ingest_gateway"], data / "gateway.log", environment | _gateway_settings(port)
    )
    children = (feed, gateway, predict)
    try:
        feed.next_line()  # all is sent
        gateway.stop()
        _wait_for_answers(data, predict)
    finally:
        for child in children:
            child.stop()


def _gateway_settings(port: int) -> dict[str, str]:
    return {
        "QUOTEWATCH_FEED_URL": f"ws://127.0.0.1:{port}",
        "QUOTEWATCH_PRODUCTS": ",".join(PRODUCTS),
        "QUOTEWATCH_PRODUCTS_PER_CONNECTION": str(len(PRODUCTS)),
        "QUOTEWATCH_FRAME_MS_FEATURES": str(_WINDOW_MS),
        "QUOTEWATCH_HTTP_PORT": "0",
    }


def _wait_for_answers(data: Path, predict: Child) -> None:
    with closing(SqliteBus(data / "bus.db")) as bus:
        deadline = time.monotonic() + _DRAIN_SECONDS
        while bus.backlog(PREDICT).messages and time.monotonic() < deadline:
            predict.check()
            time.sleep(_LOOK_SECONDS)


def _seen(bus: SqliteBus, stream: str) -> dict[int, Seen]:
    """Return the frames of a stream by their number; of an answer given twice the first."""
    found: dict[int, Seen] = {}
    for waiting in bus.browse(write_subscription(stream)):
        frame = decode_carried(waiting.message)
        sent: Any = frame.rows.column("exchange_time").cast(pa.int64())
        seen = Seen(waiting.published_ns, np.asarray(sent.to_numpy(), np.int64))
        found.setdefault(frame.id.seq, seen)
    if not found:
        raise MeasureError(f"no frame of {stream} came to the bus")
    return found


def _after_warming(features: Mapping[int, Seen]) -> list[int]:
    """Name all frames but the first: connecting is another measure."""
    began = min(each.published_ns for each in features.values())
    warm = began + int(_WARM_SECONDS * 1e9)
    return [at for at, each in features.items() if each.published_ns >= warm and each.sent_us.size]


def _between(features: Mapping[int, Seen], answers: Mapping[int, Seen], kept: list[int]) -> Floats:
    return np.array([answers[at].published_ns - features[at].published_ns for at in kept]) / 1e6


def _line(name: str, late_ms: Floats, aim: int | None = None) -> dict[str, object]:
    p50, p99 = (float(each) for each in np.quantile(late_ms, (0.5, 0.99)))
    return {
        "what": name,
        "count": late_ms.size,
        "p50": p50,
        "p99": p99,
        "longest": float(late_ms.max()),
        "p99 aim": aim,
    }


if __name__ == "__main__":
    main()
