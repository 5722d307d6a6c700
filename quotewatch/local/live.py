"""The stack on a live feed: the real gateway and stages and a console, until somebody stops it.

There is no truth to compare with: what is missing is what the tables' own ids and ledgers say.
"""

import os
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path

from rich.console import Console

from quotewatch.errors import SettingsError
from quotewatch.local import settling, stack
from quotewatch.local.console import RunConsole
from quotewatch.local.stage_processes import StageProcesses
from quotewatch.local.summary import summarize
from quotewatch.local.tap import Tap
from quotewatch.settings import Settings, load_settings

# Rows are queryable after a few seconds; history is looked after in the cloud's own rhythm.
_HEAL_SECONDS = 5.0  # whoever pressed Ctrl-C does not wait long; the next run goes on
_INTERVALS = {
    "write": 5.0, "predict": 1.0, "label": 60.0, "train": 60.0, "reconcile": 60.0,
    "maintain": 600.0,
}  # fmt: skip


def run(overrides: Mapping[str, object], console: Console) -> int:
    """Run with the environment's settings and what the command line says instead."""
    free = {} if f"{stack.PREFIX}HTTP_PORT" in os.environ else {"http_port": 0}
    settings = load_settings(**{**free, **overrides})
    if settings.bus != "sqlite":
        raise SettingsError(
            f"QUOTEWATCH_BUS={settings.bus}: `run` keeps its bus in a file; unset it, or start"
            " `python -m ingest_gateway` alone"
        )
    data = _directory(settings.data_dir)
    console.print(f"Data in {stack.shown(data)}", soft_wrap=True, highlight=False)
    with stack.stop_on_signals() as stop, ExitStack() as open_things:
        began = time.monotonic()
        bus = open_things.enter_context(closing(stack.open_local_bus(stack.bus_path(data))))
        gateway = stack.start_gateway(data, _environment(settings, data))
        open_things.callback(gateway.kill)
        stack.wait_until_listening(gateway)
        stages = StageProcesses(data, _environment(settings, data), _INTERVALS)
        open_things.callback(stages.kill)
        stages.listen()
        tap = Tap(bus)
        title = f"QuoteWatch · {settings.shown()['feed_url']} · Ctrl-C stops"
        here = settings.model_copy(update={"data_dir": data})
        telemetry = open_things.enter_context(stack.tell(here, gateway, console))
        with RunConsole(
            title, tap.tally, stored=stages.tally, console=console, recorder=telemetry.recorder
        ) as screen:

            def goes_on() -> bool:
                gateway.check()
                stages.check()
                return True

            stack.watch(tap, screen, goes_on, stop)
            code = gateway.stop()
            tap.drain()
        stages.stop()
        console.print("Storing the last frames, fetching missing trades …", highlight=False)
        settled = settling.settle(here, bus, heal_seconds=_HEAL_SECONDS)
        summary = summarize(time.monotonic() - began, tap.tally, settled=settled)
    stack.note_exit(summary, gateway, code)
    places = {
        "data": data,
        "metrics": telemetry.file,
        "tables": data / "warehouse",
        "log": gateway.log,
    }
    return stack.conclude(console, summary, places)


def _directory(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"data directory {path}: {error}") from error
    return path.resolve()


def _environment(settings: Settings, data: Path) -> dict[str, str]:
    """Pass the environment on, with what the command line replaced."""
    own = {
        "BUS": "sqlite",
        "DATA_DIR": str(data),
        "PRODUCTS": ",".join(settings.products),
        "FEED_DIALECT": settings.feed_dialect,
        "FEED_URL": settings.effective_feed_url,
        "HTTP_PORT": "0",  # the page of the whole run is where the settings say
    }
    defaults = {"FRAME_MS_FEATURES": stack.FRAME_MS_FEATURES}
    return {
        **{stack.PREFIX + name: value for name, value in defaults.items()},
        **os.environ,
        **{stack.PREFIX + name: value for name, value in own.items()},
    }
