"""Pushes to functions/predict.py as it is deployed: how long a request takes.

A real functions-framework process on loopback, raw envelopes as Pub/Sub sends them, one connection
that is kept, one request after the other.
"""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Thread

import numpy as np
import urllib3

from benchmarks import trained
from benchmarks._timing import ROOT, MeasureError
from benchmarks.feature_rows import frames_of
from quotewatch.bus.sqlite import SqliteBus
from quotewatch.bus.topology import topology, write_subscription
from quotewatch.message import Message
from quotewatch.objects.local import LocalObjects
from quotewatch.streams import PREDICTIONS

REQUESTS = 500
_WARM = 20
_PATIENCE_SECONDS = 60.0
_LISTENING = re.compile(r"Listening at: http://127\.0\.0\.1:([0-9]+)")
_DOOR = ROOT / "functions" / "predict.py"
_NOTHING = """
import functions_framework


@functions_framework.cloud_event
def nothing(event):
    pass
"""


def line(rows: int) -> dict[str, object]:
    """Push frames of so many rows, then to a function that does nothing, and say what it took."""
    messages = frames_of(rows, _WARM + REQUESTS)
    bodies = [_envelope(each) for each in messages]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        nothing = data / "nothing.py"
        nothing.write_text(_NOTHING)
        with _serving(nothing, "nothing", data) as url:
            floor = _push(url, bodies)
        with closing(SqliteBus(data / "bus.db")) as bus:
            wanted = topology()
            bus.create(wanted.topics, wanted.subscriptions)
            trained.serve(LocalObjects(data / "objects"))
            with _serving(_DOOR, "predict", data) as url:
                ours = _push(url, bodies)
            _check(bus, rows)
    p50, p99 = np.quantile(ours, (0.5, 0.99))
    floor50, floor99 = np.quantile(floor, (0.5, 0.99))
    return {
        "rows a frame": rows,
        "bytes of a body": len(bodies[-1]),
        "p50 ms": float(p50),
        "p99 ms": float(p99),
        "nothing p50": float(floor50),
        "nothing p99": float(floor99),
        "p50 of nothing": float(p50 / floor50),
        "rows/s": round(rows * len(ours) / sum(ours) * 1e3),
    }


def _envelope(message: Message) -> bytes:
    carried = {
        "data": base64.b64encode(message.data).decode(),
        "attributes": dict(message.attributes),
        "messageId": "1",
        "publishTime": "2026-11-21T12:00:00Z",
    }
    subscription = "projects/p/subscriptions/features.predict"
    return json.dumps({"subscription": subscription, "message": carried}).encode()


def _push(url: str, bodies: Sequence[bytes]) -> list[float]:
    """Return the milliseconds of every request but the first ones."""
    taken = []
    with urllib3.PoolManager(retries=False, timeout=_PATIENCE_SECONDS) as pool:
        for body in bodies:
            began = time.perf_counter()
            answer = pool.request(
                "POST", url, body=body, headers={"Content-Type": "application/json"}
            )
            taken.append((time.perf_counter() - began) * 1e3)
            if answer.status >= 300:
                raise MeasureError(
                    f"a push was answered with {answer.status}: {answer.data[:200]!r}"
                )
    return taken[_WARM:]


def _check(bus: SqliteBus, rows: int) -> None:
    there = [
        each.message.attributes["rows"] for each in bus.browse(write_subscription(PREDICTIONS.name))
    ]
    if there != [str(rows)] * (_WARM + REQUESTS):
        raise MeasureError(f"{len(there)} frames of predictions, not each with {rows} rows")


@contextmanager
def _serving(source: Path, target: str, data: Path) -> Iterator[str]:
    """Serve a function on a port that nobody else has, and yield its URL."""
    process = subprocess.Popen(
        [
            sys.executable, "-m", "functions_framework", f"--source={source}",
            f"--target={target}", "--host=127.0.0.1", "--port=0",
        ],
        cwd=data,
        env={
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "GUNICORN_LOG_LEVEL": "info",
            "QUOTEWATCH_DATA_DIR": str(data),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None  # noqa: S101 - it was asked for
    with process.stderr as log:
        try:
            url = f"http://127.0.0.1:{_port(log)}/"
            Thread(target=lambda: [None for _ in log], daemon=True).start()
            yield url
        finally:
            with suppress(ProcessLookupError):  # master and worker
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _port(log: Iterator[str]) -> int:
    said = []
    for each in log:
        said.append(each)
        if found := _LISTENING.search(each):
            return int(found[1])
    raise MeasureError("the framework ended: " + "".join(said[-3:]))
