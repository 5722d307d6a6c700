"""`python -m quotewatch …`: the command line. It only reads arguments and calls what does the work.

Exit codes: 0 all is well, 1 the run proved a loss or broke, 2 arguments or settings were refused.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from quotewatch.errors import QuoteWatchError, SettingsError
from quotewatch.local import arguments, flags, servers, stage_runner
from quotewatch.local.capture import CaptureError
from quotewatch.local.demo import DemoPlan, demo
from quotewatch.local.exchange.fault_schedule import check_faults
from quotewatch.local.exchange.server import ExchangeConfig
from quotewatch.local.frame_listing import Listing, list_frames
from quotewatch.local.live import run
from quotewatch.local.model_listing import Asked, show_models
from quotewatch.local.relabelling import relabel
from quotewatch.local.sql_console import open_tables, run_sql
from quotewatch.local.table_listing import list_tables
from quotewatch.streams import STREAMS, TABLES

_BROKE = 1
_REFUSED = 2
_INTERRUPTED = 130
_DEMO_SECONDS = 24.0  # with start, stop and proof about half a minute in all

Command = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command and return the exit code."""
    asked = _parser().parse_args(argv)
    command: Command = asked.command
    try:
        return command(asked)
    except (SettingsError, CaptureError) as error:
        sys.stderr.write(f"{error}\n")
        return _REFUSED
    except QuoteWatchError as error:
        sys.stderr.write(f"{error}\n")
        return _BROKE
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # `| head` has seen enough. What Python would flush at exit has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


# Commands


def _demo(asked: argparse.Namespace) -> int:
    _refuse_mirrored(asked)
    check_faults(asked.faults, len(asked.products))
    plan = DemoPlan(
        asked.seconds, asked.products, asked.dialect, asked.rate, asked.seed, asked.faults,
        asked.data, asked.truth, asked.summary,
    )  # fmt: skip
    return demo(plan, Console())


def _run(asked: argparse.Namespace) -> int:
    _refuse_mirrored(asked)
    flags = {
        "products": asked.products,
        "feed_dialect": asked.dialect,
        "feed_url": asked.feed_url,
        "data_dir": asked.data,
    }
    return run({name: value for name, value in flags.items() if value is not None}, Console())


def _simulate(asked: argparse.Namespace) -> int:
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


def _replay(asked: argparse.Namespace) -> int:
    return servers.replay(asked.capture, asked.port, asked.speed)


def _frames(asked: argparse.Namespace) -> int:
    listing = Listing(asked.stream, asked.subscription, asked.data)
    return list_frames(listing, sys.stdout, as_json=asked.json)


def _stage(asked: argparse.Namespace) -> int:
    return stage_runner.run_stage(
        stage_runner.check_stage(asked.name),
        once=asked.once,
        every_seconds=asked.every,
        overrides=_place(asked),
    )


def _tables(asked: argparse.Namespace) -> int:
    with closing(open_tables(asked.data)) as tables:
        return list_tables(tables, sys.stdout, as_json=asked.json)


def _sql(asked: argparse.Namespace) -> int:
    with closing(open_tables(asked.data)) as tables:
        return run_sql(tables, asked.query, sys.stdout, form=asked.form)


def _redrive(asked: argparse.Namespace) -> int:
    return stage_runner.redrive_all(asked.data)


def _repair_ledger(asked: argparse.Namespace) -> int:
    return stage_runner.repair_ledger(asked.table, asked.data)


def _model(asked: argparse.Namespace) -> int:
    wanted = Asked(asked.horizon_ms, asked.use, asked.follow, asked.data)
    return show_models(wanted, sys.stdout, as_json=asked.json)


def _relabel(asked: argparse.Namespace) -> int:
    return relabel(asked.horizon_ms, asked.data, sys.stdout, sys.stderr)


def _place(asked: argparse.Namespace) -> dict[str, object]:
    return {} if asked.data is None else {"data_dir": asked.data}


def _refuse_mirrored(asked: argparse.Namespace) -> None:
    problem = arguments.check_mirrored(asked.dialect, asked.products or ())
    if problem:
        raise SettingsError(problem)


# Flags


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m quotewatch",
        description="Capture Coinbase market data without losing any of it, and prove it.",
        epilog="The gateway alone: python -m ingest_gateway, configured by QUOTEWATCH_* variables.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in (_add_demo, _add_run, _add_simulate, _add_replay, _add_frames, _add_stage,
                _add_tables, _add_sql, _add_model, _add_relabel, _add_redrive,
                _add_repair_ledger):  # fmt: skip
        add(commands)
    return parser


def _add(commands: "_Commands", name: str, command: Command, text: str) -> argparse.ArgumentParser:
    sentence = f"{text[:1].upper()}{text[1:]}."
    parser = commands.add_parser(name, help=text, description=sentence)
    parser.set_defaults(command=command)
    return parser


def _add_demo(commands: "_Commands") -> None:
    parser = _add(commands, "demo", _demo, "the whole path on this machine, and the proof of it")
    flags.add_seconds(parser, _DEMO_SECONDS)
    flags.add_market(parser)
    flags.add_data(parser, "a directory without an earlier run (default: data/demo-<time>)")
    flags.add_truth(parser, "truth.jsonl in the data directory")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="write the summary as JSON")


