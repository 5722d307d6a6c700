"""What metrics cost on the gateway's hot path: messages a second with and without.

CPU time of one core. What is recorded is timed where it is recorded, once a frame and once a
second, and the increments that the loop makes in plain integers by themselves: two runs beside each
other differ by more than that on a machine that others use.
"""

import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

import pyarrow as pa

from benchmarks import _timing
from benchmarks.gateway import Gateway
from benchmarks.workloads import SOURCES, Source, Workload, load, missing
from quotewatch.clock import SystemClock
from quotewatch.message import Message
from quotewatch.metrics.catalogue import metrics_of
from quotewatch.metrics.recorder import Recorder

AIM = 0.97
_HERE = "benchmarks.instrumentation"
_PROCESSES = 3
_PASSES = 6
_FRAME_ROWS = 1_000
_MESSAGES_A_SECOND = 5_000
_MESSAGES = frozenset({"raw_orderbook", "raw_trades"})
_GAUGES = [
    metric for metric in metrics_of("gateway") if metric.kind == "gauge" and not metric.labels
]


class Instrumented(Gateway):
    """The same, measured as the deployed gateway measures itself."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._clock = SystemClock()
        self._recorder = Recorder("bench", ("gateway",))
        self._products = source.products
        self._until_readings = _MESSAGES_A_SECOND
        self.spent = 0.0  # seconds of CPU for metrics

    def frame(self, stream: str) -> Message:
        """Encode a page, and count what is counted of it on its way to the bus."""
        began = self._clock.monotonic()
        rows, message = self.built(stream)
        measured = time.process_time()
        self._measure(stream, rows, message, self._clock.monotonic() - began)
        self.spent += time.process_time() - measured
        return message

    def _measure(self, stream: str, rows: pa.RecordBatch, message: Message, seconds: float) -> None:
        recorder = self._recorder
        recorder.inc("gateway_rows_total", rows.num_rows, stream=stream)
        if stream == "features":
            recorder.observe("pipeline_callback_duration_seconds", seconds, stage=stream)
        recorder.observe("gateway_publish_seconds", seconds)
        recorder.inc("gateway_frames_published_total", stream=stream)
        recorder.inc("gateway_bytes_published_total", len(message.data), stream=stream)
        if stream in _MESSAGES:
            self._until_readings -= rows.num_rows
        if self._until_readings <= 0:
            self._until_readings = _MESSAGES_A_SECOND
            self._read()

    def _read(self) -> None:
        """Do what is done once a second."""
        for kind in self.tape.counts:
            self._recorder.inc("coinbase_messages_received_total", type=kind)
        for metric in _GAUGES:
            self._recorder.set(metric.name, 1)
        for product in self._products:
            self._recorder.set("coinbase_last_trade_id", 1, product=product)
            self._recorder.set("coinbase_match_sequence", 1, product=product)


def main() -> None:
    """Measure every workload that this machine has, and print the table."""
    rows = []
    for source in SOURCES.values():
        reason = missing(source)
        if reason:
            print(f"{source.name} ({source.title}) skipped: {reason}")
        else:
            rows.append(_compare(source))
    _timing.print_table(f"Hot path, us of CPU a message, frames of {_FRAME_ROWS} rows", rows)


def _compare(source: Source) -> dict[str, object]:
    shares = [each for _ in range(_PROCESSES) for each in _timing.measure(_HERE, source.name)]
    best = min(each["us"] for each in shares)
    ratio = statistics.median(1 - each["metrics_us"] / each["us"] for each in shares)
    return {
        "workload": f"{source.name} {source.title}",
        "with": best,
        "without": best * ratio,
        "ratio": ratio,
        "aim": AIM,
        "": "ok" if ratio >= AIM else "short",
    }


def _shares(workload: Workload) -> list[dict[str, float]]:
    """Return what a message costs, and what of it is for metrics, pass by pass."""
    count = len(workload.messages)
    found = []
    for _ in range(_PASSES):
        gateway = Instrumented(workload.source)
        gateway.read(workload.opening)
        gateway.frames()
        gateway.spent = 0.0
        seconds = _timing.cpu_seconds(partial(gateway.run, workload.messages, _FRAME_ROWS))
        spent = gateway.spent / count * 1e6 + _counting(workload)
        found.append({"us": seconds / count * 1e6, "metrics_us": spent})
    return found


def _counting(workload: Workload) -> float:
    """Measure one increment a message, as the loop makes it."""
    counts: Counter[str] = Counter()
    kinds = ["l2update"] * len(workload.messages)

    def count() -> None:
        for kind in kinds:
            counts[kind] += 1

    def go_round() -> None:
        for _ in kinds:
            pass

    return _per_message(workload, lambda: count) - _per_message(workload, lambda: go_round)


def _per_message(workload: Workload, prepare: Callable[[], Callable[[], object]]) -> float:
    return _timing.best_cpu_seconds(prepare, 1) / len(workload.messages) * 1e6


if __name__ == "__main__":
    _timing.pin()
    print(json.dumps(_shares(load(sys.argv[1]))))
