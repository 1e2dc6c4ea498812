"""Where databases with many rows are made, copied and thrown away."""

from __future__ import annotations

import asyncio
import shutil
from abc import ABC, abstractmethod
from contextlib import closing
from pathlib import Path
from typing import Final

import apsw

from bench.looking import looking_at_server
from bench.scaled.ground import MIGRATED, Ground
from bench.scaled.rows import HISTORY
from surehook.clock import Millis, SystemClock
from surehook.config import Settings, database_path
from surehook.wiring import migrate
from surehook.wiring.database import open_unmigrated

POSTGRESQL: Final = "postgresql"
SQLITE: Final = "sqlite"


class Place(ABC):
    """One kind of database."""

    @abstractmethod
    def new(self, name: str) -> str:
        """An empty database with the schema in it; returns its URL."""

    @abstractmethod
    def copy(self, name: str, source: str) -> str:
        """A copy of the database that has this name; returns its URL."""

    @abstractmethod
    def rest(self, url: str) -> None:
        """After many rows were made: bring it into the state that it has in operation."""

    @abstractmethod
    def drop(self, url: str) -> None:
        """Throw it away."""


class OnServer(Place):
    """In the private PostgreSQL."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    def new(self, name: str) -> str:
        """With partitions for the days of a history."""
        url = self._copy(name, MIGRATED)
        asyncio.run(_make_partitions(url))
        return url

    def copy(self, name: str, source: str) -> str:
        """File by file: through the log it would take several times as long."""
        return self._copy(name, _name(source))

    def rest(self, url: str) -> None:
        """Autovacuum would do it, some time."""
        self._ground.rest(_name(url))

    def drop(self, url: str) -> None:
        """Whoever is connected is thrown out."""
        self._ground.postgres.drop_database(_name(url))

    def _copy(self, name: str, source: str) -> str:
        with looking_at_server(self._ground.postgres.url()) as look:
            new = look.number("SELECT CAST(current_setting('server_version_num') AS integer)") >= 150_000
            strategy = " STRATEGY file_copy" if new else ""
            look.rows(f'CREATE DATABASE "{name}" TEMPLATE "{source}"{strategy}')
        return self._ground.postgres.url(name)


class OnFiles(Place):
    """In files of SQLite, in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def new(self, name: str) -> str:
        """A new file."""
        url = self._url(name)
        asyncio.run(migrate(Settings(database=url)))
        return url

    def copy(self, name: str, source: str) -> str:
        """Nobody uses it, so it is one file."""
        url = self._url(name)
        shutil.copy(database_path(source), database_path(url))
        return url

    def rest(self, url: str) -> None:
        """Nothing is left in the log."""
        with closing(apsw.Connection(str(database_path(url)))) as file:
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def drop(self, url: str) -> None:
        """With what stands beside it."""
        path = database_path(url)
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()

    def _url(self, name: str) -> str:
        return f"sqlite:///{self._folder / name}.db"


def _name(url: str) -> str:
    return url.rpartition("/")[2]


async def _make_partitions(url: str) -> None:
    database = await open_unmigrated(Settings(database=url))
    try:
        await database.maintain(Millis(SystemClock().now() - HISTORY - 86_400_000))
    finally:
        await database.close()
