"""Ends process groups once whoever named them is gone, however that went.

`+pid` and `-pid` come a line each on standard input. Its end is the end of the one who writes it:
what is still named then is killed.
"""

import os
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress


def groups_left(lines: Iterable[str]) -> set[int]:
    """Read to the end; return the groups that were named and not taken back."""
    named: set[int] = set()
    for line in lines:
        (named.add if line[0] == "+" else named.discard)(int(line[1:]))
    return named


def main() -> None:
    """Wait for the end, and end what is left."""
    for group in groups_left(sys.stdin):
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
