"""Look after the tables: old snapshots, small files and orphans in, the same rows and ledger out.

Runs beside `write` and beside itself. One table that fails holds up no other.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from quotewatch.clock import NS_PER_SECOND, Clock
from quotewatch.logs import get_logger
from quotewatch.metrics.recorder import Recorder
from quotewatch.resources import Resources
from quotewatch.streams import TABLES
from quotewatch.tables.commit import Committer
from quotewatch.tables.orphans import Swept, sweep
from quotewatch.tables.upkeep import Compaction, compact, expire

_log = get_logger("maintain")

BUDGET_SECONDS = 120.0
_SECONDS_PER_HOUR = 3_600


@dataclass
class TableReport:
    """What happened to one table."""

    expired: int = 0  # snapshots
    compacted_files: int = 0
    into_files: int = 0
    groups: int = 0
    swept_files: int = 0
    swept_bytes: int = 0
    skipped: str | None = None  # why something was left as it is
    error: str | None = None


@dataclass
class MaintainReport:
    """One call, by table. Tables that were never made are not among them."""

    seconds: float = 0.0
    tables: dict[str, TableReport] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether a table could not be looked after."""
        return any(each.error for each in self.tables.values())

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


class MaintainStage:
    """Looks after every table, one after the other, each within its share of the time."""

    def __init__(
        self,
        committer: Committer,
        recorder: Recorder,
        clock: Clock,
        *,
        orphan_hours: float,
        budget_seconds: float = BUDGET_SECONDS,
        names: Sequence[str] = tuple(TABLES),
    ) -> None:
        self.committer = committer
        self._recorder = recorder
        self.clock = clock
        self.orphan_hours = orphan_hours
        self.budget_seconds = budget_seconds
        self._names = names

    def run_once(self) -> MaintainReport:
        """Expire, sweep and compact every table there is; what does not fit waits for the next."""
        began = self.clock.monotonic()
        report = MaintainReport()
        for place, name in enumerate(self._names):
            now = self.clock.monotonic()
            share = (began + self.budget_seconds - now) / (len(self._names) - place)
            each = self._look_after(name, now + share)
            if each is not None:
                report.tables[name] = each
                self._count(each)
        report.seconds = round(self.clock.monotonic() - began, 3)
        return report

    def _count(self, report: TableReport) -> None:
        recorder = self._recorder
        recorder.inc("maintain_snapshots_expired_total", report.expired)
        recorder.inc("maintain_files_compacted_total", report.compacted_files)
        recorder.inc("maintain_files_swept_total", report.swept_files)
        recorder.inc("maintain_bytes_swept_total", report.swept_bytes)
        recorder.inc("maintain_failures_total", report.error is not None)

    def _look_after(self, name: str, deadline: float) -> TableReport | None:
        """Look after one table; None where it was never made."""
        report = TableReport()
        try:
            if self.committer.tables.find(name) is None:
                return None
            self._work(name, report, lambda: self.clock.monotonic() >= deadline)
        except Exception as error:  # noqa: BLE001 - the other tables must have their turn
            report.error = f"{type(error).__name__}: {error}"
            _log.error("maintained", table=name, **asdict(report))
        else:
            _log.info("maintained", table=name, **asdict(report))
        return report

    def _work(self, name: str, report: TableReport, is_over: Callable[[], bool]) -> None:
        now_ns = self.clock.now_ns()
        oldest_kept_ns = now_ns - round(self.orphan_hours * _SECONDS_PER_HOUR * NS_PER_SECOND)
        swept, merged = Swept(), Compaction()
        try:
            report.expired = expire(self.committer, name)
            # Before the rest: a backlog of files to merge must not fill the disk with orphans.
            sweep(self.committer.tables, name, oldest_kept_ns, is_over, swept)
            compact(self.committer, name, now_ns, is_over, merged)
        finally:
            report.swept_files, report.swept_bytes = swept.files, swept.bytes
            report.compacted_files, report.into_files = merged.files, merged.into
            report.groups = merged.groups
            report.skipped = "; ".join(filter(None, (swept.skipped, merged.skipped))) or None


def build(resources: Resources) -> MaintainStage:
    """Make the stage the settings ask for."""
    return MaintainStage(
        resources.committer,
        resources.recorder,
        resources.clock,
        orphan_hours=resources.settings.orphan_hours,
    )
