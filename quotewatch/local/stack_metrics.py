"""What all processes of a run count, on one page: each series says whose it is.

Stages and a gateway that has ended leave theirs in files; a gateway that runs is asked.
"""

import http.client
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from quotewatch.metrics.recorder import Recorder

PROCESS = "process"
_SUFFIX = ".prom"
_HTTP_SECONDS = 2.0


def metrics_folder(data: Path) -> Path:
    """Return where the processes of a run leave what they counted."""
    return data / "metrics"


def metrics_file(data: Path, process: str) -> Path:
    """Return where one of them does."""
    return metrics_folder(data) / f"{process}{_SUFFIX}"


def told_where(data: Path, process: str) -> dict[str, str]:
    """Return what tells a process of the run to leave its page there."""
    return {"QUOTEWATCH_METRICS_FILE": str(metrics_file(data, process))}


def forget_pages(data: Path) -> None:
    """Remove the pages of an earlier run: its counts are not those of this one."""
    for path in metrics_folder(data).glob(f"*{_SUFFIX}"):
        path.unlink(missing_ok=True)


class StackMetrics:
    """The page of one run. `own` is what is recorded in this process."""

    def __init__(
        self, data: Path, gateway_port: Callable[[], int | None], own: Mapping[str, Recorder]
    ) -> None:
        self._folder = metrics_folder(data)
        self._gateway_port = gateway_port
        self._own = own

    def exposition(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return merged(dict(self._pages()))

    def _pages(self) -> Iterator[tuple[str, bytes]]:
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            yield path.stem, path.read_bytes()
        running = self._ask_gateway()
        if running is not None:  # newer than its file: that is of an earlier run here
            yield "gateway", running
        for name, recorder in self._own.items():
            yield name, recorder.exposition()

    def _ask_gateway(self) -> bytes | None:
        port = self._gateway_port()
        if port is None:
            return None
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_HTTP_SECONDS)
        with closing(connection), suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/metrics")
            return connection.getresponse().read()
        return None


def merged(pages: Mapping[str, bytes]) -> bytes:
    """Put the pages of several processes together; each sample gets the name of its process."""
    registry = CollectorRegistry()
    registry.register(_Pages(pages))
    return generate_latest(registry)


class _Pages(Collector):
    def __init__(self, pages: Mapping[str, bytes]) -> None:
        self._pages = pages

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for process, page in self._pages.items():
            for found in text_string_to_metric_families(page.decode()):
                family = families.setdefault(
                    found.name, Metric(found.name, found.documentation, found.type)
                )
                for sample in found.samples:
                    labels = {**sample.labels, PROCESS: process}
                    family.add_sample(sample.name, labels, sample.value)
        yield from families.values()
