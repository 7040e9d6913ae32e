"""A house on each engine."""

import pytest

from tests.engine.house import ENGINES, House


@pytest.fixture(params=list(ENGINES.values()), ids=list(ENGINES))
def house(request: pytest.FixtureRequest) -> House:
    return House(request.param)
