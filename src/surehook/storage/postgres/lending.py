"""A handler's connection: lent to its own tools, and taken back from whoever still holds it when its attempt has ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final, NoReturn, TypeVar

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.abc import PQGen

from surehook.errors import TransactionError
from surehook.storage.postgres.connection import sever
from surehook.storage.postgres.pools import Pool, give_back

Result = TypeVar("Result")

logger = logging.getLogger(__name__)

#: How long the server may take to hear that a statement is to be cancelled, in seconds.
_CANCEL: Final = 3.0

_ENDED: Final = "the transaction has ended: a handler must not use it after it has returned"
_COMMIT: Final = (
    "leave the commit to Surehook: it commits what the handler wrote together with the event's completion"
)
_ROLLBACK: Final = "leave the rollback to Surehook: raise an exception to undo what the handler wrote"
_CLOSE: Final = "the connection belongs to Surehook, which takes it back when the handler has returned"


class BorrowedAsyncConnection(AsyncConnection[Any]):
    """A handler's face of a connection that belongs to the pool: the same wire, without its end.

    What a handler sets on it (row factory, adapters) ends with it.
    """

    ended = False

    @classmethod
    def of(cls, connection: AsyncConnection[Any]) -> BorrowedAsyncConnection:
        """The face of ``connection``."""
        borrowed = cls(connection.pgconn)
        borrowed.lock = connection.lock
        # after a COMMIT of the handler's own, psycopg would begin another transaction, and nobody would notice
        borrowed._autocommit = True
        # prepared statements have the same names on all faces, and each would take the others' for its own
        borrowed.prepare_threshold = None
        return borrowed

    async def wait(self, gen: PQGen[Result], *args: Any, **options: Any) -> Result:
        """Every statement passes here."""
        if self.ended:
            raise TransactionError(_ENDED)
        return await super().wait(gen, *args, **options)

    async def commit(self) -> NoReturn:
        """Not the handler's to do."""
        raise TransactionError(_COMMIT)

    async def rollback(self) -> NoReturn:
        """Not the handler's to do."""
        raise TransactionError(_ROLLBACK)

    async def close(self) -> NoReturn:
        """Not the handler's to do."""
        raise TransactionError(_CLOSE)

    def __del__(self, *_: Any) -> None:
        """The wire stays open: it is the pool's."""


class BorrowedConnection(Connection[Any]):
    """The same for a handler in a thread.

    The loop does not touch the wire while the thread has a statement on it, and the thread cannot after ``ended``.
    """

    ended = False

    @classmethod
    def of(cls, connection: AsyncConnection[Any]) -> BorrowedConnection:
        """The blocking face of ``connection``."""
        borrowed = cls(connection.pgconn)
        borrowed._autocommit = True
        borrowed.prepare_threshold = None
        return borrowed

    def wait(self, gen: PQGen[Result], *args: Any, **options: Any) -> Result:
        """Every statement passes here."""
        if self.ended:
            raise TransactionError(_ENDED)
        return super().wait(gen, *args, **options)

    def commit(self) -> NoReturn:
        """Not the handler's to do."""
        raise TransactionError(_COMMIT)

    def rollback(self) -> NoReturn:
        """Not the handler's to do."""
        raise TransactionError(_ROLLBACK)

    def close(self) -> NoReturn:
        """Not the handler's to do."""
        raise TransactionError(_CLOSE)

    def __del__(self, *_: Any) -> None:
        """The wire stays open: it is the pool's."""


class Loan:
    """A connection of the pool with a transaction on it, and its faces. Faces are made on the loop, like every end."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self.connection = connection
        self._face: BorrowedAsyncConnection | None = None
        self.blocking: BorrowedConnection | None = None

    def face(self) -> BorrowedAsyncConnection:
        """For a handler on the loop."""
        if self._face is None:
            self._face = BorrowedAsyncConnection.of(self.connection)
        return self._face

    def blocking_face(self) -> BorrowedConnection:
        """For a handler in a thread."""
        if self.blocking is None:
            self.blocking = BorrowedConnection.of(self.connection)
        return self.blocking

    @property
    def busy(self) -> bool:
        """Whether a statement is on the wire."""
        return self.connection.lock.locked() or (self.blocking is not None and self.blocking.lock.locked())

    def recall(self) -> None:
        """No face can begin a statement any more."""
        for face in (self._face, self.blocking):
            if face is not None:
                face.ended = True


class Ending:
    """Rolls back what is left and gives connections back to the pool."""

    def __init__(self, pool: Pool, patience: float) -> None:
        """``patience``: how long the server may take to roll back, in seconds."""
        self._pool = pool
        self._patience = patience
        self._tasks: set[asyncio.Task[None]] = set()

    async def end(self, loan: Loan) -> None:
        """Take the connection back; while a statement runs on it, when that has been stopped.

        It is done also when the caller is cancelled meanwhile, or the pool would count the connection for ever.
        """
        loan.recall()
        blocking = loan.blocking
        if blocking is None or blocking.lock.acquire(blocking=False):
            if not loan.connection.lock.locked():
                await asyncio.shield(self._start(self._return(loan)))
                return
            if blocking is not None:
                blocking.lock.release()
        self._start(self._stop(loan))

    async def drain(self) -> None:
        """Wait until every connection is back."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    def _start(self, ending: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(ending)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _return(self, loan: Loan) -> None:
        """Nobody has a statement on the wire, and the thread's lock is ours."""
        if loan.blocking is not None:
            loan.blocking.lock.release()
        guard = asyncio.get_running_loop().call_later(self._patience, sever, loan.connection)
        try:
            await give_back(self._pool, loan.connection)
        finally:
            guard.cancel()

    async def _stop(self, loan: Loan) -> None:
        """A statement still runs for a handler that is over: have the server cancel it, and end the connection."""
        with suppress(psycopg.Error):
            await loan.connection.cancel_safe(timeout=_CANCEL)
        sever(loan.connection)
        async with loan.connection.lock:
            pass
        if loan.blocking is not None:
            await asyncio.to_thread(loan.blocking.lock.acquire)
        await self._return(loan)
