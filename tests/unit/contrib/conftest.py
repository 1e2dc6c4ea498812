"""A workshop for every test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import psycopg
import pytest

from surehook.clock import ManualClock
from surehook.storage.postgres import open_postgres
from tests.contract.conftest import postgres_url, template
from tests.unit.contrib.workshop import TABLES, Workshop

__all__ = ["postgres_url", "template"]


@pytest.fixture
async def shop(postgres_url: str, clock: ManualClock) -> AsyncIterator[Workshop]:
    """A worker that is not started yet, with tables for effects."""
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection:
        await connection.execute(TABLES)
    database = await open_postgres(postgres_url)
    shop = Workshop(database, postgres_url, clock)
    yield shop
    shop.gate.set()
    if shop.worker is not None:
        await shop.worker.stop(1_000)
    await database.close()
