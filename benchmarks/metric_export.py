"""What an export of the whole catalogue costs: calls and time, to a stand-in on loopback.

Every process of a deployment of 20 products, with every series it may have.
"""

import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import _timing
from quotewatch.metrics.catalogue import CATALOGUE, OWNERS, metrics_of
from quotewatch.metrics.cloud_monitoring import Exporter
from quotewatch.metrics.metric import PRODUCT, Metric
from quotewatch.metrics.recorder import Recorder

PRODUCTS = [f"C{number}-USD" for number in range(20)]
_EXPORTS = 30
_MINUTE = 60.0


def main() -> None:
    """Export again and again, a minute of the clock apart, and print a line."""
    with tempfile.TemporaryDirectory() as folder:
        dump = Path(folder) / "held.jsonl"
        with _stand_in(dump) as address:
            first, later, cpu, series = _export(address)
        calls = json.loads(dump.read_text().splitlines()[-1])["calls"]
    print(
        f"  all {len(CATALOGUE)} metrics, {len(PRODUCTS)} products, {len(OWNERS)} processes:"
        f" {series} series in {calls['CreateTimeSeries'] / _EXPORTS:.0f} calls,"
        f" {later:.0f} ms of which {cpu:.0f} ms CPU of ours; the first one, with"
        f" {calls['CreateMetricDescriptor']} descriptors to make: {first:.0f} ms"
    )


def _export(address: str) -> tuple[float, float, float, int]:
    """Return milliseconds of the first, of the median, their CPU, and the number of series."""
    now = [time.time() - _EXPORTS * _MINUTE]
    recorders = {owner: Recorder("bench", (owner,), now=lambda: now[0] - 1) for owner in OWNERS}
    exporters = [
        Exporter(each, owner, project="bench", emulator=address, now=lambda: now[0])
        for owner, each in recorders.items()
    ]
    for owner, each in recorders.items():
        for metric in metrics_of(owner):
            _fill(each, metric, owner)
    took, cpu = [], []
    for _ in range(_EXPORTS):
        now[0] += _MINUTE
        began, began_cpu = time.perf_counter(), time.process_time()
        for exporter in exporters:
            exporter.flush(0)
        took.append((time.perf_counter() - began) * 1e3)
        cpu.append((time.process_time() - began_cpu) * 1e3)
    series = sum(len(list(each.samples())) for each in recorders.values())
    return took[0], statistics.median(took[1:]), statistics.median(cpu[1:]), series


def _fill(recorder: Recorder, metric: Metric, owner: str) -> None:
    """Give a metric every series it may have in a process."""
    values = {label: sorted(listed) for label, listed in metric.owners[owner].items()}
    if metric.per_product:
        values[PRODUCT] = PRODUCTS
    every = itertools.product(*values.values())
    for chosen in itertools.islice(every, metric.series(owner, len(PRODUCTS))):
        labels = dict(zip(values, chosen, strict=True))
        match metric.kind:
            case "counter":
                recorder.inc(metric.name, 1, **labels)
            case "gauge":
                recorder.set(metric.name, 1, **labels)
            case "histogram":
                recorder.observe(metric.name, 1, **labels)


@contextmanager
def _stand_in(dump: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.fakes.monitoring", "--dump", str(dump)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=_timing.ROOT) as process:
        if process.stdout is None:
            raise _timing.MeasureError("the stand-in has no pipe to speak into")
        try:
            yield json.loads(process.stdout.readline())["address"]
        finally:
            process.terminate()
