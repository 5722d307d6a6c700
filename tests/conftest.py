"""Fixtures that several rooms share."""

from collections.abc import Iterator

import pytest
import structlog

pytest_plugins = ["tests.emulator"]


@pytest.fixture(autouse=True)
def _logs_end_with_their_test() -> Iterator[None]:
    """Forget where logs go: what a test configured may write to a stream that is closed by now."""
    yield
    structlog.reset_defaults()
