"""Why a message is refused: what reading it may raise, and the reason it is counted under. Pure."""

import re

import msgspec

from quotewatch.clock import US_PER_SECOND
from quotewatch.errors import WireError

# What a message may raise while it is read; whatever it is, the message is refused as a whole.
UNREADABLE = (WireError, msgspec.MsgspecError, ValueError, RecursionError)
_AHEAD_US = 86_400 * US_PER_SECOND
_PLACE = re.compile(r" - at `.*`$")


def check_time(us: int, received_us: int) -> None:
    """Refuse an exchange time a day and more ahead of ours.

    One such stamp would be the newest time of its book for ever, and what waits for time to pass
    (windows, high water, labels) would take it at its word. Old times are fine: captures have them.
    """
    if us > received_us + _AHEAD_US:
        raise WireError("bad_time", f"{us} us is more than a day ahead of {received_us} us")


def reason_of(error: Exception) -> str:
    """Name why a message was refused, from a closed set: it labels a counter."""
    if isinstance(error, WireError):
        return error.reason
    if isinstance(error, msgspec.ValidationError):
        text = _PLACE.sub("", str(error))
        if "missing required field" in text:
            return "missing_field"
        return "wrong_type" if text.startswith("Expected") else "bad_value"
    return "bad_value" if isinstance(error, RecursionError) else "malformed_json"
