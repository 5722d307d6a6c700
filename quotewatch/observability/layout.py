"""Where panels stand: rows of lines of panels in, their JSON with places out. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from quotewatch.observability.panels import Json, Panel

WIDTH = 24  # columns of a dashboard

Line = tuple[int, Sequence[tuple[int, Panel]]]  # a height, and panels by width


@dataclass(frozen=True)
class Row:
    """A headline and the lines of panels below it."""

    number: int
    title: str
    lines: Sequence[Line]


def laid_out(rows: Sequence[Row]) -> list[Json]:
    """Give every panel its place: from left to right, line below line."""
    placed: list[Json] = []
    y = 0
    for row in rows:
        placed.append(_headline(row, y))
        y += 1
        for height, panels in row.lines:
            x = 0
            for width, panel in panels:
                placed.append(panel.placed(x, y, width, height))
                x += width
            if x != WIDTH:
                raise ValueError(f"{row.title}: a line is {x} columns wide, not {WIDTH}")
            y += height
    return placed


def evenly(height: int, *panels: Panel) -> Line:
    """Give the panels of a line the same width."""
    return height, [(WIDTH // len(panels), panel) for panel in panels]


def _headline(row: Row, y: int) -> Json:
    place = {"h": 1, "w": WIDTH, "x": 0, "y": y}
    shape = {"collapsed": False, "gridPos": place, "id": row.number, "panels": []}
    return {**shape, "title": row.title, "type": "row"}
