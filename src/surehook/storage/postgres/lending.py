"""A handler's connection: lent to a thread, and taken back from whoever still holds it when its attempt has ended."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any, Final, NoReturn, TypeVar

import psycopg
from psycopg import AsyncConnection, AsyncTransaction, Connection
from psycopg.abc import PQGen

from surehook.errors import TransactionError
from surehook.storage.postgres.connection import sever
from surehook.storage.postgres.pools import Pool, give_back

Result = TypeVar("Result")

logger = logging.getLogger(__name__)

#: How long the server may take to hear that a statement is to be cancelled, in seconds.
_CANCEL: Final = 3.0


class _Undone(Exception):
    """Tells psycopg's transaction to roll back."""


class BorrowedConnection(Connection[Any]):
    """A handler thread's face of a connection that belongs to the pool: the same wire, without its end.

    The loop does not touch the wire while the thread has a statement on it, and the thread cannot after ``ended``.
    """

    ended = False

    @classmethod
    def of(cls, connection: AsyncConnection[Any]) -> BorrowedConnection:
        """The blocking face of ``connection``."""
        borrowed = cls(connection.pgconn)
        # prepared statements have the same names on both faces, and each would take the other's for its own
        borrowed.prepare_threshold = None
        return borrowed

    def wait(self, gen: PQGen[Result], *args: Any, **options: Any) -> Result:
        """Every statement passes here."""
        if self.ended:
            raise TransactionError(
                "the transaction has ended: a handler must not use it after it has returned"
            )
        return super().wait(gen, *args, **options)

    def commit(self) -> NoReturn:
        """Not the handler's to do."""
        raise TransactionError(
            "leave the commit to Surehook: it commits what the handler wrote together with the event's completion"
        )

    def rollback(self) -> NoReturn:
        """Not the handler's to do."""
        raise TransactionError(
            "leave the rollback to Surehook: raise an exception to undo what the handler wrote"
        )

    def close(self) -> NoReturn:
        """Not the handler's to do."""
        raise TransactionError(
            "the connection belongs to Surehook, which takes it back when the handler has returned"
        )

    def __del__(self, *_: Any) -> None:
        """The wire stays open: it is the pool's."""


class Ending:
    """Rolls back what is left and gives connections back to the pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._tasks: set[asyncio.Task[None]] = set()

    async def end(
        self,
        connection: AsyncConnection[Any],
        transaction: AsyncTransaction,
        borrowed: BorrowedConnection | None,
    ) -> None:
        """Take the connection back; while a thread is in a statement, when that has been stopped."""
        if borrowed is None or borrowed.lock.acquire(blocking=False):
            if not connection.lock.locked():
                await self._return(connection, transaction, borrowed)
                return
            if borrowed is not None:
                borrowed.lock.release()
        task = asyncio.create_task(self._stop(connection, transaction, borrowed))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Wait until every connection is back."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    async def _return(
        self,
        connection: AsyncConnection[Any],
        transaction: AsyncTransaction,
        borrowed: BorrowedConnection | None,
    ) -> None:
        """Nobody has a statement on the wire, and the thread's lock is ours."""
        if borrowed is not None:
            borrowed.ended = True
            borrowed.lock.release()
        if transaction.status is transaction.Status.ACTIVE:
            with suppress(psycopg.Error):
                await transaction.__aexit__(_Undone, _Undone(), None)
        await give_back(self._pool, connection)

    async def _stop(
        self,
        connection: AsyncConnection[Any],
        transaction: AsyncTransaction,
        borrowed: BorrowedConnection | None,
    ) -> None:
        """A statement still runs for a handler that is over: have the server cancel it, and end the connection."""
        with suppress(psycopg.Error):
            await connection.cancel_safe(timeout=_CANCEL)
        sever(connection)
        async with connection.lock:
            pass
        if borrowed is not None:
            await asyncio.to_thread(borrowed.lock.acquire)
        await self._return(connection, transaction, borrowed)
