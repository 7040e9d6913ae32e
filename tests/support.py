"""What test modules share."""

import os

import pytest

REQUIRE_ALL = os.environ.get("REQUIRE_ALL") == "1"
"""Whether a missing tool fails a test rather than skipping it; `.ci/run` asks for it."""


def require(condition: object, reason: str) -> None:
    """Go on if `condition` holds; else skip the running test, or fail it under REQUIRE_ALL=1. `reason` says what is
    missing."""
    if condition:
        return
    if REQUIRE_ALL:
        pytest.fail(f"REQUIRE_ALL=1, but {reason}", pytrace=False)
    pytest.skip(reason)
