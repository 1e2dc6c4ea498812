"""The loop of production, and a running ingest port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop
from tests.unit.ingest.http_support import Sites


@pytest.hookimpl
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(params=["direct", "asgi"])
async def sites(request: pytest.FixtureRequest) -> AsyncIterator[Sites]:
    """Builds ingest ports, for either way of a plain webhook; all of them are closed at the end."""
    sites = Sites(direct=request.param == "direct")
    yield sites
    await sites.close()
