"""What stages stand on, opened on first use from the settings and closed together."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING

from quotewatch.bus.opening import open_bus
from quotewatch.bus.port import Bus
from quotewatch.bus.topology import topology
from quotewatch.clock import Clock, SystemClock
from quotewatch.metrics.cloud_monitoring import Exporter
from quotewatch.metrics.declared.processes import STAGES
from quotewatch.metrics.opening import open_exporter
from quotewatch.metrics.recorder import Recorder
from quotewatch.objects.opening import open_objects
from quotewatch.objects.port import ObjectStore
from quotewatch.settings import Settings

if TYPE_CHECKING:
    from quotewatch.tables.catalog import Tables
    from quotewatch.tables.commit import Committer


class Resources:
    """One process's bus, tables, objects and metrics. Nothing connects before it is asked for.

    `stages` are those that run in this process: it records their metrics and no others.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        *,
        stages: Sequence[str] = STAGES,
        job: str = "command",
    ) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self._stages = stages
        self._job = stages[0] if len(stages) == 1 else job

    @cached_property
    def recorder(self) -> Recorder:
        """The metrics of this process."""
        return Recorder(self.settings.environment, self._stages)

    @cached_property
    def exporter(self) -> Exporter | None:
        """What brings them to Cloud Monitoring, where the settings ask for it."""
        return open_exporter(self.settings, self.recorder, self._job)

    def export(self, least_seconds: float, timeout_seconds: float | None = None) -> None:
        """Export what was counted, unless that was done so shortly ago."""
        if self.exporter is not None:
            self.exporter.flush(least_seconds, timeout_seconds)

    @cached_property
    def bus(self) -> Bus:
        """The bus."""
        return open_bus(
            self.settings.bus, path=self.settings.bus_path, project=self.settings.project
        )

    @cached_property
    def objects(self) -> ObjectStore:
        """The object store."""
        return open_objects(self.settings.effective_objects)

    @cached_property
    def tables(self) -> "Tables":
        """The tables."""
        # Here, because they take a second to load and `predict` needs none.
        from quotewatch.tables.catalog import Tables, catalog_properties  # noqa: PLC0415

        settings = self.settings
        return Tables(catalog_properties(settings.catalog, settings.warehouse, settings.data_dir))

    @cached_property
    def committer(self) -> "Committer":
        """The one way into the tables."""
        from quotewatch.tables.commit import Committer  # noqa: PLC0415

        return Committer(self.tables, clock=self.clock, recorder=self.recorder)

    def create_names(self) -> bool:
        """Create missing topics and subscriptions; False in the cloud, where they are Terraform's.

        An emulator that was started again has forgotten them.
        """
        if self.settings.bus == "pubsub" and not os.environ.get("PUBSUB_EMULATOR_HOST"):
            return False
        wanted = topology(self.settings.ack_deadline_s)
        self.bus.create(wanted.topics, wanted.subscriptions)
        return True

    def close(self) -> None:
        """Close what was opened; metrics go last, they tell of all the rest."""
        with ExitStack() as closing:  # the last first, and all of them whatever one says
            if "recorder" in self.__dict__ and self.exporter is not None:
                closing.callback(self.__dict__.pop("exporter").close)
            for name in ("tables", "objects", "bus"):
                if name in self.__dict__:
                    closing.callback(self.__dict__.pop(name).close)
