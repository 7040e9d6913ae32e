"""The client talks to a small server inside the test, in the test's own event loop."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.client.v1_server import V1Server

DEADLINE = 30.0


@pytest.fixture
async def deadline(anyio_backend: str) -> AsyncIterator[None]:
    """Whatever a test waits for comes in this time, or it never comes."""
    async with asyncio.timeout(DEADLINE):
        yield


@pytest.fixture
async def server(deadline: None) -> AsyncIterator[V1Server]:
    """A room where everything said is heard by all, and where some messages ask for more (see `V1Server`)."""
    async with V1Server.open() as running:
        yield running
