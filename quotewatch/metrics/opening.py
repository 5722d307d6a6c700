"""The exporter that the settings ask for."""

from quotewatch.metrics.cloud_monitoring import Exporter
from quotewatch.metrics.recorder import Recorder
from quotewatch.settings import Settings


def open_exporter(settings: Settings, recorder: Recorder, job: str) -> Exporter | None:
    """Return the exporter of a process; None where metrics stay here. Nothing connects yet."""
    if not settings.exports_metrics:
        return None
    return Exporter(
        recorder,
        job,
        project=settings.project or "local",
        emulator=settings.monitoring_emulator,
        every_seconds=settings.metrics_export_seconds,
    )
