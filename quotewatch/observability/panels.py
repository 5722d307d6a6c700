"""Panels of Grafana's classic dashboards. Pure: queries in, JSON out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from quotewatch.observability.queries import Query

Json = dict[str, Any]

SOURCE: Mapping[str, str] = {"type": "stackdriver", "uid": "${datasource}"}
SHORTEST_STEP = "1m"  # Cloud Monitoring aligns to no less
# Told apart also without red and green; the description says the same in words.
_GOOD, _LOOK, _ACT = "blue", "orange", "dark-red"


@dataclass(frozen=True)
class Limits:
    """Where a value is worth a look, and where to act: from there up, or `below` there."""

    look: float
    act: float
    below: bool = False

    def steps(self) -> list[Json]:
        """Return them as Grafana's thresholds."""
        first, *others = (
            [(_ACT, None), (_LOOK, self.act), (_GOOD, self.look)]
            if self.below
            else [(_GOOD, None), (_LOOK, self.look), (_ACT, self.act)]
        )
        return [{"color": colour, "value": value} for colour, value in (first, *others)]

    def words(self, unit: str) -> str:
        """Say them."""
        word = "below" if self.below else "from"
        return f"Limits: look {word} {_said(self.look, unit)}, act {word} {_said(self.act, unit)}."


@dataclass(frozen=True)
class Axis:
    """A second scale, on the right, for the questions with these letters."""

    letters: str
    unit: str
    label: str


@dataclass(frozen=True)
class Panel:
    """One panel without its place. The number stays with it, so that links to it last."""

    number: int
    title: str
    kind: Literal["timeseries", "stat", "heatmap"]
    queries: Sequence[Query]
    body: Mapping[str, Any]

    def placed(self, x: int, y: int, width: int, height: int) -> Json:
        """Return its JSON at a place."""
        targets = [
            {"datasource": dict(SOURCE), "refId": letter, **query.body}
            for letter, query in _lettered(self.queries)
        ]
        return {
            **self.body,
            "datasource": dict(SOURCE),
            "gridPos": {"h": height, "w": width, "x": x, "y": y},
            "id": self.number,
            "interval": SHORTEST_STEP,
            "targets": targets,
            "title": self.title,
            "type": self.kind,
        }


def timeseries(
    number: int,
    title: str,
    queries: Sequence[Query],
    *,
    unit: str,
    description: str,
    empty: str,
    limits: Limits | None = None,
    least: float | None = 0,
    most: float | None = None,
    near: float | None = None,
    style: Literal["line", "stack", "bars"] = "line",
    right: Axis | None = None,
    calcs: Sequence[str] = ("lastNotNull", "max"),
) -> Panel:
    """Draw lines over time. `near`: where the scale begins unless values lie below it."""
    custom: Json = {
        "drawStyle": "bars" if style == "bars" else "line",
        "fillOpacity": {"line": 8, "stack": 40, "bars": 60}[style],
        "lineWidth": 1,
        "showPoints": "auto",
        "spanNulls": style == "line",
        "stacking": {"group": "A", "mode": "none" if style == "line" else "normal"},
        "thresholdsStyle": {"mode": "dashed" if limits else "off"},
    }
    if near is not None:
        custom["axisSoftMin"] = near
    defaults = _defaults(unit, empty, limits, least, most)
    legend = {"calcs": list(calcs), "displayMode": "table", "placement": "bottom"}
    return Panel(number, title, "timeseries", queries, {
        "description": _described(description, limits, unit),
        "fieldConfig": {
            "defaults": {**defaults, "color": {"mode": "palette-classic"}, "custom": custom},
            "overrides": [*_legends(queries), *(_on_the_right(right) if right else ())],
        },
        "options": {
            "legend": {**legend, "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    })  # fmt: skip


def stat(
    number: int,
    title: str,
    queries: Sequence[Query],
    *,
    unit: str,
    description: str,
    empty: str,
    limits: Limits | None = None,
    calc: Literal["lastNotNull", "sum"] = "lastNotNull",
    span: str = "",
) -> Panel:
    """Show single numbers, each with its name and a line of what it was.

    `span`: the last value counts only if it is that new, whatever time the dashboard shows.
    """
    defaults = _defaults(unit, empty, limits, 0, None)
    newest = {"hideTimeOverride": True, "timeFrom": span} if span else {}
    return Panel(number, title, "stat", queries, {
        **newest,
        "description": _described(description, limits, unit),
        "fieldConfig": {
            "defaults": {**defaults, "color": {"mode": "thresholds"}},
            "overrides": _legends(queries),
        },
        "options": {
            "colorMode": "value",
            "graphMode": "area",
            "justifyMode": "auto",
            "orientation": "horizontal",
            "percentChangeColorMode": "standard",
            "reduceOptions": {"calcs": [calc], "fields": "", "values": False},
            "showPercentChange": False,
            "textMode": "value_and_name",
            "wideLayout": True,
        },
    })  # fmt: skip


def heatmap(
    number: int, title: str, query: Query, *, unit: str, description: str, empty: str
) -> Panel:
    """Draw a histogram over time, one row a bucket."""
    return Panel(number, title, "heatmap", [query], {
        "description": description,
        "fieldConfig": {
            "defaults": {"custom": {"scaleDistribution": {"type": "linear"}}, "noValue": empty},
            "overrides": [],
        },
        "options": {
            "calculate": False,
            "cellGap": 1,
            "color": {
                "exponent": 0.5, "fill": "blue", "mode": "scheme", "reverse": False,
                "scale": "exponential", "scheme": "Viridis", "steps": 64,
            },
            "exemplars": {"color": "rgba(255,0,255,0.7)"},
            "filterValues": {"le": 1e-9},
            "legend": {"show": True},
            "rowsFrame": {"layout": "auto", "value": "count"},
            "showValue": "never",
            "tooltip": {"mode": "single", "showColorScale": True, "yHistogram": True},
            "yAxis": {"axisPlacement": "left", "reverse": False, "unit": unit},
        },
    })  # fmt: skip


def _lettered(queries: Sequence[Query]) -> Iterator[tuple[str, Query]]:
    return zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(queries)], queries, strict=True)


def _defaults(
    unit: str, empty: str, limits: Limits | None, least: float | None, most: float | None
) -> Json:
    steps = limits.steps() if limits else [{"color": _GOOD, "value": None}]
    ends = {"min": least, "max": most}
    return {
        **{end: value for end, value in ends.items() if value is not None},
        "noValue": empty,
        "thresholds": {"mode": "absolute", "steps": steps},
        "unit": unit,
    }


def _described(description: str, limits: Limits | None, unit: str) -> str:
    return f"{description} {limits.words(unit)}" if limits else description


def _said(value: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{value * 100:g} %"
    return f"{value:g}{ {'s': ' s', 'percent': ' %', 'bytes': ' bytes'}.get(unit, '') }"


def _legends(queries: Sequence[Query]) -> list[Json]:
    """Name lines by override where the data source itself takes no alias."""
    named = [(letter, query.legend) for letter, query in _lettered(queries) if query.legend]
    return [_override(letter, {"displayName": legend}) for letter, legend in named]


def _on_the_right(axis: Axis) -> list[Json]:
    settings = {"custom.axisLabel": axis.label, "custom.axisPlacement": "right", "unit": axis.unit}
    return [_override(letter, settings) for letter in axis.letters]


def _override(letter: str, properties: Mapping[str, Any]) -> Json:
    return {
        "matcher": {"id": "byFrameRefID", "options": letter},
        "properties": [{"id": key, "value": value} for key, value in properties.items()],
    }
