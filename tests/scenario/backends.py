"""What an installation stands on: where its truth is, and where its queue."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from tests.scenario.databases import Database, PostgresDatabase, SqliteDatabase
from tests.services import RedisServer

#: Every pair of a database and a queue.
BACKENDS: Final = ("sqlite-database", "sqlite-redis", "postgresql-database", "postgresql-redis")

#: For scenarios about something that the others do not have.
SQLITE_ONLY: Final = pytest.mark.parametrize("backend", ["sqlite-database"], indirect=True)

_prefixes = (f"scenario{number}" for number in itertools.count())


class Backend(msgspec.Struct, frozen=True):
    """A database and a queue that nobody else uses."""

    #: One of ``BACKENDS``.
    name: str
    #: What an installation's settings say about them.
    settings: Mapping[str, Any]
    #: For the test to look into.
    database: Database


def on_sqlite(path: Path, redis: RedisServer | None = None) -> Backend:
    """A file."""
    return _backend("sqlite", f"sqlite:///{path}", SqliteDatabase(path), redis)


def on_postgres(url: str, redis: RedisServer | None = None) -> Backend:
    """A database of a server."""
    return _backend("postgresql", url, PostgresDatabase(url), redis)


def _backend(kind: str, url: str, database: Database, redis: RedisServer | None) -> Backend:
    if redis is None:
        return Backend(f"{kind}-database", {"database": url, "queue": "database"}, database)
    settings = {"database": url, "queue": redis.url(), "redis": {"prefix": next(_prefixes)}}
    return Backend(f"{kind}-redis", settings, database)
