"""What receiving costs, before anything is decoded: websockets, aiohttp and picows side by side.

A server in another process sends ready messages of 100 products, in bulk and 5 000 a second. CPU
time of the receiving process a message, its iterator and the loop included.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module

from benchmarks import _timing
from benchmarks.receiver_ports import PORTS

_HERE = "benchmarks.receivers"
_ROUNDS = 2
_RATE = 5_000
_WARM = 500  # messages before the clock starts

# package, deflate, loop
_CASES = (
    ("websockets", "plain", "asyncio"),
    ("websockets", "deflate", "asyncio"),
    ("websockets", "plain", "uvloop"),
    ("aiohttp", "plain", "asyncio"),
    ("aiohttp", "plain", "uvloop"),
    ("picows", "plain", "asyncio"),
    ("picows", "plain", "uvloop"),
)


def main() -> None:
    """Measure every case in processes of its own, and print the table."""
    rows: list[dict[str, object]] = []
    for package, deflate, loop in _CASES:
        try:
            bulk, paced = (_best(package, deflate, loop, rate) for rate in (0, _RATE))
        except _timing.MeasureError as error:
            print(f"{package} {deflate} {loop} skipped: {error}")
            continue
        rows.append(
            {
                "receiver": package,
                "extension": deflate,
                "loop": loop,
                "in bulk": bulk["us"],
                f"at {_RATE}/s": paced["us"],
                "of a core": f"{paced['share']:.0%}",
                "came a second": round(paced["rate"]),
            }
        )
    _timing.print_table("Receiving, us of CPU a message", rows)


def _best(package: str, deflate: str, loop: str, rate: int) -> dict[str, float]:
    found: list[dict[str, float]] = [
        _timing.measure(_HERE, package, deflate, loop, str(rate)) for _ in range(_ROUNDS)
    ]
    return min(found, key=lambda result: result["us"])


async def _receive(package: str, url: str) -> dict[str, float]:
    count = 0
    cpu = wall = 0.0
    async for _raw, _received_ns in PORTS[package](url):
        count += 1
        if count == _WARM:
            cpu, wall = time.process_time(), time.monotonic()
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    taken = max(1, count - _WARM)
    return {"us": cpu / taken * 1e6, "share": cpu / wall, "rate": taken / wall}


def _measure(package: str, deflate: str, loop: str, rate: str) -> None:
    command = [sys.executable, "-m", "benchmarks.message_server", rate, deflate]
    with subprocess.Popen(command, cwd=_timing.ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            port = (server.stdout.readline() if server.stdout else "").strip()
            _timing.pin()
            with asyncio.Runner(loop_factory=_loop_factory(loop)) as runner:
                result = runner.run(_receive(package, f"ws://127.0.0.1:{port}/"))
        finally:
            server.terminate()
    print(json.dumps(result))


def _loop_factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if loop == "asyncio":
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    return factory


if __name__ == "__main__":
    _measure(*sys.argv[1:5])
