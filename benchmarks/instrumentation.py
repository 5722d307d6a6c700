"""What metrics cost on the gateway's hot path: messages a second with and without.

CPU time a message, with and without by turns in the same process. Without: no recorder, no
durations, and less the increments that the loop makes in plain integers.
"""

import json
import statistics
import sys
from collections import Counter
from collections.abc import Callable

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
_PAIRS = 8
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

    def frame(self, stream: str) -> Message:
        """Encode a page, and count what is counted of it on its way to the bus."""
        began = self._clock.monotonic()
        rows, message = self.built(stream)
        recorder, seconds = self._recorder, self._clock.monotonic() - began
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
        return message

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
    pairs = [pair for _ in range(_PROCESSES) for pair in _timing.measure(_HERE, source.name)]
    # Each pair is of one moment: what slows a busy machine slows both.
    ratio = statistics.median(without / measured for without, measured in pairs)
    return {
        "workload": f"{source.name} {source.title}",
        "with": min(measured for _, measured in pairs),
        "without": min(without for without, _ in pairs),
        "ratio": ratio,
        "aim": AIM,
        "": "ok" if ratio >= AIM else "short",
    }


def _pairs(workload: Workload) -> list[tuple[float, float]]:
    """Measure without and with, by turns."""
    found = []
    for at in range(_PAIRS):
        kinds = (Gateway, Instrumented) if at % 2 else (Instrumented, Gateway)
        took = {kind: _run(workload, kind) for kind in kinds}
        found.append((took[Gateway] - _counting(workload), took[Instrumented]))
    return found


def _run(workload: Workload, kind: type[Gateway]) -> float:
    def prepare() -> Callable[[], object]:
        gateway = kind(workload.source)
        gateway.read(workload.opening)
        gateway.frames()
        return lambda: gateway.run(workload.messages, _FRAME_ROWS)

    return _per_message(workload, prepare)


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
    print(json.dumps(_pairs(load(sys.argv[1]))))
