"""The command: look first, deploy, then prove that what was deployed is alive.

Ends with 0 if all is well, 1 if something failed on the way, 2 if nothing was touched, and 130 if
it was interrupted; it always says what state things are in.
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from deploy.board import Board
from deploy.deployment import Deployment
from deploy.names import ROOT
from deploy.smoke import PATIENCE_SECONDS


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy",
        description="Deploy the functions and the gateway's image of one commit.",
    )
    parser.add_argument("--project", required=True, help="the id of the project")
    parser.add_argument("--region", required=True, help="like europe-west1")
    parser.add_argument("--commit", help="what to deploy; the commit checked out, if not given")
    parser.add_argument("--only", default="", help="some functions, and gateway, with commas")
    parser.add_argument("--allow-dirty", action="store_true", help="ship the working tree")
    parser.add_argument("--smoke-seconds", type=float, default=PATIENCE_SECONDS, metavar="N")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--dry-run", action="store_true", help="show each line, run none")
    mode.add_argument("--preflight-only", action="store_true", help="look, and touch nothing")
    mode.add_argument("--smoke-only", action="store_true", help="test what is deployed")
    mode.add_argument("--no-smoke", action="store_true", help="deploy, and do not test")
    return parser.parse_args(arguments)


async def command(
    arguments: Sequence[str] | None = None, board: Board | None = None, root: Path = ROOT
) -> int:
    """Run the command; Ctrl-C ends what it has started, and it says how far that was."""
    deployment = Deployment(parsed(arguments), board or Board(), root)
    task = asyncio.ensure_future(deployment.run())
    loop = asyncio.get_running_loop()

    def stop() -> None:
        # Once: what was started has ten seconds to end, and impatience would leave it behind.
        if not task.cancelling():
            task.cancel()

    with suppress(NotImplementedError, RuntimeError):  # only the main thread is told of signals
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
    return await task


if __name__ == "__main__":
    sys.exit(asyncio.run(command()))
