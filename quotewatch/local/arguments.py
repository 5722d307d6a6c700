"""What the command line may say: texts in, values out, or a refusal that says what is expected."""

import argparse
import math
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from quotewatch.local.exchange.fault_schedule import FAULTS
from quotewatch.settings import LONGEST_HORIZON_MS

_PRODUCT = re.compile(r"[A-Z0-9]{1,20}-[A-Z0-9]{1,20}")
_HIGHEST_PORT = 65_535


def names(text: str) -> tuple[str, ...]:
    """Split a list at its commas, each name once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def products(text: str) -> tuple[str, ...]:
    """Read a list of products."""
    found = names(text)
    bad = [name for name in found if not _PRODUCT.fullmatch(name)]
    if bad or not found:
        raise argparse.ArgumentTypeError(
            f"{', '.join(bad) or repr(text)}: expected products like BTC-USD,ETH-USD"
        )
    return found


def faults(text: str) -> tuple[str, ...]:
    """Read a list of faults; `all` is all of them."""
    found = names(text)
    if found == ("all",):
        return FAULTS
    unknown = [name for name in found if name not in FAULTS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"no such fault: {', '.join(unknown)}; there are {', '.join(FAULTS)}, or `all`"
        )
    return found


def horizon(text: str) -> int:
    """Read a horizon in milliseconds."""
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= LONGEST_HORIZON_MS):
        raise argparse.ArgumentTypeError(
            f"{text}: expected whole milliseconds from 1 to {LONGEST_HORIZON_MS}"
        )
    return int(text)


def positive(text: str) -> float:
    """Read a number above zero."""
    value = _number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text}: expected a number above zero")
    return value


def speed(text: str) -> float:
    """Read a number that is zero or more."""
    value = _number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(
            f"{text}: expected 1 for the recorded speed, 2 for twice that, 0 for no waiting"
        )
    return value


def port(text: str) -> int:
    """Read a port; 0 takes a free one."""
    if not text.isascii() or not text.isdecimal() or int(text) > _HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"{text}: expected 0 (a free one) to {_HIGHEST_PORT}")
    return int(text)


def feed_url(text: str) -> str:
    """Read the URL of a WebSocket."""
    parts = urlsplit(text)
    if parts.scheme not in {"ws", "wss"} or not parts.hostname:
        raise argparse.ArgumentTypeError(f"{text}: expected a URL like ws://127.0.0.1:8765")
    return text


def existing_file(text: str) -> Path:
    """Read the path of a file that is there."""
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text}: no such file; expected JSON lines, .gz too")
    return path


def check_mirrored(dialect: str | None, names: Sequence[str]) -> str | None:
    """Return why these products cannot be followed on this dialect."""
    mirrored = [name for name in names if name.endswith("-USDC")]
    if dialect != "advanced" or not mirrored:
        return None
    return (
        f"--products {','.join(mirrored)}: Advanced Trade answers -USDC products with -USD data;"
        " name the -USD product or use --dialect exchange"
    )


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text}: expected a number")
    return value
