"""Fixtures that every suite shares: a migrated database of each kind, and the servers behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest

from surehook.clock import ManualClock
from surehook.storage import Reader, Storage
from surehook.storage.postgres import PostgresDatabase
from surehook.storage.sqlite import SqliteDatabase, open_sqlite
from tests.services import PostgresServer, RedisServer

AnyDatabase = SqliteDatabase | PostgresDatabase


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What was captured may hold half of a surrogate pair, which cannot be told between the processes of a parallel run."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the whole run; tests make databases of their own in it."""
    with PostgresServer(in_memory=True) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis server for the whole run; tests use prefixes of their own."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def clock() -> ManualClock:
    """Time that moves only when told to."""
    return ManualClock()


@pytest.fixture
async def database(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteDatabase]:
    """A migrated SQLite database on a file of its own."""
    database = await open_sqlite(f"sqlite:///{tmp_path}/surehook.db")
    await database.migrate(clock)
    yield database
    await database.close()


@pytest.fixture
def storage(database: AnyDatabase) -> Storage:
    """The write verbs of ``database``."""
    return database.storage


@pytest.fixture
def reader(database: AnyDatabase) -> Reader:
    """The reading verbs of ``database``."""
    return database.reader
