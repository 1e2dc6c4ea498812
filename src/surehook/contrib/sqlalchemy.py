"""SQLAlchemy's sessions inside an event's transaction: what ``tx.session()`` gives.

A session works on the connection that the attempt has open already, inside a savepoint. Its own commit and rollback end that
savepoint; only Surehook ends the transaction.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import URL, Engine, NullPool, create_engine
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg, PGDialectAsync_psycopg
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from surehook.errors import TransactionError

importlib.import_module("greenlet")  # of its absence SQLAlchemy would tell in the middle of a statement

_URL: Final = URL.create("postgresql+surehook")

_OPTIONS: Final[dict[str, Any]] = {
    "pool_reset_on_return": None,
    # it is registered with a connection as that is made; ours are made by others
    "use_native_hstore": False,
}

#: The connection that an engine is asked for in this very moment.
_borrowed: ContextVar[Any] = ContextVar("surehook_borrowed_connection")


class BorrowedDialect(PGDialect_psycopg):
    """PostgreSQL on a borrowed connection: neither the transaction nor the connection is SQLAlchemy's to end."""

    supports_statement_cache = True
    _meeting = False

    @classmethod
    def get_async_dialect_cls(cls, url: URL) -> type[AsyncBorrowedDialect]:
        """Dialect.get_async_dialect_cls."""
        return AsyncBorrowedDialect

    def initialize(self, connection: Any) -> None:
        """Dialect.initialize: at the first connection of all, what the server is; reads only."""
        self._meeting = True
        super().initialize(connection)  # type: ignore[no-untyped-call]  # dialects of SQLAlchemy have no types

    def do_commit(self, dbapi_connection: Any) -> None:
        """Only a Connection's own commit() comes here."""
        raise TransactionError(
            "leave the commit to Surehook: it commits what the handler wrote together with the event's completion. "
            "session.commit() ends a savepoint and is allowed"
        )

    def do_rollback(self, dbapi_connection: Any) -> None:
        """Only a Connection's own rollback() and close() come here, and SQLAlchemy itself after ``initialize``."""
        if not self._meeting:
            raise TransactionError(
                "leave the rollback to Surehook: raise an exception to undo what the handler wrote. session.rollback() "
                "goes back to a savepoint and is allowed"
            )
        self._meeting = False

    def do_close(self, dbapi_connection: Any) -> None:
        """The connection goes back to Surehook's pool."""

    def do_terminate(self, dbapi_connection: Any) -> None:
        """The connection goes back to Surehook's pool."""


class AsyncBorrowedDialect(BorrowedDialect, PGDialectAsync_psycopg):
    """The same for ``psycopg.AsyncConnection``."""

    supports_statement_cache = True


registry.register("postgresql.surehook", __name__, "BorrowedDialect")


@asynccontextmanager
async def async_session(connection: psycopg.AsyncConnection[Any]) -> AsyncIterator[AsyncSession]:
    """A session in the transaction that is open on the connection.

    It is flushed at the end, and forgotten without another statement when the block raises.
    """
    with _lending(connection):
        bind = await _async_engine(_server(connection)).connect()
    await bind.begin()
    session = AsyncSession(bind, expire_on_commit=False, join_transaction_mode="create_savepoint")
    try:
        yield session
        if _is_sound(connection):
            await session.commit()
    finally:
        if not bind.closed:
            await bind.invalidate()
        await session.close()


@contextmanager
def session(connection: psycopg.Connection[Any]) -> Iterator[Session]:
    """The same in a thread."""
    with _lending(connection):
        bind = _engine(_server(connection)).connect()
    bind.begin()
    session = Session(bind, join_transaction_mode="create_savepoint")
    try:
        yield session
        if _is_sound(connection):
            session.commit()
    finally:
        if not bind.closed:
            bind.invalidate()
        session.close()


@contextmanager
def _lending(connection: Any) -> Iterator[None]:
    token = _borrowed.set(connection)
    try:
        yield
    finally:
        _borrowed.reset(token)


def _is_sound(connection: psycopg.AsyncConnection[Any] | psycopg.Connection[Any]) -> bool:
    """False after an error that the handler has caught: Surehook then says what it means for the transaction."""
    return connection.info.transaction_status != TransactionStatus.INERROR


def _server(connection: psycopg.AsyncConnection[Any] | psycopg.Connection[Any]) -> tuple[str, int, str]:
    return connection.info.host, connection.info.port, connection.info.dbname


@lru_cache(maxsize=8)
def _async_engine(server: tuple[str, int, str]) -> AsyncEngine:
    """One for each database, which is one for the process: it remembers what SQLAlchemy compiles."""

    async def creator() -> psycopg.AsyncConnection[Any]:
        connection: psycopg.AsyncConnection[Any] = _borrowed.get()
        return connection

    return create_async_engine(_URL, async_creator=creator, poolclass=NullPool, **_OPTIONS)


@lru_cache(maxsize=8)
def _engine(server: tuple[str, int, str]) -> Engine:
    return create_engine(_URL, creator=_borrowed.get, poolclass=NullPool, **_OPTIONS)
