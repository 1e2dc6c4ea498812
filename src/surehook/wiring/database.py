"""The database as the settings name it: opened, migrated, its clock read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from surehook.clock import Clock, SystemClock
from surehook.config import Settings, database_path
from surehook.errors import ConfigurationError, Unavailable
from surehook.storage import Reader, Storage
from surehook.storage.migrate import AppliedMigration, require_current
from surehook.storage.sqlite import SqliteDatabase, open_sqlite

#: How often the database's clock is read to find the reading with the least delay.
_READINGS: Final = 4


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


async def open_unmigrated(settings: Settings) -> SqliteDatabase:
    """The database, whatever its schema. Raises ConfigurationError or Unavailable when it cannot be opened."""
    path = database_path(settings.database)
    if path.is_dir():
        raise ConfigurationError(
            f"database: {path} is a folder: name a file in it, e.g. sqlite:///{path / 'surehook.db'}"
        )
    try:
        return await open_sqlite(settings.database, transaction_budget=settings.handlers.transaction_budget)
    except OSError as error:
        raise Unavailable(
            f"cannot open the database {path}: {error.strerror or error}. Its folder must be on a local disk and "
            "writable for this user, also for the files beside it (-wal, -shm, -door, -room); "
            "the setting database or --database names another."
        ) from error


async def clock_of(database: SqliteDatabase) -> Clock:
    """This machine's clock, set by the database's: the best of a few readings, as NTP does it (RFC 5905, section 8)."""
    clock = SystemClock()
    readings = []
    for _ in range(_READINGS):
        before = clock.now()
        there = await database.reader.database_time()
        after = clock.now()
        readings.append((after - before, there - (before + after) // 2))
    delay, offset = min(readings)
    # a distance within the delay of the reading is none that was measured
    return SystemClock(offset if abs(offset) > delay else 0)
