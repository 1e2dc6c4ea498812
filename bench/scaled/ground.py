"""What the measurements stand on: a private PostgreSQL and a private Redis, and databases that are made from one another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Final

import msgspec
from tests.services import Pgbouncer, PostgresServer, RedisServer, ServiceError, until
from tests.services.install import NotInstalled

from bench.looking import ServerLook, looking_at_server
from bench.processes import BenchError
from surehook.config import Settings
from surehook.ids import uuid7
from surehook.wiring import migrate

#: All else is PostgreSQL's default: these two are far too small there for any machine of today.
SETTINGS: Final[Mapping[str, str | int]] = {"shared_buffers": "512MB", "max_wal_size": "4GB"}
#: The settings that promise something, or explain a number.
_SHOWN: Final = ("fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers")
#: The key that the queue in Redis has by default.
LIST: Final = "surehook:due"
#: An empty database with the schema in it.
MIGRATED: Final = "migrated"


class Durability(msgspec.Struct, frozen=True):
    """What the servers promise, and their versions."""

    postgresql: str
    settings: Mapping[str, str]
    redis: str

    def text(self) -> str:
        """On one line, for people."""
        listed = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        return f"PostgreSQL {self.postgresql}: {listed}. Redis {self.redis}, keeping nothing on disk"


class Ground:
    """The servers and the databases in them."""

    def __init__(self, postgres: PostgresServer, redis_server: RedisServer, pooler: Pgbouncer) -> None:
        self.postgres = postgres
        self.redis = redis_server
        self.pooler = pooler

    def durability(self) -> Durability:
        """Asked of the servers themselves."""
        version, shown = postgres_settings(self.postgres)
        with self.redis.client() as client:
            return Durability(version, shown, client.info("server")["redis_version"])

    def make(self, name: str, *, template: str = MIGRATED) -> str:
        """A database that stays; returns its URL."""
        self.postgres.create_database(name, template=template)
        return self.postgres.url(name)

    def rest(self, name: str) -> None:
        """Make a database a template."""
        rest(self.postgres.url(name))

    @contextmanager
    def database(self, template: str = MIGRATED) -> Iterator[str]:
        """The URL of a copy that is gone afterwards."""
        with self.postgres.database(template=template) as url:
            yield url

    def announced(self) -> bytes | None:
        """What the queue in Redis holds, for ``announce``; None for nothing."""
        with self.redis.client() as client:
            dumped: bytes | None = client.dump(LIST)
            return dumped

    def announce(self, announced: bytes | None) -> None:
        """Empty Redis, and put back what its queue has held."""
        with self.redis.client() as client:
            client.flushall()
            if announced is not None:
                client.restore(LIST, 0, announced)

    def fill(self, count: int) -> None:
        """Let so many ids wait in the queue in Redis, of events that are nowhere."""
        with self.redis.client() as client:
            for start in range(0, count, 10_000):
                ids = [uuid7(number) for number in range(start, min(start + 10_000, count))]
                client.rpush(LIST, *ids)

    def waiting(self) -> int:
        """How many ids the queue in Redis holds."""
        with self.redis.client() as client:
            return int(client.llen(LIST))


@contextmanager
def open_ground() -> Iterator[Ground]:
    """Starts the servers, in the folder for temporary files (TMPDIR). Raises BenchError when that is not possible."""
    with ExitStack() as servers:
        try:
            postgres = servers.enter_context(PostgresServer(SETTINGS))
            redis_server = servers.enter_context(RedisServer())
            pooler = servers.enter_context(Pgbouncer(postgres))
            migrated = postgres.create_database(MIGRATED)
            asyncio.run(migrate(Settings(database=postgres.url(migrated))))
        except (NotInstalled, ServiceError, TimeoutError) as error:
            raise BenchError(f"the scaled profile needs PostgreSQL, Redis and PgBouncer. {error}") from error
        ground = Ground(postgres, redis_server, pooler)
        ground.rest(MIGRATED)
        yield ground


def postgres_settings(server: PostgresServer) -> tuple[str, dict[str, str]]:
    """Its version, and what it promises, asked of itself."""
    with looking_at_server(server.url()) as look:
        [[version]] = look.rows("SHOW server_version")
        return version.split()[0], {name: look.rows(f"SHOW {name}")[0][0] for name in _SHOWN}


def rest(url: str) -> None:
    """Let a database rest: nobody is connected, and its statistics are what they are in operation."""
    with looking_at_server(url) as look:
        await_clients(look)
        look.rows("VACUUM (ANALYZE)")


def await_clients(look: ServerLook) -> None:
    """Wait until every other client of this database is gone, and what it did is counted; whoever stays is thrown out.

    Processes that were killed need no throwing out; a pooler keeps their connections.
    """
    others = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    until(lambda: look.number(others) == 0, "the other clients are gone")
