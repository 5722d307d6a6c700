"""cryptofeed on the same messages: parse and book, with callbacks that only count.

Run in a process of its own: 2.4.0 reads the Exchange feed, 2.4.1 Advanced Trade, and one
environment holds one of them.
"""

import asyncio
import json
import logging
import sys
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from typing import Any

from benchmarks import _timing
from benchmarks.workloads import Workload, load

VERSIONS = {"exchange": "2.4.0", "advanced": "2.4.1"}


def main(name: str, passes: int) -> None:
    """Print the best CPU time per message, in microseconds, and what the callbacks counted."""
    _timing.pin()
    workload = load(name)
    counted: Counter[str] = Counter()
    seconds = _timing.best_cpu_seconds(lambda: _prepare(workload, counted), passes)
    updates = {kind: count // passes for kind, count in counted.items()}
    print(json.dumps({"us": seconds / len(workload.messages) * 1e6, "counted": updates}))


def _prepare(workload: Workload, counted: Counter[str]) -> Callable[[], object]:
    feed = _feed(workload.source.products, counted)
    _consume(feed, workload.opening)
    texts = [(raw.decode(), received_us / 1e6) for raw, received_us in workload.messages]

    async def consume() -> None:
        handle = feed.message_handler
        for text, received in texts:
            await handle(text, None, received)

    return lambda: asyncio.run(consume())


def _consume(feed: Any, messages: list[tuple[bytes, int]]) -> None:  # noqa: ANN401 - untyped peer
    async def consume() -> None:
        for raw, received_us in messages:
            await feed.message_handler(raw.decode(), None, received_us / 1e6)

    asyncio.run(consume())


def _feed(products: tuple[str, ...], counted: Counter[str]) -> Any:  # noqa: ANN401 - untyped peer
    # Imported by name: only a process that has the right version on its path gets this far, and
    # the checks of this repository run without it.
    defines, exchanges, symbols = (
        import_module(f"cryptofeed.{name}") for name in ("defines", "exchanges", "symbols")
    )

    async def count_book(_book: object, _received: float) -> None:
        counted["books"] += 1

    async def count_trade(_trade: object, _received: float) -> None:
        counted["trades"] += 1

    # It logs each heartbeat of Advanced Trade in full; that is not what is compared.
    logging.getLogger("feedhandler").setLevel(logging.CRITICAL)
    # Set by hand, so that it asks no server for the list.
    symbols.Symbols.set(
        exchanges.Coinbase.id, {name: name for name in products}, {"instrument_type": {}}
    )
    return exchanges.Coinbase(
        symbols=list(products),
        channels=[defines.L2_BOOK, defines.TRADES],
        callbacks={defines.L2_BOOK: count_book, defines.TRADES: count_trade},
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
