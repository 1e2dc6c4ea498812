"""The contract suites run on every adapter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from surehook.clock import ManualClock
from surehook.storage.postgres import open_postgres
from surehook.storage.sqlite import open_sqlite
from tests.conftest import AnyDatabase
from tests.services import Pgbouncer, PostgresServer


@pytest.fixture(scope="session")
def template(postgres: PostgresServer) -> str:
    """A migrated database that others are copied from: a copy costs less than a migration."""

    name = postgres.create_database()

    async def migrate() -> None:
        database = await open_postgres(postgres.url(name))
        await database.migrate(ManualClock())
        await database.close()

    with ThreadPoolExecutor(1) as thread:  # the loop of the test that asks first is running here
        thread.submit(lambda: asyncio.run(migrate())).result()
    return name


@pytest.fixture
def postgres_url(postgres: PostgresServer, template: str) -> Iterator[str]:
    """A migrated PostgreSQL database."""
    with postgres.database(template=template) as url:
        yield url


@pytest.fixture(scope="session")
def pgbouncer(postgres: PostgresServer) -> Iterator[Pgbouncer]:
    """A pooler in transaction mode in front of the server."""
    with Pgbouncer(postgres) as pooler:
        yield pooler


@pytest.fixture(params=["sqlite", "postgresql", "pgbouncer"])
async def database(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock
) -> AsyncIterator[AnyDatabase]:
    """A migrated database of every kind."""
    if request.param == "sqlite":
        database: AnyDatabase = await open_sqlite(f"sqlite:///{tmp_path}/surehook.db")
        await database.migrate(clock)
    else:
        url: str = request.getfixturevalue("postgres_url")
        if request.param == "pgbouncer":
            pooler: Pgbouncer = request.getfixturevalue("pgbouncer")
            url = pooler.url(url.rpartition("/")[2])
        database = await open_postgres(url)
        assert database.pooled == (request.param == "pgbouncer")
    yield database
    await database.close()
