"""The event's transaction as handlers see it, on the loop and in threads, with the tools they may bring to it."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from functools import partial
from types import ModuleType
from typing import Any, Generic, TypeVar

from surehook.errors import InvalidRequest, TransactionError
from surehook.ids import MESSAGE_PREFIX, typeid
from surehook.outbox import MessageBuffer
from surehook.storage import Parameters, UnitOfWork

Result = TypeVar("Result")


class _Awaited(Generic[Result]):
    """A statement that runs when it is awaited, and is missed when it never is."""

    __slots__ = ("_missing", "_run", "sql")

    def __init__(self, sql: str, run: Callable[[], Coroutine[Any, Any, Result]], missing: set[Any]) -> None:
        self.sql = sql
        self._run = run
        self._missing = missing
        missing.add(self)

    def __await__(self) -> Generator[Any, Any, Result]:
        try:
            return (yield from self._run().__await__())
        finally:
            self._missing.discard(self)  # at its end: one that has only begun is missed as well


class Transaction:
    """The event's transaction: opened by the first statement, committed with the event's completion and its messages."""

    def __init__(self, unit: UnitOfWork, messages: MessageBuffer | None) -> None:
        self._unit = unit
        self._messages = messages
        self._ending: AsyncExitStack | None = None
        self._missing: set[_Awaited[Any]] = set()
        self._session: Any = None

    def execute(self, sql: str, parameters: Parameters = ()) -> Awaitable[int]:
        """Run one statement when awaited; how many rows it wrote. Parameters are ``:name`` with a mapping, or ``?``."""
        return _Awaited(sql, partial(self._unit.execute, sql, parameters), self._missing)

    def fetch(self, sql: str, parameters: Parameters = ()) -> Awaitable[list[dict[str, Any]]]:
        """Run one statement when awaited; its rows, column name to value."""
        return _Awaited(sql, partial(self._unit.fetch, sql, parameters), self._missing)

    def connection(self) -> Awaitable[Any]:
        """On PostgreSQL, when awaited: a ``psycopg.AsyncConnection`` with this transaction open on it.

        Its commit(), rollback() and close() raise TransactionError: the end is Surehook's.
        """
        return _Awaited("tx.connection()", self._unit.connection, self._missing)

    def session(self) -> Awaitable[Any]:
        """On PostgreSQL, when awaited: an ``sqlalchemy.ext.asyncio.AsyncSession`` in this transaction, always the same.

        Its commit() and rollback() end a savepoint; what it holds when the handler returns is flushed. Raises
        TransactionError when SQLAlchemy is not installed.
        """
        return _Awaited("tx.session()", self._open_session, self._missing)

    def publish(
        self, destination: str, *, type: str, data: Any, subject: str | None = None, key: str | None = None
    ) -> str:
        """As ``Event.publish``."""
        return publish(self._messages, destination, type=type, data=data, subject=subject, key=key)

    async def _open_session(self) -> Any:
        if self._session is None:
            connection = await self._unit.connection()
            opened = _sessions().async_session(connection)
            self._ending = AsyncExitStack()
            self._session = await self._ending.enter_async_context(opened)
        return self._session

    def _require_awaited(self) -> None:
        if self._missing:
            sql = next(iter(self._missing)).sql.strip()[:200]
            raise TransactionError(
                f"a statement was never awaited, so it did not run: write 'await tx...' for {sql!r}"
            )


class SyncTransaction:
    """The same for ``def`` handlers, which run in a thread: nothing is awaited."""

    def __init__(self, unit: UnitOfWork, messages: MessageBuffer, ending: ExitStack) -> None:
        self._unit = unit
        self._messages = messages
        self._ending = ending
        self._session: Any = None

    def execute(self, sql: str, parameters: Parameters = ()) -> int:
        """Run one statement; returns how many rows it wrote. Parameters are ``:name`` with a mapping, or ``?``."""
        return self._unit.execute_blocking(sql, parameters)

    def fetch(self, sql: str, parameters: Parameters = ()) -> list[dict[str, Any]]:
        """Run one statement; returns its rows, column name to value."""
        return self._unit.fetch_blocking(sql, parameters)

    def connection(self) -> Any:
        """As ``Transaction.connection``: a ``psycopg.Connection``."""
        return self._unit.connection_blocking()

    def session(self) -> Any:
        """As ``Transaction.session``: an ``sqlalchemy.orm.Session``."""
        if self._session is None:
            connection = self._unit.connection_blocking()
            self._session = self._ending.enter_context(_sessions().session(connection))
        return self._session

    def publish(
        self, destination: str, *, type: str, data: Any, subject: str | None = None, key: str | None = None
    ) -> str:
        """As ``Event.publish``."""
        return publish(self._messages, destination, type=type, data=data, subject=subject, key=key)


async def within(tx: Transaction, handler: Awaitable[Result]) -> Result:
    """What a handler returns that was given this transaction; at its end its session is flushed and closed.

    Raises what the handler or the flush raises, and TransactionError when a statement was written down but never awaited,
    and so never run.
    """
    try:
        result = await handler
    except BaseException as error:
        if tx._ending is not None:
            await tx._ending.__aexit__(type(error), error, error.__traceback__)
        raise
    if tx._ending is None:  # as most: nothing is to be closed
        tx._require_awaited()
    else:
        async with tx._ending:
            tx._require_awaited()
    return result


@contextmanager
def sync_transaction_of(unit: UnitOfWork, messages: MessageBuffer) -> Iterator[SyncTransaction]:
    """The same for a handler in a thread."""
    with ExitStack() as ending:
        yield SyncTransaction(unit, messages, ending)


def publish(messages: MessageBuffer | None, destination: str, **message: Any) -> str:
    """Put a message among those of an attempt; its TypeID. Raises InvalidRequest as the buffer does."""
    if messages is None:
        raise InvalidRequest("@app.setup runs for no event, so it cannot publish: do it in a handler")
    return typeid(MESSAGE_PREFIX, messages.publish(destination, **message))


def _sessions() -> ModuleType:
    """Loaded by the first handler that asks: only some applications have SQLAlchemy."""
    try:
        return importlib.import_module("surehook.contrib.sqlalchemy")
    except ImportError as error:
        raise TransactionError(
            f"tx.session() needs SQLAlchemy: pip install 'surehook[sqlalchemy]' ({error})"
        ) from error
