"""`python -m tests.cloudlike`: the whole of it on this machine as in the cloud, and the proof.

Exit codes: 0 nothing is missing, doubled or refused; 1 something is; 2 it could not run.
"""

import argparse
import sys
from pathlib import Path

import pytest
from rich.console import Console

from quotewatch.local import arguments
from tests.cloudlike.plan import MORTALS, KillMode, Plan
from tests.cloudlike.processes import CloudlikeError
from tests.cloudlike.run import run

_REFUSED = 2
_INTERRUPTED = 130


def main() -> int:
    """Run it as asked."""
    console = Console(soft_wrap=True)
    try:
        return run(_plan(), console)
    except CloudlikeError as error:
        sys.stderr.write(f"{error}\n")
    except (pytest.skip.Exception, pytest.fail.Exception) as lacking:
        sys.stderr.write(f"{lacking}\n")
    except KeyboardInterrupt:
        return _INTERRUPTED
    return _REFUSED


def _plan() -> Plan:
    default = Plan()
    parser = argparse.ArgumentParser(prog="python -m tests.cloudlike", description=__doc__)
    parser.add_argument("--seconds", type=arguments.positive, default=default.seconds)
    parser.add_argument("--products", type=arguments.products, default=default.products)
    parser.add_argument("--rate", type=arguments.positive, default=default.rate)
    parser.add_argument("--kill", default="none", help="`none`, `random`, `all`, or names of "
                        + ",".join(MORTALS))  # fmt: skip
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--data", type=Path, help="an empty directory; it is kept")
    parser.add_argument("--keep", action="store_true", help="keep the data also of a good run")
    parser.add_argument(
        "--grants", type=Path, help="a file of what each account may do: the rest is refused"
    )
    asked = parser.parse_args()
    mode, victims = _kills(parser, asked.kill)
    return Plan(
        asked.seconds, asked.products, asked.rate, asked.seed, mode, victims, asked.data,
        asked.keep, asked.grants,
    )  # fmt: skip


def _kills(parser: argparse.ArgumentParser, text: str) -> tuple[KillMode, tuple[str, ...]]:
    if text in ("none", "random"):
        return ("random" if text == "random" else "none"), ()
    victims = MORTALS if text == "all" else arguments.names(text)
    unknown = [name for name in victims if name not in MORTALS]
    if unknown or not victims:
        parser.error(f"--kill {text}: nobody is called {', '.join(unknown) or 'that'}")
    return "listed", victims


if __name__ == "__main__":
    sys.exit(main())
