"""Migrations on every database: one of many migrators applies each, and a version knows what it can work with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from pathlib import Path

import apsw
import psycopg
import pytest

from surehook.clock import ManualClock
from surehook.errors import SchemaMismatch
from surehook.storage import SetupFunction, UnitOfWork
from surehook.storage.migrate import load_migrations, require_current
from surehook.storage.postgres import open_postgres
from surehook.storage.sqlite import open_sqlite
from tests.conftest import AnyDatabase
from tests.services import PostgresServer


class Place:
    """One empty database, which any number of processes open."""

    def __init__(self, url: str, stack: AsyncExitStack) -> None:
        self._url = url
        self._stack = stack

    async def open(self) -> AnyDatabase:
        """Open it as one more process would."""
        database: AnyDatabase
        if self._url.startswith("sqlite"):
            database = await open_sqlite(self._url)
        else:
            database = await open_postgres(self._url)
        self._stack.push_async_callback(database.close)
        return database

    def execute(self, sql: str) -> None:
        """What somebody does with another program."""
        if self._url.startswith("sqlite"):
            with closing(apsw.Connection(self._url.removeprefix("sqlite:///"))) as file:
                file.execute(sql)
        else:
            with psycopg.connect(self._url, autocommit=True) as connection:
                connection.execute(sql.encode())


@pytest.fixture(params=["sqlite", "postgresql"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """An empty database of every kind."""
    async with AsyncExitStack() as stack:
        url = f"sqlite:///{tmp_path}/a.db"
        if request.param == "postgresql":
            server: PostgresServer = request.getfixturevalue("postgres")
            url = stack.enter_context(server.database())
        yield Place(url, stack)


async def test_migrators_at_once_apply_each_migration_once(place: Place, clock: ManualClock) -> None:
    databases = [await place.open() for _ in range(4)]
    applied = await asyncio.gather(*(database.migrate(clock) for database in databases))
    assert sorted(len(each) for each in applied) == [0, 0, 0, len(load_migrations("sqlite"))]
    for database in databases:
        require_current(await database.migrations())


async def test_an_empty_database_lacks_every_migration(place: Place) -> None:
    status = await (await place.open()).migrations()
    assert [each.applied_at for each in status] == [None] * len(load_migrations("sqlite"))
    with pytest.raises(SchemaMismatch, match="surehook migrate up"):
        require_current(status)


async def test_set_up_of_many_processes_at_once_runs_one_after_the_other(
    place: Place, clock: ManualClock
) -> None:
    """CREATE TABLE IF NOT EXISTS is no protection against itself: two at once can both try."""
    databases = [await place.open() for _ in range(4)]
    await databases[0].migrate(clock)

    async def tables(unit: UnitOfWork) -> None:
        await unit.execute("CREATE TABLE IF NOT EXISTS effects (n integer PRIMARY KEY)")
        rows = await unit.fetch("SELECT count(*) AS n FROM effects")
        await unit.execute("INSERT INTO effects (n) VALUES (:n)", {"n": rows[0]["n"]})

    functions: list[SetupFunction] = [tables]
    for _ in range(5):
        await asyncio.gather(*(database.run_setup(functions) for database in databases))

    async def count(unit: UnitOfWork) -> None:
        assert await unit.fetch("SELECT count(*) AS n FROM effects") == [{"n": 20}]

    await databases[0].run_setup([count])


LEDGER = "INSERT INTO schema_migrations (version, name, checksum, applied_at, needs) VALUES (9999, 'future', 'x', 1, {})"


async def test_a_newer_schema_is_refused_when_it_says_so(place: Place, clock: ManualClock) -> None:
    database = await place.open()
    await database.migrate(clock)
    place.execute(LEDGER.format(9999))
    with pytest.raises(SchemaMismatch, match="newer than this version"):
        await database.migrations()


async def test_a_newer_schema_that_this_code_can_work_with_is_accepted(
    place: Place, clock: ManualClock
) -> None:
    """A rolling deployment: the new version has migrated, and processes of this version still start and run."""
    database = await place.open()
    await database.migrate(clock)
    newest = len(load_migrations("sqlite"))
    place.execute(LEDGER.format(newest))
    place.execute("ALTER TABLE inbox_events ADD COLUMN future text")
    place.execute("CREATE TABLE future (id integer PRIMARY KEY)")
    require_current(await database.migrations())
    assert await (await place.open()).migrate(clock) == []


async def test_a_changed_migration_is_refused(place: Place, clock: ManualClock) -> None:
    database = await place.open()
    await database.migrate(clock)
    place.execute("UPDATE schema_migrations SET checksum = 'x'")
    with pytest.raises(SchemaMismatch, match="was changed after"):
        await database.migrations()
