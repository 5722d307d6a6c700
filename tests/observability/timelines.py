"""Values of a series, one a minute, in promtool's notation."""

from collections.abc import Iterable


def flat(value: float, minutes: int) -> str:
    """Stand still."""
    return f"{value}+0x{minutes - 1}"


def rising(start: float, step: float, minutes: int) -> str:
    """Change by a step each minute."""
    return f"{start}{step:+}x{minutes - 1}"


def gone(minutes: int) -> str:
    """Say nothing."""
    return f"_x{minutes}"


def stamps(begin: int, minutes: int) -> str:
    """Say the time itself, in seconds: what is stamped is fresh each minute."""
    return rising(60 * begin, 60, minutes)


def then(*blocks: str) -> str:
    """Put one block behind the other."""
    return " ".join(blocks)


def at(minutes: Iterable[int], value: float | None = None) -> str:
    """Say something at some minutes only: a value, or the time in seconds."""
    chosen = sorted(minutes)
    said = {minute: 60 * minute if value is None else value for minute in chosen}
    return " ".join(str(said.get(minute, "_")) for minute in range(chosen[-1] + 1))
