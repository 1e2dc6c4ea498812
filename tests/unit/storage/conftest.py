"""PostgreSQL databases for the adapter's own tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from surehook.clock import ManualClock
from surehook.storage.postgres import PostgresDatabase, open_postgres
from tests.services import PostgresServer


@pytest.fixture(scope="session")
def migrated(postgres: PostgresServer) -> str:
    """A migrated database that others are copied from."""
    name = postgres.create_database()

    async def migrate() -> None:
        database = await open_postgres(postgres.url(name))
        await database.migrate(ManualClock())
        await database.close()

    with ThreadPoolExecutor(1) as thread:  # the loop of the test that asks first is running here
        thread.submit(lambda: asyncio.run(migrate())).result()
    return name


@pytest.fixture
def server_url(postgres: PostgresServer, migrated: str) -> Iterator[str]:
    """A migrated PostgreSQL database."""
    with postgres.database(template=migrated) as url:
        yield url


@pytest.fixture
async def server_database(server_url: str) -> AsyncIterator[PostgresDatabase]:
    """The same, opened."""
    database = await open_postgres(server_url)
    yield database
    await database.close()
