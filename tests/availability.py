"""One rule for what a machine lacks: a skip that says why, and in CI a failure."""

import os
from typing import NoReturn

import pytest


def cannot_run(reason: str) -> NoReturn:
    """Skip the test with a reason, or fail it where CI=true: there nothing may be missing."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"cannot run, and CI may not skip: {reason}", pytrace=False)
    pytest.skip(reason)
