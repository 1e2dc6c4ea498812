"""The database as the settings name it: opened, migrated, its clock read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

import msgspec

from surehook.clock import Clock, SteadyClock, SystemClock
from surehook.config import Settings, database_path, is_postgres
from surehook.errors import ConfigurationError, Unavailable
from surehook.storage import Database, Reader, Storage
from surehook.storage.migrate import AppliedMigration, require_current
from surehook.storage.sqlite import SqliteDatabase, open_sqlite
from surehook.wiring.extras import import_extra
from surehook.wiring.timekeeping import DatabaseClock
from surehook.wiring.urls import database_url

#: How long a handler may leave its transaction on PostgreSQL idle beyond its timeout, in milliseconds: then its worker has
#: vanished, and the transaction's locks are in others' way.
_IDLE: Final = 60_000


class MigratableDatabase(Database, Protocol):
    """A database, whatever its schema."""

    @property
    def pooled(self) -> bool:
        """Whether a transaction pooler, such as pgbouncer, stands in between."""
        ...

    async def migrations(self) -> list[AppliedMigration]:
        """Every migration and whether it is applied. Raises SchemaMismatch as ``migrate.compare`` does."""
        ...

    async def migrate(self, clock: Clock) -> list[AppliedMigration]:
        """Apply what is missing; returns what was applied. Of several migrators, one does it."""
        ...


class Server(Protocol):
    """What a database's server said of itself when it was asked."""

    @property
    def version(self) -> int:
        """As a number: 150008 is 15.8."""
        ...

    @property
    def max_connections(self) -> int:
        """How many connections it has for everybody."""
        ...


class ServerDatabase(MigratableDatabase, Protocol):
    """A database with a server of its own."""

    @property
    def server(self) -> Server:
        """What it said of itself when it was opened."""
        ...

    async def warnings(self) -> list[str]:
        """What works, but costs safety or speed, and what to do about it."""
        ...


class OpenedDatabase(msgspec.Struct, frozen=True):
    """What a command works with."""

    storage: Storage
    reader: Reader
    clock: Clock


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[OpenedDatabase]:
    """The database, for one command.

    Raises SchemaMismatch when its schema is missing, old or newer, Unavailable when it cannot be opened.
    """
    database = await open_unmigrated(settings)
    try:
        require_current(await database.migrations())
        yield OpenedDatabase(database.storage, database.reader, await clock_of(database))
    finally:
        await database.close()


async def migration_status(settings: Settings) -> list[AppliedMigration]:
    """Every migration and when it was applied. Raises SchemaMismatch as ``migrate.compare`` says."""
    database = await open_unmigrated(settings)
    try:
        return await database.migrations()
    finally:
        await database.close()


async def migrate(settings: Settings) -> list[str]:
    """Apply the missing migrations; returns their names."""
    database = await open_unmigrated(settings)
    try:
        return [f"{each.version:04}_{each.name}" for each in await database.migrate(SystemClock())]
    finally:
        await database.close()


async def open_unmigrated(settings: Settings, handler_timeout: int = 0) -> MigratableDatabase:
    """The database, whatever its schema. Raises ConfigurationError or Unavailable when it cannot be opened.

    ``handler_timeout``: the longest of any handler, in milliseconds.
    """
    if is_postgres(database_url(settings)):
        return await open_server(settings, handler_timeout)
    return await _open_file(settings)


async def open_server(settings: Settings, handler_timeout: int = 0) -> ServerDatabase:
    """PostgreSQL, whatever its schema. Raises ConfigurationError or Unavailable when it cannot be opened.

    ``handler_timeout``: the longest of any handler, in milliseconds.
    """
    url = database_url(settings)
    adapter = import_extra("surehook.storage.postgres", "database: postgresql://", "postgres")
    wanted = settings.postgres
    options = adapter.PostgresOptions(
        connections=wanted.connections,
        timeout=wanted.timeout,
        connect_timeout=wanted.connect_timeout,
        idle_timeout=_IDLE + handler_timeout,
        shared_turns=wanted.shared_turns,
    )
    database: ServerDatabase = await adapter.open_postgres(url, options)
    return database


def database_file(settings: Settings) -> Path | None:
    """The file of a SQLite database, whether it exists or not; None for PostgreSQL. Raises ConfigurationError."""
    url = database_url(settings)
    return None if is_postgres(url) else database_path(url)


async def _open_file(settings: Settings) -> SqliteDatabase:
    url = database_url(settings)
    path = database_path(url)
    if path.is_dir():
        raise ConfigurationError(
            f"database: {path} is a folder: name a file in it, e.g. sqlite:///{path / 'surehook.db'}"
        )
    try:
        return await open_sqlite(url, transaction_budget=settings.handlers.transaction_budget)
    except OSError as error:
        raise Unavailable(
            f"cannot open the database {path}: {error.strerror or error}. Its folder must be on a local disk and "
            "writable for this user, also for the files beside it (-wal, -shm, -door, -room); "
            "the setting database or --database names another."
        ) from error


async def clock_of(database: MigratableDatabase) -> DatabaseClock:
    """The database's clock, measured once; ``DatabaseClock.measure`` keeps it right."""
    # SQLite's clock is this machine's, and is followed at once when that is set; a server's goes on undisturbed
    local = isinstance(database, SqliteDatabase)
    clock = DatabaseClock(SystemClock() if local else SteadyClock())
    await clock.measure(database.reader)
    return clock
