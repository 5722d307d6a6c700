"""Show a run while it goes on: a tally in, a screen that refreshes or a line now and then out.

Everything shown was measured on the frames that reached the bus.
"""

from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, NamedTuple, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from quotewatch.clock import NS_PER_SECOND, Clock, SystemClock
from quotewatch.local.stage_processes import StageTally
from quotewatch.local.tally import ProductTally, Tally
from quotewatch.metrics.recorder import Recorder
from quotewatch.streams import PREDICTIONS

REFRESHES = 4  # a second
PLAIN_SECONDS = 5.0  # between two lines where nothing can be redrawn
_RATE_SECONDS = 5.0
_PRODUCTS_SHOWN = 12
_WIDE = 100  # columns from which the journal has room beside the rest


class _Sample(NamedTuple):
    """Totals at one moment."""

    at: float
    messages: int
    rows: int
    bytes: int
    answers: int


class RunConsole:
    """The screen of one run. `seconds` is how long it lasts, if that is known."""

    def __init__(
        self,
        title: str,
        tally: Tally,
        seconds: float | None = None,
        *,
        stored: StageTally | None = None,
        console: Console | None = None,
        clock: Clock | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self._title = title
        self._tally = tally
        self._seconds = seconds
        self._stored = stored
        self._console = console or Console()
        self._clock = clock or SystemClock()
        self._recorder = recorder
        self._began = self._updated = self._clock.monotonic()
        if recorder is not None:
            recorder.ask("dashboard_update_age_seconds", self._age)
        self._samples: deque[_Sample] = deque()
        self._next_line = self._began + PLAIN_SECONDS
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            vertical_overflow="crop",
        )

    def __enter__(self) -> Self:
        """Begin to draw."""
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the screen back."""
        if self._console.is_terminal:
            self._live.stop()

    def update(self) -> None:
        """Show the present state."""
        began = self._clock.monotonic()
        self._draw()
        self._updated = self._clock.monotonic()
        if self._recorder is not None:
            self._recorder.inc("dashboard_callbacks_total")
            self._recorder.observe("dashboard_callback_duration_seconds", self._updated - began)

    def _age(self) -> float:
        return self._clock.monotonic() - self._updated

    def _draw(self) -> None:
        self._sample()
        if self._console.is_terminal:
            self._live.update(self.screen(), refresh=True)
        elif self._clock.monotonic() >= self._next_line:
            self._next_line += PLAIN_SECONDS
            self._console.print(self.line(), soft_wrap=True, highlight=False)

    # What is shown

    def line(self) -> str:
        """Tell the state in one line."""
        messages, rows, _, answers = self._rates()
        tally = self._tally
        return (
            f"{self._elapsed():.0f} s · {messages:.0f} messages/s in · {rows:.0f} rows/s on the bus"
            f" · {self._lag()} · books {self._books()} · {tally.missed_trades} trades in gaps"
            f" · frames: {tally.holes} missing, {tally.doubled} doubled{self._tables(' · ')}"
            f"{self._model(answers, ' · ')}"
        )

    def screen(self) -> RenderableType:
        """Draw everything."""
        tables: list[RenderableType] = [self._streams(), self._products()]
        if self._console.width >= _WIDE:
            grid = Table.grid(padding=(0, 2))
            grid.add_row(*tables)
            tables = [grid]
        return Group(self._header(), *tables, self._journal())

    def _header(self) -> RenderableType:
        messages, _, bytes_, answers = self._rates()
        elapsed = self._elapsed()
        lines: list[RenderableType] = [Text(self._title, style="bold", overflow="ellipsis")]
        if self._seconds is not None:
            bar = ProgressBar(self._seconds, min(elapsed, self._seconds), width=30)
            grid = Table.grid(padding=(0, 1))
            grid.add_row(bar, f"{min(elapsed, self._seconds):.0f} of {self._seconds:g} s")
            lines.append(grid)
        lines.append(
            Text(
                f"in {messages:.0f} messages/s · out {bytes_ / 1e3:.1f} KB/s · {self._lag()}"
                f" · books {self._books()} · {self._tally.missed_trades} trades in gaps"
                + ("" if self._seconds is not None else f" · {elapsed:.0f} s"),
                overflow="ellipsis",
            )
        )
        if self._stored is not None:
            lines.append(Text(self._tables(), overflow="ellipsis"))
            lines.append(Text(self._model(answers), overflow="ellipsis"))
        return Group(*lines)

    def _tables(self, before: str = "") -> str:
        """Tell what the stages have stored, and what fails."""
        stored = self._stored
        if stored is None:
            return ""
        failing = "".join(f" · {name}: {text}" for name, text in stored.errors.items())
        return (
            f"{before}tables: {stored.inserted:,} rows in {stored.commits} commits,"
            f" {stored.fetched} trades fetched, {stored.still_open} gaps open{failing}"
        )

    def _model(self, answers: float, before: str = "") -> str:
        """Tell what was learnt, and how it does beside the base rate."""
        stored = self._stored
        if stored is None:
            return ""
        models = "; ".join(
            f"{horizon} ms: {_learnt(each)}" for horizon, each in sorted(stored.models.items())
        )
        p99 = self._tally.answered.percentile(0.99)
        late = "" if p99 is None else f", p99 {p99:.0f} ms"
        return (
            f"{before}{stored.labelled:,} labels · model {models or 'not yet'}"
            f" · {answers:.0f} predictions/s{late}"
        )

    def _streams(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("stream", no_wrap=True)
        for name in ("rows", "frames", "KB"):
            table.add_column(name, justify="right", no_wrap=True)
        for name, stream in self._tally.streams.items():
            size = f"{stream.bytes / 1e3:,.0f}"
            table.add_row(name, f"{stream.rows:,}", f"{stream.frames:,}", size)
        return table

    def _products(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("product", no_wrap=True)
        for name in ("mid", "spread bps", "imbalance", "trades/s", "book"):
            table.add_column(name, justify="right", no_wrap=True)
        rates = self._trade_rates()
        products = sorted(self._tally.products.items())
        for symbol, product in products[:_PRODUCTS_SHOWN]:
            table.add_row(symbol, *_cells(product, rates(symbol)))
        if len(products) > _PRODUCTS_SHOWN:
            table.add_row(f"and {len(products) - _PRODUCTS_SHOWN} more", style="dim")
        return table

    def _journal(self) -> RenderableType:
        lines = []
        for event in self._tally.journal:
            at = datetime.fromtimestamp(event.at_us / 1e6, tz=UTC)
            what = f"{at:%H:%M:%S} {event.kind:<8} {event.symbol or '':<9} {event.text}"
            lines.append(Text(what, style="dim", no_wrap=True, overflow="ellipsis"))
        return Group(*lines)

    # Measures

    def _elapsed(self) -> float:
        return self._clock.monotonic() - self._began

    def _sample(self) -> None:
        streams = self._tally.streams.values()
        now = self._clock.monotonic()
        self._samples.append(
            _Sample(
                now,
                self._tally.messages,
                sum(stream.rows for stream in streams),
                sum(stream.bytes for stream in streams),
                self._tally.streams[PREDICTIONS.name].rows,
            )
        )
        while self._samples[0].at < now - _RATE_SECONDS:
            self._samples.popleft()

    def _rates(self) -> tuple[float, float, float, float]:
        """Return messages, rows, bytes and predictions a second."""
        if not self._samples:
            return 0.0, 0.0, 0.0, 0.0
        old, new = self._samples[0], self._samples[-1]
        seconds = max(new.at - old.at, 1e-9)
        pairs = zip(old[1:], new[1:], strict=True)
        messages, rows, bytes_, answers = ((after - before) / seconds for before, after in pairs)
        return messages, rows, bytes_, answers

    def _lag(self) -> str:
        newest_ns = self._tally.streams["features"].newest_ns
        p99 = self._tally.latency.percentile(0.99)
        if not newest_ns or p99 is None:
            return "no features yet"
        age = max(0, self._clock.now_ns() - newest_ns) / NS_PER_SECOND
        return f"newest row {age:.1f} s old, p99 {p99:.0f} ms to the bus"

    def _books(self) -> str:
        products = self._tally.products.values()
        return f"{sum(product.valid for product in products)}/{len(products)} valid"

    def _trade_rates(self) -> Callable[[str], float | None]:
        marks = self._tally.trade_marks
        if len(marks) < 2:  # noqa: PLR2004 - a rate lies between two moments
            return lambda _: None
        seconds = max((marks[-1][0] - marks[0][0]) / NS_PER_SECOND, 1e-9)
        later = list(marks)[1:]
        return lambda symbol: sum(counts[symbol] for _, counts in later) / seconds


def _learnt(model: Mapping[str, Any]) -> str:
    """Tell one model in a few words."""
    if model["version"] is None:
        return "nothing learnt yet"
    if not model["ready"]:
        return f"{model['labels']:,} labels, too few of one kind to answer"
    scores = (model["scores"].get("test_then_train") or {}).get("all") or {}
    shown = {"AUC": scores.get("auc"), "base rate": scores.get("base_rate")}
    known = [f"{name} {value:.2f}" for name, value in shown.items() if value is not None]
    return ", ".join([f"{model['version']}, {model['labels']:,} labels", *known])


def _cells(product: ProductTally, trades: float | None) -> tuple[str, ...]:
    state = "?" if product.book is None else f"{product.book} {'ok' if product.valid else 'lost'}"
    return (
        "" if product.mid is None else f"{product.mid:.10g}",
        "" if product.spread_bps is None else f"{product.spread_bps:.2f}",
        "" if product.imbalance is None else f"{product.imbalance:+.2f}",
        "" if trades is None else f"{trades:.1f}",
        state,
    )
