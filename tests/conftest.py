"""Fixtures that every suite shares."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from surehook.clock import ManualClock
from surehook.storage.sqlite import SqliteDatabase, SqliteReader, SqliteStorage, open_sqlite


@pytest.fixture
def clock() -> ManualClock:
    """Time that moves only when told to."""
    return ManualClock()


@pytest.fixture
async def database(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteDatabase]:
    """A migrated database on a file of its own."""
    database = await open_sqlite(f"sqlite:///{tmp_path}/surehook.db")
    await database.migrate(clock)
    yield database
    await database.close()


@pytest.fixture
def storage(database: SqliteDatabase) -> SqliteStorage:
    """The write verbs of ``database``."""
    return database.storage


@pytest.fixture
def reader(database: SqliteDatabase) -> SqliteReader:
    """The reading verbs of ``database``."""
    return database.reader
