"""What a run on this machine tells of itself: one /metrics for all of it, and what it exports."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Self

from ingest_gateway.health import HealthServer
from quotewatch.errors import SettingsError
from quotewatch.local.stack_metrics import StackMetrics
from quotewatch.metrics.declared.processes import CONSOLE
from quotewatch.metrics.opening import open_exporter
from quotewatch.metrics.recorder import Recorder, write_page
from quotewatch.settings import Settings

# Of the environment's settings those that a demo follows, too: they change nothing it stores.
FOLLOWED = ("MONITORING", "METRICS_EXPORT_SECONDS")


class Telemetry(AbstractContextManager["Telemetry"]):
    """The page of one run, served while it lasts, left as a file at its end."""

    def __init__(self, settings: Settings, gateway_port: Callable[[], int | None]) -> None:
        data = settings.data_dir
        self.recorder = Recorder(settings.environment, (CONSOLE,))
        self.file = data / "metrics.prom"
        self._page = StackMetrics(data, gateway_port, {CONSOLE: self.recorder})
        self._exporter = open_exporter(settings, self.recorder, CONSOLE)
        self._server = _listen(settings.http_port)

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self._server.port}/metrics"

    def __enter__(self) -> Self:
        """Begin to serve and to export."""
        self._server.start(alive=list, ready=list, metrics=self._page.exposition)
        if self._exporter is not None:
            self._exporter.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving; write the page down."""
        self._server.close()
        if self._exporter is not None:
            self._exporter.close()
        write_page(self.file, self._page.exposition())


def followed(environment: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Return what a run follows of an environment that it does not follow otherwise."""
    names = [prefix + name for name in FOLLOWED]
    return {name: environment[name] for name in names if name in environment}


def _listen(port: int) -> HealthServer:
    try:
        return HealthServer(port, loopback=True)
    except OSError as error:
        raise SettingsError(
            f"port {port} for /metrics: {error.strerror}; name another with --metrics-port"
        ) from error
