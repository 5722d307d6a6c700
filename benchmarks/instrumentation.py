"""What metrics cost on the gateway's hot path: messages a second with and without.

CPU time a message, fresh processes by turns. Without: no recorder, no durations, and less the
increments that the loop makes in plain integers.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable

from benchmarks import _timing
from benchmarks.gateway import Gateway
from benchmarks.workloads import SOURCES, Source, Workload, load, missing
from ingest_gateway.timing import Timing
from quotewatch.clock import SystemClock
from quotewatch.message import Message
from quotewatch.metrics.catalogue import metrics_of
from quotewatch.metrics.recorder import Recorder

AIM = 0.97
_HERE = "benchmarks.instrumentation"
_ROUNDS = 6
_PASSES = 3
_FRAME_ROWS = 1_000
_MESSAGES_A_SECOND = 5_000
_GAUGES = [
    metric for metric in metrics_of("gateway") if metric.kind == "gauge" and not metric.labels
]


class Instrumented(Gateway):
    """The same, measured as the deployed gateway measures itself."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._clock = SystemClock()
        self._recorder = Recorder("bench", ("gateway",))
        self._timing = Timing(self._recorder, self._clock)
        self._products = source.products
        self._until_readings = _MESSAGES_A_SECOND

    def frame(self, stream: str) -> Message:
        """Encode a page, and count what is counted of it on its way to the bus."""
        began = self._clock.monotonic()
        rows, message = self.built(stream)
        sent = self._timing.received(stream, rows)
        self._timing.encoded(stream, began)
        recorder = self._recorder
        recorder.inc("gateway_rows_total", rows.num_rows, stream=stream)
        self._timing.published(stream, message, sent)
        recorder.observe("gateway_publish_seconds", self._clock.monotonic() - began)
        recorder.inc("gateway_frames_published_total", stream=stream)
        recorder.inc("gateway_bytes_published_total", len(message.data), stream=stream)
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
    found: dict[str, list[float]] = {name: [] for name in _MEASURES}
    for _ in range(_ROUNDS):
        for name, took in found.items():
            took.append(_timing.measure(_HERE, name, source.name))
    best = {name: min(took) for name, took in found.items()}
    without = best["bare"] - best["counting"]
    ratio = without / best["measured"]
    return {
        "workload": f"{source.name} {source.title}",
        "with": best["measured"],
        "without": without,
        "ratio": ratio,
        "aim": AIM,
        "": "ok" if ratio >= AIM else "short",
    }


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
    return _timing.best_cpu_seconds(prepare, _PASSES) / len(workload.messages) * 1e6


_MEASURES: dict[str, Callable[[Workload], float]] = {
    "bare": lambda workload: _run(workload, Gateway),
    "measured": lambda workload: _run(workload, Instrumented),
    "counting": _counting,
}

if __name__ == "__main__":
    _timing.pin()
    print(json.dumps(_MEASURES[sys.argv[1]](load(sys.argv[2]))))
