"""Connections to one PostgreSQL database: how they are made, what the server must promise, and its errors in our words."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import msgspec
import psycopg
from psycopg import AsyncConnection, conninfo
from psycopg import errors as pg

from surehook.errors import ConfigurationError, Unavailable

#: The oldest PostgreSQL that is tested; 13 lacks client_connection_check_interval.
MINIMUM_SERVER: Final = 140_000

#: The server, or the way to it, cannot.
_FAULTS: Final = (psycopg.OperationalError, psycopg.InterfaceError, pg.ReadOnlySqlTransaction)

#: What only happens to Surehook's own statements when the database is not as it should be.
OWN_FAULTS: Final = (
    pg.InsufficientPrivilege,
    pg.UndefinedTable,
    pg.InFailedSqlTransaction,
    psycopg.InternalError,
)

#: Undone as a whole by the server, and worth another try at once.
TRY_AGAIN: Final = (pg.DeadlockDetected, pg.SerializationFailure, pg.LockNotAvailable)

#: With these SQLSTATEs a server, or the pooler before it, ends a connection: broken, shut down, idle for too long.
_ENDS: Final = ("08", "57P", "25P03", "25P04")


class PostgresOptions(msgspec.Struct, frozen=True):
    """What the settings say about connections. Times are milliseconds."""

    #: Handlers' transactions at the same time.
    connections: int = 20
    #: How long one of Surehook's own transactions may take.
    timeout: int = 5_000
    connect_timeout: int = 3_000
    #: How long a reading verb may take: a page of the console or the CLI can have much to look through.
    read_timeout: int = 30_000
    #: How long a handler may leave its transaction idle before the server ends it: its locks are in others' way.
    idle_timeout: int = 60_000
    #: Whether handlers' transactions may share a commit.
    shared_turns: bool = True


class Server(msgspec.Struct, frozen=True):
    """What a server says of itself."""

    version: int
    encoding: str
    fsync: str
    synchronous_commit: str
    full_page_writes: str
    backend: int
    max_connections: int


_INSPECT: Final = """
SELECT CAST(current_setting('server_version_num') AS integer), current_setting('server_encoding'),
    current_setting('fsync'), current_setting('synchronous_commit'), current_setting('full_page_writes'),
    pg_backend_pid(), CAST(current_setting('max_connections') AS integer)
"""

#: A connection whose other end has vanished must be noticed within seconds, by whichever side still lives.
KEEPALIVE: Final = {
    "keepalives": "1",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}


def connection_string(url: str, options: PostgresOptions) -> str:
    """What libpq is given: the URL's own parameters win. Raises ConfigurationError for what it cannot read."""
    try:
        wanted = conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        raise ConfigurationError(
            f"database: the URL cannot be read: {_without_secrets(error)}. Write postgresql://user@host:5432/name"
        ) from None
    seconds = max(1, round(options.connect_timeout / 1000))
    defaults: dict[str, Any] = {
        "application_name": "surehook",
        "connect_timeout": str(seconds),
        "target_session_attrs": "read-write",
        **KEEPALIVE,
    }
    return conninfo.make_conninfo("", **{**defaults, **wanted, "client_encoding": "UTF8"})


def hosts(target: str) -> int:
    """How many servers libpq tries one after the other; each of them may take its whole time."""
    return str(conninfo.conninfo_to_dict(target).get("host", "")).count(",") + 1


def _without_secrets(error: Exception) -> str:
    """libpq quotes the URL in some messages; what it complains about stands before."""
    return str(error).partition(":")[0].partition('"')[0].strip() or "it is malformed"


async def inspect(connection: AsyncConnection[Any]) -> Server:
    """Ask a server about itself."""
    cursor = await connection.execute(_INSPECT)
    row = await cursor.fetchone()
    if row is None:
        raise Unavailable("PostgreSQL gave no answer about itself")
    return Server(*row)


def require_able(server: Server) -> None:
    """Raises ConfigurationError when the server cannot keep what Surehook promises."""
    if server.version < MINIMUM_SERVER:
        raise ConfigurationError(
            f"PostgreSQL {server.version // 10_000} is too old: Surehook needs {MINIMUM_SERVER // 10_000} or newer"
        )
    if server.fsync == "off":
        raise ConfigurationError(
            "PostgreSQL runs with fsync=off, so a crash of its machine loses or corrupts acknowledged events: set fsync=on "
            "in postgresql.conf and restart it"
        )
    if server.encoding != "UTF8":
        raise ConfigurationError(
            f"the database's encoding is {server.encoding}, which cannot hold every text that a webhook brings: create it "
            "with ENCODING 'UTF8'"
        )


def durability_warnings(server: Server) -> Iterator[str]:
    """Settings that weaken a promise."""
    if server.synchronous_commit == "off":
        yield (
            "PostgreSQL runs with synchronous_commit=off: a crash of the server loses events that were acknowledged up to a "
            "second before. Set it to on"
        )
    if server.full_page_writes == "off":
        yield "PostgreSQL runs with full_page_writes=off: a power cut can corrupt it. Set it to on"


def is_pooled(connection: AsyncConnection[Any], server: Server) -> bool:
    """Whether somebody such as pgbouncer stands in between: the process that answers is not the one that was connected."""
    return connection.info.backend_pid != server.backend


def sever(connection: AsyncConnection[Any]) -> None:
    """End a connection from our side, now, whatever its server does: who waits on it is told that it was closed.

    libpq itself must not be called while another thread or a suspended coroutine is in the middle of a statement.
    """
    with suppress(OSError, psycopg.Error):
        handle = socket.socket(fileno=connection.pgconn.socket)
        try:
            handle.shutdown(socket.SHUT_RDWR)
        finally:
            handle.detach()


def is_lost(error: psycopg.Error, connection: AsyncConnection[Any]) -> bool:
    """Whether the connection has ended with this error: then nobody can tell what became of a COMMIT on it."""
    if connection.closed:
        return True
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return error.sqlstate.startswith(_ENDS)


@contextmanager
def faults(what: str, *more: type[psycopg.Error]) -> Iterator[None]:
    """Turns faults of the server or the way to it, and ``more``, into Unavailable; errors of a statement pass."""
    try:
        yield
    except TRY_AGAIN:
        raise
    except psycopg.Error as error:
        if not isinstance(error, (*_FAULTS, *more)):
            raise
        raise Unavailable(f"{what}: {brief(error)}") from error


def brief(error: BaseException) -> str:
    """The first line of what the server or libpq said."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
