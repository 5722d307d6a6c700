"""Flags that several commands share."""

import argparse
from pathlib import Path

from quotewatch.local import arguments
from quotewatch.local.exchange.fault_schedule import FAULTS
from quotewatch.local.exchange.listings import DEFAULT_PRODUCTS

RATE = 150.0
OF_A_RUN = "the directory of a run (default: what the environment says)"


def add_metrics_port(parser: argparse.ArgumentParser, default: int | None, otherwise: str) -> None:
    """Let the port of /metrics be named."""
    parser.add_argument(
        "--metrics-port", type=arguments.port, default=default, metavar="P",
        help=f"where /metrics of the whole run is served (default: {otherwise})",
    )  # fmt: skip


def add_market(parser: argparse.ArgumentParser) -> None:
    """Let the simulated market be described."""
    parser.add_argument(
        "--products", type=arguments.products, default=DEFAULT_PRODUCTS, metavar="A,B",
        help=f"what is traded (default: {','.join(DEFAULT_PRODUCTS)})",
    )  # fmt: skip
    parser.add_argument(
        "--dialect", choices=("exchange", "advanced"), default="exchange",
        help="which feed to speak (default: exchange)",
    )  # fmt: skip
    parser.add_argument(
        "--rate", type=arguments.positive, default=RATE, metavar="MSGS_PER_S",
        help="messages a second of all products together (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N",
        help="the same seed is the same market (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--faults", type=arguments.faults, default=(), metavar="LIST",
        help=f"what goes wrong on purpose: all, or some of {', '.join(FAULTS)} (default: nothing)",
    )  # fmt: skip


def add_seconds(parser: argparse.ArgumentParser, default: float | None) -> None:
    """Let the market's time be limited."""
    text = "until Ctrl-C" if default is None else f"{default:g}"
    parser.add_argument(
        "--seconds", type=arguments.positive, default=default, metavar="N",
        help=f"how long the market runs (default: {text})",
    )  # fmt: skip


def add_truth(parser: argparse.ArgumentParser, default: str) -> None:
    """Let the truth be written down."""
    parser.add_argument(
        "--truth", type=Path, metavar="FILE",
        help=f"write down what was sent and what was withheld (default: {default})",
    )  # fmt: skip


def add_data(parser: argparse.ArgumentParser, text: str) -> None:
    """Let the directory of a run be named."""
    parser.add_argument("--data", type=Path, metavar="DIR", help=text)


def add_port(parser: argparse.ArgumentParser) -> None:
    """Let the port be chosen."""
    parser.add_argument(
        "--port", type=arguments.port, default=0, metavar="P",
        help="where to listen on 127.0.0.1 (default: 0, a free one)",
    )  # fmt: skip
