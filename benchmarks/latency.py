"""Where one message spends its time: the demo as it is, by stamp, as its own metrics tell it.

From the exchange's time to: received, published, pulled, committed; of features, predicted.
Percentiles are those of the histogram, straight lines within a bucket. --seconds, --rate.
"""

import argparse
import itertools
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from benchmarks import _timing
from quotewatch.metrics.latency import LATENCY

_STAMPS = ("received", "published", "pulled", "committed", "predicted")
_PERCENTS = (50, 95, 99)
_LONGEST_SECONDS = 400

Buckets = dict[float, float]  # upper bound -> how many lie up to it


def main(options: Sequence[str] = ()) -> None:
    """Run the demo and print a line for each stamp."""
    parser = argparse.ArgumentParser(prog="latency")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=300.0)
    asked = parser.parse_args(options)
    with tempfile.TemporaryDirectory() as folder:
        page = _run(Path(folder) / "data", asked.seconds, asked.rate)
    lines = [_line(stamp, *_counted(page, stamp)) for stamp in _STAMPS]
    _timing.print_table(
        f"From the exchange's time, ms; {asked.rate:g} messages/s, {asked.seconds:g} s", lines
    )


def _run(data: Path, seconds: float, rate: float) -> str:
    flags = {"data": data, "seconds": seconds, "rate": rate}
    done = subprocess.run(
        [sys.executable, "-m", "quotewatch", "demo", *(f"--{k}={v}" for k, v in flags.items())],
        cwd=_timing.ROOT, capture_output=True, text=True, check=False, timeout=_LONGEST_SECONDS,
    )  # fmt: skip
    if done.returncode:
        raise _timing.MeasureError(f"the demo failed:\n{done.stdout[-2_000:]}{done.stderr[-500:]}")
    return (data / "metrics.prom").read_text()


def _counted(page: str, stamp: str) -> tuple[Buckets, float]:
    """Return what all processes together counted, and the sum in seconds."""
    buckets: Buckets = {}
    total = 0.0
    for family in text_string_to_metric_families(page):
        for sample in family.samples if family.name == LATENCY else ():
            if sample.labels["stamp"] != stamp:
                continue
            if sample.name.endswith("_bucket"):
                bound = float(sample.labels["le"])
                buckets[bound] = buckets.get(bound, 0.0) + sample.value
            elif sample.name.endswith("_sum"):
                total += sample.value
    return buckets, total


def _line(stamp: str, buckets: Buckets, total: float) -> dict[str, object]:
    count = max(buckets.values())
    found = {f"p{percent}": _percentile(buckets, percent) * 1e3 for percent in _PERCENTS}
    return {"stamp": stamp, "values": f"{count:.0f}", "mean": total / count * 1e3, **found}


def _percentile(buckets: Buckets, percent: float) -> float:
    """Return the value below which so many in a hundred lie."""
    wanted = max(buckets.values()) * percent / 100
    edges = [(0.0, 0.0), *sorted(buckets.items())]
    for (low, before), (high, up_to) in itertools.pairwise(edges):
        if up_to >= wanted > before:
            width = 0.0 if high == float("inf") else high - low
            return low + width * (wanted - before) / (up_to - before)
    return 0.0
