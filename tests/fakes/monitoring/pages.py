"""Pages of a list: the token says where the next one begins, and of which question."""

import zlib
from typing import Any

from tests.fakes.monitoring.refusal import invalid


def page_of(request: Any, limit: int) -> slice:
    """Say which part of the whole list is asked for."""
    if request.page_size < 0:
        raise invalid(f"Field pageSize had an invalid value of {request.page_size}.")
    begin = _offset(request)
    return slice(begin, begin + min(request.page_size or limit, limit))


def token_for(request: Any, next_offset: int, length: int) -> str:
    """Name the next page, or nothing after the last."""
    return f"{next_offset}.{_question(request)}" if next_offset < length else ""


def _offset(request: Any) -> int:
    if not request.page_token:
        return 0
    offset, _, question = request.page_token.partition(".")
    if question != _question(request) or not offset.isdecimal():
        raise invalid("Field pageToken had an invalid value: it is not of this request.")
    return int(offset)


def _question(request: Any) -> str:
    """Tell one question from another, whatever the page."""
    kind = type(request)
    bare = kind.pb(kind(request))
    same = type(bare)()
    same.CopyFrom(bare)
    same.ClearField("page_token")
    same.ClearField("page_size")
    return f"{zlib.crc32(same.SerializeToString(deterministic=True)):08x}"
