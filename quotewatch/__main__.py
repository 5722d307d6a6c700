"""`python -m quotewatch …`: the command line. It only reads arguments and calls what does the work.

Exit codes: 0 all is well, 1 the run proved a loss or broke, 2 arguments or settings were refused.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from quotewatch.errors import QuoteWatchError, SettingsError
from quotewatch.local import arguments, servers
from quotewatch.local.demo import DemoPlan, demo
from quotewatch.local.exchange_server import ExchangeConfig
from quotewatch.local.fault_schedule import FAULTS, check_faults
from quotewatch.local.frame_listing import Listing, list_frames
from quotewatch.local.listings import DEFAULT_PRODUCTS
from quotewatch.local.live import run
from quotewatch.streams import STREAMS

_BROKE = 1
_REFUSED = 2
_INTERRUPTED = 130
_DEMO_SECONDS = 24.0  # with start, stop and proof about half a minute in all
_RATE = 150.0

Command = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command and return the exit code."""
    asked = _parser().parse_args(argv)
    command: Command = asked.command
    try:
        return command(asked)
    except SettingsError as error:
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
        )
    )


def _replay(asked: argparse.Namespace) -> int:
    return servers.replay(asked.capture, asked.port, asked.speed)


def _frames(asked: argparse.Namespace) -> int:
    listing = Listing(asked.stream, asked.subscription, asked.data)
    return list_frames(listing, sys.stdout, as_json=asked.json)


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
    for add in (_add_demo, _add_run, _add_simulate, _add_replay, _add_frames):
        add(commands)
    return parser


Commands = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _add(commands: Commands, name: str, command: Command, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=text, description=text[:1].upper() + text[1:] + ".",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    parser.set_defaults(command=command)
    return parser
