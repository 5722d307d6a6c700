"""`python -m quotewatch …`: the command line. It only reads arguments and calls what does the work.

Exit codes: 0 all is well, 1 the run proved a loss or broke, 2 arguments or settings were refused.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from quotewatch.errors import QuoteWatchError, SettingsError
from quotewatch.local import arguments, commands, flags, stage_runner
from quotewatch.local.capture import CaptureError
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m quotewatch",
        description="Capture Coinbase market data without losing any of it, and prove it.",
        epilog="The gateway alone: python -m ingest_gateway, configured by QUOTEWATCH_* variables.",
    )
    parsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in (_add_demo, _add_run, _add_simulate, _add_replay, _add_frames, _add_stage,
                _add_tables, _add_sql, _add_model, _add_relabel, _add_redrive,
                _add_repair_ledger):  # fmt: skip
        add(parsers)
    return parser


def _add(parsers: "_Commands", name: str, command: Command, text: str) -> argparse.ArgumentParser:
    sentence = f"{text[:1].upper()}{text[1:]}."
    parser = parsers.add_parser(name, help=text, description=sentence)
    parser.set_defaults(command=command)
    return parser


def _add_demo(parsers: "_Commands") -> None:
    parser = _add(
        parsers, "demo", commands.run_demo, "the whole path on this machine, and the proof of it"
    )
    flags.add_seconds(parser, _DEMO_SECONDS)
    flags.add_market(parser)
    flags.add_data(parser, "a directory without an earlier run (default: data/demo-<time>)")
    flags.add_truth(parser, "truth.jsonl in the data directory")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="write the summary as JSON")
    flags.add_metrics_port(parser, 0, "a free one")


def _add_run(parsers: "_Commands") -> None:
    parser = _add(parsers, "run", commands.run_live, "the same on live Coinbase, until Ctrl-C")
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
    flags.add_metrics_port(parser, None, "QUOTEWATCH_HTTP_PORT, or a free one")


def _add_simulate(parsers: "_Commands") -> None:
    parser = _add(
        parsers, "simulate", commands.simulate, "the simulated exchange alone, on a WebSocket"
    )
    flags.add_port(parser)
    flags.add_market(parser)
    flags.add_truth(parser, "nowhere")
    flags.add_seconds(parser, None)
    parser.add_argument(
        "--linger", action="store_true",
        help="answer REST after the market has ended, until stopped",
    )  # fmt: skip


def _add_replay(parsers: "_Commands") -> None:
    parser = _add(parsers, "replay", commands.replay, "a recorded capture over a WebSocket")
    parser.add_argument(
        "capture", type=arguments.existing_file, metavar="CAPTURE",
        help="JSON lines {received_at, message}, gzipped or not; a truth file will do",
    )  # fmt: skip
    flags.add_port(parser)
    parser.add_argument(
        "--speed", type=arguments.speed, default=1.0, metavar="X",
        help="1 as recorded, 2 twice as fast, 0 as fast as the reader reads (default: 1)",
    )  # fmt: skip


def _add_frames(parsers: "_Commands") -> None:
    text = "rows of the frames waiting on the bus, without consuming them"
    parser = _add(parsers, "frames", commands.show_frames, text)
    parser.add_argument("stream", metavar="STREAM", help=f"one of {', '.join(STREAMS)}")
    parser.add_argument("--json", action="store_true", help="every row, one JSON object a line")
    parser.add_argument(
        "--subscription", metavar="S", help="whose frames (default: STREAM.write)"
    )  # fmt: skip
    flags.add_data(parser, flags.OF_A_RUN)


def _add_stage(parsers: "_Commands") -> None:
    parser = _add(parsers, "stage", commands.run_stage, "one stage here, its reports as JSON lines")
    parser.add_argument("name", metavar="NAME", help=f"one of {', '.join(stage_runner.NAMES)}")
    parser.add_argument("--once", action="store_true", help="run it once and exit")
    parser.add_argument(
        "--every", type=arguments.positive, metavar="SECONDS",
        help="how long it rests between two runs (default: as often as Scheduler calls it)",
    )  # fmt: skip
    flags.add_data(parser, flags.OF_A_RUN)


def _add_tables(parsers: "_Commands") -> None:
    text = "what the tables hold: rows, files, holes, duplicates, ledger"
    parser = _add(parsers, "tables", commands.show_tables, text)
    parser.add_argument("--json", action="store_true", help="one JSON object, by table")
    flags.add_data(parser, flags.OF_A_RUN)


def _add_sql(parsers: "_Commands") -> None:
    parser = _add(parsers, "sql", commands.ask, "DuckDB over the tables as they are now")
    parser.add_argument("query", metavar="QUERY", help='like "SELECT count(*) FROM raw_trades"')
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", dest="form", action="store_const", const="json",
                       help="every row, one JSON object a line")  # fmt: skip
    forms.add_argument("--csv", dest="form", action="store_const", const="csv",
                       help="every row, with a heading")  # fmt: skip
    parser.set_defaults(form="table")
    flags.add_data(parser, flags.OF_A_RUN)


def _add_model(parsers: "_Commands") -> None:
    text = "versions of the model, how they did, and which one answers"
    parser = _add(parsers, "model", commands.show_model, text)
    parser.add_argument(
        "--horizon-ms", type=arguments.horizon, metavar="N", help="of this horizon (default: all)"
    )
    moves = parser.add_mutually_exclusive_group()
    moves.add_argument("--use", metavar="VERSION", help="let this version answer from now on")
    moves.add_argument("--follow", action="store_true", help="let the newest answer again")
    parser.add_argument("--json", action="store_true", help="one JSON object, by horizon")
    flags.add_data(parser, flags.OF_A_RUN)


def _add_relabel(parsers: "_Commands") -> None:
    text = "make the labels of one horizon anew from stored features"
    parser = _add(parsers, "relabel", commands.relabel_horizon, text)
    parser.add_argument(
        "--horizon-ms", type=arguments.horizon, required=True, metavar="N", help="which horizon"
    )
    flags.add_data(parser, flags.OF_A_RUN)


def _add_redrive(parsers: "_Commands") -> None:
    text = "try again what was put aside: quarantine and dead letters"
    parser = _add(parsers, "redrive", commands.redrive, text)
    flags.add_data(parser, flags.OF_A_RUN)


def _add_repair_ledger(parsers: "_Commands") -> None:
    text = "rebuild the ledger of a table that another program wrote to"
    parser = _add(parsers, "repair-ledger", commands.repair_ledger, text)
    parser.add_argument("table", metavar="TABLE", help=f"one of {', '.join(TABLES)}")
    flags.add_data(parser, flags.OF_A_RUN)


if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - has no name


if __name__ == "__main__":
    sys.exit(main())
