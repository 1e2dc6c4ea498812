"""Where events are kept: a file of SQLite, a database of PostgreSQL, or a Redis, each made anew for every run."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Final

import apsw
import redis
from tests.services import PostgresServer, RedisServer

from bench.looking import Look, looking
from bench.processes import BenchError, family_seconds
from bench.scaled.ground import rest
from bench.suite import remove


class Place(StrEnum):
    """What a store is, and how Redis keeps it."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"
    REDIS_ALWAYS = "redis, appendfsync=always"
    REDIS_EVERYSEC = "redis, appendfsync=everysec"


class Store(ABC):
    """What one run leaves behind. ``pid`` is the server that keeps it, where there is one."""

    def __init__(self, url: str, pid: int | None = None) -> None:
        self.url = url
        self._pid = pid

    def seconds(self) -> float:
        """CPU time of the server so far, all its processes."""
        return 0.0 if self._pid is None else family_seconds(self._pid)

    @abstractmethod
    def count(self, what: str) -> int:
        """How many there are of something."""

    @abstractmethod
    def holds(self, what: str) -> bool:
        """Whether there is any of it: cheaper than to count."""


class SqlStore(Store):
    """A database; "what" is a query, whose rows are counted."""

    def __init__(self, url: str, look: Look, pid: int | None = None) -> None:
        super().__init__(url, pid)
        self._look = look

    def count(self, what: str) -> int:
        """Over a connection that stays."""
        return self._look.number(f"SELECT count(*) FROM ({what}) AS found")

    def holds(self, what: str) -> bool:
        """The first row is enough."""
        return self.count(f"{what} LIMIT 1") > 0


class RedisStore(Store):
    """A Redis; "what" is the names of lists, sets and hashes, whose elements are counted."""

    def __init__(self, server: RedisServer) -> None:
        super().__init__(server.url(), server.pid)
        self._server = server

    def count(self, what: str) -> int:
        """A name that is not there has none."""
        with self._server.client() as client:
            return sum(_size(client, name) for name in what.split())

    def holds(self, what: str) -> bool:
        """Redis knows every size."""
        return self.count(what) > 0


def _size(client: redis.Redis, name: str) -> int:
    sizes: Mapping[str, Callable[[str], object]] = {
        "none": lambda name: 0,
        "list": client.llen,
        "hash": client.hlen,
        "zset": client.zcard,
    }
    kind = client.type(name)
    return int(str(sizes[kind if isinstance(kind, str) else kind.decode()](name)))


#: Fills an empty store.
Fill = Callable[[Store], None]


class Shelf(ABC):
    """All stores of one kind."""

    @abstractmethod
    def empty(self) -> AbstractContextManager[Store]:
        """A new one, gone afterwards."""

    @abstractmethod
    def filled(self, name: str, fill: Fill) -> AbstractContextManager[Store]:
        """One that ``fill`` has filled, gone afterwards; what has the same name holds the same."""


class FileShelf(Shelf):
    """Files of SQLite in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def empty(self) -> Iterator[Store]:
        """A file that is not there yet."""
        path = self._folder / "work.db"
        remove(path)
        with _opened(path) as store:
            yield store

    @contextmanager
    def filled(self, name: str, fill: Fill) -> Iterator[Store]:
        """A copy of a file that is filled the first time."""
        kept = self._folder / f"{name}.db"
        if not kept.exists():
            with _opened(kept) as store:
                fill(store)
            with closing(apsw.Connection(str(kept))) as file:
                file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        path = self._folder / "work.db"
        remove(path)
        shutil.copy(kept, path)
        with _opened(path) as store:
            yield store


@contextmanager
def _opened(path: Path) -> Iterator[Store]:
    url = f"sqlite:///{path}"
    with looking(url) as look:
        yield SqlStore(url, look)


class DatabaseShelf(Shelf):
    """Databases of a private PostgreSQL."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._kept: set[str] = set()

    @contextmanager
    def empty(self) -> Iterator[Store]:
        """A database without a table."""
        with self._server.database() as url, self._opened(url) as store:
            yield store

    @contextmanager
    def filled(self, name: str, fill: Fill) -> Iterator[Store]:
        """A copy of a database that is filled the first time."""
        if name not in self._kept:
            url = self._server.url(self._server.create_database(name))
            with self._opened(url) as store:
                fill(store)
            rest(url)
            self._kept.add(name)
        with self._server.database(template=name) as url, self._opened(url) as store:
            yield store

    @contextmanager
    def _opened(self, url: str) -> Iterator[Store]:
        """Every run begins after a checkpoint, so that none pays for what another has written."""
        with looking(url) as look:
            look.rows("CHECKPOINT")
            yield SqlStore(url, look, self._server.pid)


class RedisShelf(Shelf):
    """A private Redis for each run, with its append-only file synced in one of two ways."""

    def __init__(self, appendfsync: str) -> None:
        self._settings: Final = {"appendonly": "yes", "appendfsync": appendfsync}

    @contextmanager
    def empty(self) -> Iterator[Store]:
        """Raises BenchError unless it says itself that it keeps what it is told."""
        with RedisServer(self._settings) as server, server.client() as client:
            said = client.config_get("append*")
            if not self._settings.items() <= said.items():
                raise BenchError(f"Redis does not keep what it should: {said}")
            yield RedisStore(server)

    @contextmanager
    def filled(self, name: str, fill: Fill) -> Iterator[Store]:
        """Filled every time: its files cannot be had back as they were."""
        with self.empty() as store:
            fill(store)
            yield store


def shelves(folder: Path, server: PostgresServer) -> dict[Place, Shelf]:
    """One for each place."""
    return {
        Place.SQLITE: FileShelf(folder),
        Place.POSTGRESQL: DatabaseShelf(server),
        Place.REDIS_ALWAYS: RedisShelf("always"),
        Place.REDIS_EVERYSEC: RedisShelf("everysec"),
    }
