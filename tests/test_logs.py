"""Log lines are JSON that people, tests and Cloud Logging read alike."""

import io
import json

import pytest

from quotewatch.logs import configure_logs, get_logger


@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_a_line_says_what_where_when_and_how_bad(level: str) -> None:
    stream = io.StringIO()
    configure_logs(stream)
    getattr(get_logger("gateway"), level)("gap", product="BTC-USD", missing=3)
    line = json.loads(stream.getvalue())
    when = line.pop("timestamp")
    assert when.endswith("Z")
    assert line == {
        "room": "gateway", "event": "gap", "product": "BTC-USD", "missing": 3,
        "level": level, "severity": level.upper(),  # the second is Cloud Logging's own word
    }  # fmt: skip


def test_what_is_raised_is_told_with_its_stack() -> None:
    stream = io.StringIO()
    configure_logs(stream)
    try:
        int("none")
    except ValueError:
        get_logger("gateway").exception("page_failed")
    assert "ValueError: invalid literal" in json.loads(stream.getvalue())["exception"]
