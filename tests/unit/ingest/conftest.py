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


@pytest.fixture
async def sites() -> AsyncIterator[Sites]:
    """Builds ingest ports; all of them are closed at the end."""
    sites = Sites()
    yield sites
    await sites.close()
