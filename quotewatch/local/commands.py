"""What the commands of the command line do: parsed arguments in, exit codes out."""

import argparse
import sys
from contextlib import closing

from rich.console import Console

from quotewatch.errors import SettingsError
from quotewatch.local import arguments, servers, stage_runner
from quotewatch.local.demo import DemoPlan, demo
from quotewatch.local.exchange.fault_schedule import check_faults
from quotewatch.local.exchange.server import ExchangeConfig
from quotewatch.local.frame_listing import Listing, list_frames
from quotewatch.local.live import run
from quotewatch.local.model_listing import Asked, show_models
from quotewatch.local.relabelling import relabel
from quotewatch.local.sql_console import open_tables, run_sql
from quotewatch.local.table_listing import list_tables


def run_demo(asked: argparse.Namespace) -> int:
    """Run the demo."""
    _refuse_mirrored(asked)
    check_faults(asked.faults, len(asked.products))
    plan = DemoPlan(
        asked.seconds, asked.products, asked.dialect, asked.rate, asked.seed, asked.faults,
        asked.data, asked.truth, asked.summary, asked.metrics_port,
    )  # fmt: skip
    return demo(plan, Console())


def run_live(asked: argparse.Namespace) -> int:
    """Run on a live feed."""
    _refuse_mirrored(asked)
    flags = {
        "products": asked.products,
        "feed_dialect": asked.dialect,
        "feed_url": asked.feed_url,
        "data_dir": asked.data,
        "http_port": asked.metrics_port,
    }
    return run({name: value for name, value in flags.items() if value is not None}, Console())


def simulate(asked: argparse.Namespace) -> int:
    """Be the simulated exchange."""
    check_faults(asked.faults, len(asked.products))
    return servers.simulate(
        ExchangeConfig(
            port=asked.port,
            products=asked.products,
            dialect=asked.dialect,
            rate=asked.rate,
            seed=asked.seed,
            faults=asked.faults,
            truth=asked.truth,
            seconds=asked.seconds,
            linger=asked.linger,
        )
    )


def replay(asked: argparse.Namespace) -> int:
    """Replay a capture."""
    return servers.replay(asked.capture, asked.port, asked.speed)


def show_frames(asked: argparse.Namespace) -> int:
    """List frames that wait."""
    listing = Listing(asked.stream, asked.subscription, asked.data)
    return list_frames(listing, sys.stdout, as_json=asked.json)


def run_stage(asked: argparse.Namespace) -> int:
    """Run a stage."""
    return stage_runner.run_stage(
        stage_runner.check_stage(asked.name),
        once=asked.once,
        every_seconds=asked.every,
        overrides=_place(asked),
    )


def show_tables(asked: argparse.Namespace) -> int:
    """List tables."""
    with closing(open_tables(asked.data)) as tables:
        return list_tables(tables, sys.stdout, as_json=asked.json)


def ask(asked: argparse.Namespace) -> int:
    """Answer a query."""
    with closing(open_tables(asked.data)) as tables:
        return run_sql(tables, asked.query, sys.stdout, form=asked.form)


def redrive(asked: argparse.Namespace) -> int:
    """Try again what was put aside."""
    return stage_runner.redrive_all(asked.data)


def repair_ledger(asked: argparse.Namespace) -> int:
    """Rebuild a ledger."""
    return stage_runner.repair_ledger(asked.table, asked.data)


def show_model(asked: argparse.Namespace) -> int:
    """List versions, or choose one."""
    wanted = Asked(asked.horizon_ms, asked.use, asked.follow, asked.data)
    return show_models(wanted, sys.stdout, as_json=asked.json)


def relabel_horizon(asked: argparse.Namespace) -> int:
    """Make labels anew."""
    return relabel(asked.horizon_ms, asked.data, sys.stdout, sys.stderr)


def _place(asked: argparse.Namespace) -> dict[str, object]:
    return {} if asked.data is None else {"data_dir": asked.data}


def _refuse_mirrored(asked: argparse.Namespace) -> None:
    problem = arguments.check_mirrored(asked.dialect, asked.products or ())
    if problem:
        raise SettingsError(problem)