def _add_run(commands: "_Commands") -> None:
    parser = _add(commands, "run", _run, "the same on live Coinbase, until Ctrl-C")
    parser.add_argument(
        "--products", type=arguments.products, metavar="A,B",
        help="what to follow (default: QUOTEWATCH_PRODUCTS, or BTC-USD,ETH-USD)",
    )  # fmt: skip
    parser.add_argument(
        "--dialect", choices=("exchange", "advanced"),
        help="which feed (default: QUOTEWATCH_FEED_DIALECT, or exchange)",
    )  # fmt: skip
    parser.add_argument(
        "--feed-url", type=arguments.feed_url, metavar="URL",
        help="another address of it, like that of `simulate` or `replay`",
    )  # fmt: skip
    flags.add_data(parser, "where it keeps its bus and goes on later (default: data)")


def _add_simulate(commands: "_Commands") -> None:
    parser = _add(commands, "simulate", _simulate, "the simulated exchange alone, on a WebSocket")
    flags.add_port(parser)
    flags.add_market(parser)
    flags.add_truth(parser, "nowhere")
    flags.add_seconds(parser, None)
    parser.add_argument(
        "--linger", action="store_true",
        help="answer REST after the market has ended, until stopped",
    )  # fmt: skip


def _add_replay(commands: "_Commands") -> None:
    parser = _add(commands, "replay", _replay, "a recorded capture over a WebSocket")
    parser.add_argument(
        "capture", type=arguments.existing_file, metavar="CAPTURE",
        help="JSON lines {received_at, message}, gzipped or not; a truth file will do",
    )  # fmt: skip
    flags.add_port(parser)
    parser.add_argument(
        "--speed", type=arguments.speed, default=1.0, metavar="X",
        help="1 as recorded, 2 twice as fast, 0 as fast as the reader reads (default: 1)",
    )  # fmt: skip


def _add_frames(commands: "_Commands") -> None:
    text = "rows of the frames waiting on the bus, without consuming them"
    parser = _add(commands, "frames", _frames, text)
    parser.add_argument("stream", metavar="STREAM", help=f"one of {', '.join(STREAMS)}")
    parser.add_argument("--json", action="store_true", help="every row, one JSON object a line")
    parser.add_argument(
        "--subscription", metavar="S", help="whose frames (default: STREAM.write)"
    )  # fmt: skip
    flags.add_data(parser, flags.OF_A_RUN)


def _add_stage(commands: "_Commands") -> None:
    parser = _add(commands, "stage", _stage, "one stage here, its reports as JSON lines")
    parser.add_argument("name", metavar="NAME", help=f"one of {', '.join(stage_runner.NAMES)}")
    parser.add_argument("--once", action="store_true", help="run it once and exit")
    parser.add_argument(
        "--every", type=arguments.positive, metavar="SECONDS",
        help="how long it rests between two runs (default: as often as Scheduler calls it)",
    )  # fmt: skip
    flags.add_data(parser, flags.OF_A_RUN)


def _add_tables(commands: "_Commands") -> None:
    text = "what the tables hold: rows, files, holes, duplicates, ledger"
    parser = _add(commands, "tables", _tables, text)
    parser.add_argument("--json", action="store_true", help="one JSON object, by table")
    flags.add_data(parser, flags.OF_A_RUN)


def _add_sql(commands: "_Commands") -> None:
    parser = _add(commands, "sql", _sql, "DuckDB over the tables as they are now")
    parser.add_argument("query", metavar="QUERY", help='like "SELECT count(*) FROM raw_trades"')
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", dest="form", action="store_const", const="json",
                       help="every row, one JSON object a line")  # fmt: skip
    forms.add_argument("--csv", dest="form", action="store_const", const="csv",
                       help="every row, with a heading")  # fmt: skip
    parser.set_defaults(form="table")
    flags.add_data(parser, flags.OF_A_RUN)


def _add_model(commands: "_Commands") -> None:
    text = "versions of the model, how they did, and which one answers"
    parser = _add(commands, "model", _model, text)
    parser.add_argument(
        "--horizon-ms", type=arguments.horizon, metavar="N", help="of this horizon (default: all)"
    )
    moves = parser.add_mutually_exclusive_group()
    moves.add_argument("--use", metavar="VERSION", help="let this version answer from now on")
    moves.add_argument("--follow", action="store_true", help="let the newest answer again")
    parser.add_argument("--json", action="store_true", help="one JSON object, by horizon")
    flags.add_data(parser, flags.OF_A_RUN)


def _add_relabel(commands: "_Commands") -> None:
    text = "make the labels of one horizon anew from stored features"
    parser = _add(commands, "relabel", _relabel, text)
    parser.add_argument(
        "--horizon-ms", type=arguments.horizon, required=True, metavar="N", help="which horizon"
    )
    flags.add_data(parser, flags.OF_A_RUN)


def _add_redrive(commands: "_Commands") -> None:
    text = "try again what was put aside: quarantine and dead letters"
    parser = _add(commands, "redrive", _redrive, text)
    flags.add_data(parser, flags.OF_A_RUN)


def _add_repair_ledger(commands: "_Commands") -> None:
    text = "rebuild the ledger of a table that another program wrote to"
    parser = _add(commands, "repair-ledger", _repair_ledger, text)
    parser.add_argument("table", metavar="TABLE", help=f"one of {', '.join(TABLES)}")
    flags.add_data(parser, flags.OF_A_RUN)


if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - has no name


if __name__ == "__main__":
    sys.exit(main())
