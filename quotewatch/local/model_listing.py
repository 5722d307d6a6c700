"""What was learnt: versions, scores beside the base rate, and which version answers.

Rolling back is naming a version: it answers until somebody says otherwise, while training goes on.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

from quotewatch.errors import QuoteWatchError, SettingsError
from quotewatch.learning.document import Version
from quotewatch.learning.store import ModelStore
from quotewatch.local.existing import settings_of_run
from quotewatch.objects.opening import open_objects
from quotewatch.objects.port import ObjectStore
from quotewatch.settings import Settings

_SHOWN = 12  # versions
_PIPE_WIDTH = 160
_SCORES = ("n", "base_rate", "auc", "brier", "log_loss", "balanced_accuracy", "calibration_error")


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    horizon_ms: int | None = None
    use: str | None = None
    follow: bool = False
    data: Path | None = None


def show_models(asked: Asked, out: TextIO, *, as_json: bool) -> int:
    """Move the pointer if asked to, then list what there is."""
    settings = settings_of_run(asked.data)
    with closing(open_objects(settings.effective_objects)) as objects:
        horizons = _horizons(asked, settings, objects)
        if asked.use is not None or asked.follow:
            _move(asked, horizons, objects)
        listed = {str(each): _listed(ModelStore(objects, each)) for each in horizons}
    if as_json:
        out.write(f"{json.dumps(listed, indent=2)}\n")
    else:
        _show(listed, Console(file=out, width=None if out.isatty() else _PIPE_WIDTH))
    out.flush()
    return 0


def _horizons(asked: Asked, settings: Settings, objects: ObjectStore) -> list[int]:
    if asked.horizon_ms is not None:
        return [asked.horizon_ms]
    there = {name.split("/")[1].removesuffix("ms") for name in objects.names("models/")}
    return sorted({*settings.horizon_ms, *(int(each) for each in there if each.isdecimal())})


def _move(asked: Asked, horizons: list[int], objects: ObjectStore) -> None:
    if len(horizons) > 1:
        named = ", ".join(map(str, horizons))
        raise SettingsError(f"which model? Give --horizon-ms, one of {named}")
    store = ModelStore(objects, horizons[0])
    if asked.use is not None:
        store.pin(asked.use)
    else:
        store.follow()


def _listed(store: ModelStore) -> dict[str, Any]:
    current = store.current()
    versions: dict[str, Any] = {}
    for name in reversed(store.versions()[-_SHOWN:]):
        versions[name] = _described(store, name)
    return {
        "current": current.version if current else None,
        "pinned": bool(current and current.pinned),
        "versions": versions,
    }


def _described(store: ModelStore, name: str) -> dict[str, Any]:
    try:
        return describe(store.load(name))
    except QuoteWatchError as error:
        return {"refused": str(error)}


def describe(version: Version) -> dict[str, Any]:
    """Say what a version has learnt and how it did."""
    zeros, ones = version.model.classes
    return {
        "labels": zeros + ones,
        "positives": ones,
        "ready": version.model.ready,
        "features": list(version.model.features),
        "libraries": list(version.model.libraries),
        **version.report,
    }


# For people


def _show(listed: Mapping[str, Any], console: Console) -> None:
    for horizon, each in listed.items():
        pinned = ", pinned: `--follow` lets it go on" if each["pinned"] else ""
        console.print(
            f"{horizon} ms: {each['current'] or 'no model yet'}{pinned}", style="bold",
            highlight=False,
        )  # fmt: skip
        if each["versions"]:
            console.print(_versions(each))
        for name, said in each["versions"].items():
            if "refused" in said:
                console.print(f"{name}: {said['refused']}", style="red", highlight=False)


def _versions(each: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "version", "labels", "scored", *_SCORES):
        justify = "left" if name in {"", "version", "scored"} else "right"
        table.add_column(name.replace("_", " "), justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for name, said in each["versions"].items():
        if "refused" in said:
            continue
        for number, cells in enumerate(_rows(said)):
            mark = "*" if name == each["current"] and number == 0 else ""
            first = (mark, name, f"{said['labels']:,}") if number == 0 else ("", "", "")
            table.add_row(*first, *cells)
    return table


def _rows(said: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield how it did, and how it would have done that knows the base rate alone."""
    for kind in ("test_then_train", "served"):
        scores = said.get(kind, {}).get("all") or {}
        yield kind.replace("_", " "), *(_cell(scores.get(name)) for name in _SCORES)
    baseline = (said.get("test_then_train", {}).get("all") or {}).get("base_rate_only") or {}
    yield "base rate alone", *(_cell(baseline.get(name)) for name in _SCORES)


def _cell(value: object) -> str:
    match value:
        case None:
            return "?"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.4f}"
    return str(value)
