"""Logs as events: one JSON line per batch or change of state, never per message."""

import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger


def configure_logs(stream: TextIO | None = None, *, level: int = logging.INFO) -> None:
    """Write JSON lines with ISO times and string levels to `stream`, standard error by default."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _add_severity,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )


def _add_severity(_: object, __: str, line: EventDict) -> EventDict:
    """Say the level once more under the name by which Cloud Logging knows it."""
    return {**line, "severity": str(line["level"]).upper()}


def get_logger(room: str) -> FilteringBoundLogger:
    """Return the logger of one room; every line carries its name."""
    logger: FilteringBoundLogger = structlog.get_logger(room=room)
    return logger
