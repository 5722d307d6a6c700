"""Prove what is complete and fetch what is missing: durable rows in, healed trades and `gaps` out.

Nothing is believed but tables and their ledgers. What cannot be healed stays in `gaps` with its
reason.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pyiceberg.table import Table

from quotewatch.clock import US_PER_SECOND, Clock
from quotewatch.errors import QuoteWatchError
from quotewatch.healing import Healing
from quotewatch.intervals import Intervals
from quotewatch.logs import get_logger
from quotewatch.metrics.recorder import Recorder
from quotewatch.resources import Resources
from quotewatch.streams import TABLES
from quotewatch.tables.commit import Change, Committer
from quotewatch.tables.data_files import write_files
from quotewatch.tables.durable import Durable, read_durable
from quotewatch.tables.gaps import Gap, Scope, compare, compare_outages, read_gaps, rows_of_gaps
from quotewatch.tables.ledger import Ledger
from quotewatch.trade_source import RestTrades

_log = get_logger("reconcile")

_GAPS = TABLES["gaps"]
# How far before its last run it looks again: frames may come late, from a spool.
_LOOK_BACK_US = 6 * 3_600 * US_PER_SECOND
_MARK = "reconciled_us"
_MARK_US = 3_600 * US_PER_SECOND  # a run that finds nothing moves the mark this often

Verdicts = Mapping[Scope, Mapping[str, str]]  # whose -> gap_id -> why it will never come


@dataclass
class ReconcileReport:
    """One call. `fetched` counts trades, `missing` trades or frames, all else counts gaps."""

    seconds: float = 0.0
    opened: int = 0
    healed: int = 0
    permanent: int = 0
    still_open: int = 0
    fetched: int = 0
    requests: int = 0
    missing: dict[str, int] = field(default_factory=dict)  # by table, after healing
    completeness: dict[str, float] = field(default_factory=dict)  # by table, after healing
    unhealed: dict[str, str] = field(default_factory=dict)  # product -> why it waits
    error: str | None = None

    @property
    def failed(self) -> bool:
        """Whether the tables could not be read or written."""
        return self.error is not None

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


@dataclass(frozen=True)
class _View:
    """What a look at the tables has shown, and the gaps as they are after it."""

    durable: Durable
    missing: Mapping[Scope, Intervals]
    gaps: Sequence[Gap]


class ReconcileStage:
    """Compares, fetches, and writes down what is left."""

    def __init__(
        self,
        committer: Committer,
        recorder: Recorder,
        clock: Clock,
        source: Callable[[], RestTrades],
        *,
        settle_seconds: float,
        patience_seconds: float,
    ) -> None:
        self._committer = committer
        self._recorder = recorder
        self._clock = clock
        self._source = source
        self._settle_us = round(settle_seconds * US_PER_SECOND)
        self._patience_us = round(patience_seconds * US_PER_SECOND)

    def run_once(self) -> ReconcileReport:
        """Write down what is missing, fetch the trades of it, write down what has changed."""
        began = self._clock.monotonic()
        report = ReconcileReport()
        try:
            self._run(report)
        except QuoteWatchError as error:
            report.error = str(error)
        report.seconds = round(self._clock.monotonic() - began, 3)
        self._count(report)
        (_log.error if report.failed else _log.info)("reconciled", **report.plain())
        return report

    def _run(self, report: ReconcileReport) -> None:
        # Asked first: a commit waits for a catalog that is away, and here nothing is to be lost.
        self._committer.tables.load(_GAPS.name)
        view = self._note({}, report)
        wanted = [gap for gap in view.gaps if self._may_be_fetched(gap)]
        if wanted:
            # A gap stands in the table before anything is fetched for it: a crash hides nothing.
            verdicts = self._heal(wanted, view.missing, report)
            view = self._note(verdicts, report)
        report.missing, report.completeness = view.durable.completeness(view.missing)
        still_open = [gap.first_us for gap in view.gaps if gap.state == "open"]
        report.still_open = len(still_open)
        self._gauge(report, min(still_open, default=0))

    def _count(self, report: ReconcileReport) -> None:
        """Count what was done, also by a call that failed later."""
        recorder = self._recorder
        for state in ("opened", "healed", "permanent"):
            recorder.inc("reconcile_gaps_total", getattr(report, state), state=state)
        recorder.inc("reconcile_trades_fetched_total", report.fetched)
        recorder.inc("reconcile_requests_total", report.requests)

    def _gauge(self, report: ReconcileReport, oldest_us: int) -> None:
        """Show what was proven. A call that fails proves nothing, and leaves it as it was."""
        recorder = self._recorder
        for table, count in report.missing.items():
            recorder.set("data_missing", count, table=table)
        for table, share in report.completeness.items():
            recorder.set("data_completeness_ratio", share, table=table)
        recorder.set("reconcile_gaps_open", report.still_open)
        recorder.set("reconcile_oldest_gap_timestamp_seconds", oldest_us / US_PER_SECOND)

    def _note(self, verdicts: Verdicts, report: ReconcileReport) -> _View:
        """Append to `gaps` what has changed; return all gaps as they are now."""
        views: list[_View] = []
        changed: list[Gap] = []

        def plan(table: Table, ledger: Ledger) -> Change | None:
            # Asked of the tables each time: of two runs at once only one may write a row down.
            now_us = self._now_us()
            known = read_gaps(table)
            # Only now: what is healed in the gaps just read is there in what is read here.
            durable = self._look(ledger, known, now_us)
            missing = durable.missing(known)
            changed[:] = [
                *compare(
                    filter(durable.can_judge, known), missing, now_us,
                    patience_us=self._patience_us, verdicts=verdicts,
                ),
                *compare_outages(known, durable.outages(), now_us, since_us=durable.since_us),
            ]  # fmt: skip
            now = {gap.gap_id: gap for gap in [*known, *changed]}
            views[:] = [_View(durable, missing, list(now.values()))]
            if not changed and now_us - ledger.marks.get(_MARK, 0) < _MARK_US:
                return None
            files = write_files(table, _GAPS, rows_of_gaps(changed, "reconcile"))
            return Change(ledger.mark(_MARK, now_us), files)

        self._committer.commit(_GAPS.name, plan)
        _count(changed, report)
        return views[0]

    def _look(self, ledger: Ledger, known: Iterable[Gap], now_us: int) -> Durable:
        """Read what is durable; the journal from before the last run and all that is open."""
        mark = ledger.marks.get(_MARK)
        since_us = 0
        if mark is not None:
            times = [
                gap.from_us for gap in known if gap.state == "open" and gap.from_us is not None
            ]
            since_us = max(0, min([mark, *times]) - _LOOK_BACK_US)
        return read_durable(self._committer.tables, since_us, now_us - self._settle_us)

    def _may_be_fetched(self, gap: Gap) -> bool:
        """Say whether a gap is one of trades, and old enough that none of them is on its way."""
        age_us = self._now_us() - gap.first_us
        return gap.scope.kind == "trades" and gap.state == "open" and age_us >= self._settle_us

    def _heal(
        self, wanted: Iterable[Gap], missing: Mapping[Scope, Intervals], report: ReconcileReport
    ) -> Verdicts:
        """Fetch missing trades; return what the exchange says about those it does not have."""
        healing = Healing(self._committer, self._clock, self._source())
        verdicts: dict[Scope, dict[str, str]] = defaultdict(dict)
        # The newest losses first: somebody waits for today, and history stays at the exchange.
        for gap in sorted(wanted, key=lambda each: each.first_us, reverse=True):
            holes = missing.get(gap.scope, Intervals.none()) & gap.span
            verdict = healing.heal(str(gap.scope.symbol), holes)
            if verdict is not None:
                verdicts[gap.scope][gap.gap_id] = verdict
            if healing.spent:
                break
        report.fetched += healing.stored
        report.requests += healing.requests
        report.unhealed |= healing.waits
        return verdicts

    def _now_us(self) -> int:
        return self._clock.now_ns() // 1_000


def _count(changed: Iterable[Gap], report: ReconcileReport) -> None:
    for gap in changed:
        report.opened += gap.at_us == gap.first_us
        report.healed += gap.state == "healed"
        report.permanent += gap.state == "permanent"


def build(resources: Resources) -> ReconcileStage:
    """Make the stage the settings ask for."""
    settings = resources.settings

    def source() -> RestTrades:
        return RestTrades(
            settings.rest_url,
            clock=resources.clock,
            sleep=time.sleep,
            max_requests=settings.reconcile_requests,
            budget_seconds=settings.reconcile_budget_s,
        )

    return ReconcileStage(
        resources.committer,
        resources.recorder,
        resources.clock,
        source,
        settle_seconds=settings.settle_s,
        patience_seconds=2 * settings.ack_deadline_s,
    )
