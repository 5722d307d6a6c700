"""`python -m deploy.cost`: what a month costs, for a few numbers of products.

As tables in the terminal, as Markdown for docs/deploy.md, or as JSON with every line of it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markdown import Markdown

from deploy.cost.estimate import ALL, GATEWAY, Estimate
from deploy.cost.facts import FACTS
from deploy.cost.page import BEGIN, END, page, put_into
from deploy.cost.tariff import PRICES, PricesError, Tariff, load_tariff
from deploy.errors import DeployError

PRODUCTS = (1, 20, ALL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was asked for; 2 if the prices cannot be used."""
    options = _parsed(arguments)
    try:
        tariff = load_tariff(options.prices)
        estimates = [Estimate(each, tariff, options.gateway) for each in options.products]
        if options.into:
            _write_into(options.into, page(estimates, tariff))
        elif options.json:
            sys.stdout.write(_as_json(estimates, tariff))
        elif options.markdown:
            sys.stdout.write(page(estimates, tariff))
        else:
            Console().print(Markdown(page(estimates, tariff)))
    except DeployError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def is_current(text: str) -> bool:
    """Say whether a page holds what would be printed today."""
    tariff = load_tariff()
    return text == put_into(text, page([Estimate(each, tariff) for each in PRODUCTS], tariff))


def _write_into(path: Path, estimated: str) -> None:
    text = path.read_text()
    if BEGIN not in text or END not in text:
        raise PricesError(f"{path}: has no {BEGIN} and {END}; write both where it shall stand")
    path.write_text(put_into(text, estimated))


def _as_json(estimates: Sequence[Estimate], tariff: Tariff) -> str:
    plain = {
        "region": tariff.region,
        "estimates": [each.plain() for each in estimates],
        "facts": [asdict(fact) for fact in FACTS.values()],
        "prices": [msgspec.to_builtins(price) for price in tariff],
    }
    return json.dumps(plain, indent=2) + "\n"


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.cost", description="What a month costs, in US dollars."
    )
    parser.add_argument(
        "--products", type=_numbers, default=PRODUCTS, metavar="N,…", help="like 1,20,all"
    )
    parser.add_argument("--prices", type=Path, default=PRICES, metavar="FILE")
    parser.add_argument("--gateway", choices=("service", "pool"), default=GATEWAY)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="every line, fact and price")
    form.add_argument("--markdown", action="store_true", help="what stands in docs/deploy.md")
    form.add_argument("--into", type=Path, metavar="FILE", help="write it into a page")
    return parser.parse_args(arguments)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(ALL if each == "all" else int(each) for each in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give numbers of products, like 1,20,all")
    return numbers


if __name__ == "__main__":
    sys.exit(main())
