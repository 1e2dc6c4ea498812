"""The transaction of one attempt on PostgreSQL: a connection of its own, from the first statement to the commit."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Coroutine, Mapping
from enum import Enum
from typing import Any, Final

import msgspec
import psycopg
from psycopg import AsyncConnection, Connection
from psycopg import errors as pg
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row

from surehook.errors import CommitUnknown, TransactionError, TurnLost, Unavailable
from surehook.model import Settlement
from surehook.storage import Parameters, attempts
from surehook.storage.named import drive
from surehook.storage.placeholders import bind
from surehook.storage.postgres.adapting import PromptCursor
from surehook.storage.postgres.connection import TRY_AGAIN, brief, faults, is_lost, sever
from surehook.storage.postgres.guard import refuse
from surehook.storage.postgres.lending import (
    BorrowedAsyncConnection,
    BorrowedConnection,
    Ending,
    Loan,
)
from surehook.storage.postgres.pools import BEGIN, Pool, take
from surehook.storage.postgres.statements import BlockingStatements, PostgresStatements, Texts

#: What others do to a handler's transaction. A lock that it did not want to wait for (NOWAIT) is its own affair.
UNDONE: Final = (pg.DeadlockDetected, pg.SerializationFailure)

WRITTEN: Final = re.compile(r"(?:INSERT|UPDATE|DELETE|MERGE)\b")


class _State(Enum):
    NEW = "was not opened yet"
    OPEN = "is open"
    ENDED = "has ended: a handler must not use it after it has returned"


class Surroundings(msgspec.Struct, frozen=True):
    """What every unit of one database shares."""

    pool: Pool
    texts: Texts
    ending: Ending
    #: Sent with every BEGIN: what a connection behind a pooler cannot keep.
    settings: str
    #: How long to wait for a connection, and for the server to commit, in seconds.
    patience: float
    loop: asyncio.AbstractEventLoop
    #: Writes a completion without a transaction. Raises LeaseLost.
    settle: Callable[[Settlement], Coroutine[Any, Any, None]]


class PostgresUnit:
    """A UnitOfWork. Everything but the ``_blocking`` methods is called on the loop."""

    def __init__(self, shared: Surroundings) -> None:
        self._shared = shared
        self._state = _State.NEW
        self._opening = asyncio.Lock()
        #: A savepoint stands before the last statement.
        self._saved = False
        self._loan: Loan | None = None
        # the end of the attempt on the loop, and a completion in a thread: whichever comes first takes place
        self._deciding = threading.Lock()

    @classmethod
    def adopt(cls, shared: Surroundings, connection: AsyncConnection[Any], *, saved: bool) -> PostgresUnit:
        """One whose transaction is open already; ``saved``: its last statement stands behind a savepoint."""
        unit = cls(shared)
        unit._loan = Loan(connection)
        unit._saved = saved
        unit._state = _State.OPEN
        return unit

    @property
    def opened(self) -> bool:
        """Whether a statement was run, or waits for a connection."""
        return self._state is _State.OPEN or self._opening.locked()

    def on_expired(self, callback: Callable[[], object]) -> None:
        """Never called: a transaction keeps nobody else waiting here, and the handler's timeout ends it."""

    async def execute(self, sql: str, parameters: Parameters = ()) -> int:
        """UnitOfWork.execute."""
        cursor = await self._run(sql, parameters)
        return cursor.rowcount if WRITTEN.match(cursor.statusmessage or "") else 0

    async def fetch(self, sql: str, parameters: Parameters = ()) -> list[dict[str, Any]]:
        """UnitOfWork.fetch."""
        cursor = await self._run(sql, parameters)
        return [] if cursor.description is None else await cursor.fetchall()

    def execute_blocking(self, sql: str, parameters: Parameters = ()) -> int:
        """UnitOfWork.execute_blocking."""
        return asyncio.run_coroutine_threadsafe(self.execute(sql, parameters), self._shared.loop).result()

    def fetch_blocking(self, sql: str, parameters: Parameters = ()) -> list[dict[str, Any]]:
        """UnitOfWork.fetch_blocking."""
        return asyncio.run_coroutine_threadsafe(self.fetch(sql, parameters), self._shared.loop).result()

    async def connection(self) -> BorrowedAsyncConnection:
        """Lending.connection."""
        return (await self._open()).face()

    def connection_blocking(self) -> BorrowedConnection:
        """Lending.connection_blocking."""
        return asyncio.run_coroutine_threadsafe(self._lend_blocking(), self._shared.loop).result()

    def complete_on(self, connection: Connection[Any], settlement: Settlement) -> None:
        """Lending.complete_on."""
        with self._deciding:
            if self._state is not _State.NEW:
                raise TransactionError(
                    f"the event cannot be completed on another connection: its own transaction {self._state.value}"
                )
            self._state = _State.ENDED
        try:
            drive(attempts.complete(BlockingStatements(connection, self._shared.texts), settlement))
        except pg.UndefinedTable as error:
            raise TransactionError(
                f"the database {connection.info.dbname!r} on {connection.info.host}:{connection.info.port} does not hold "
                "Surehook's tables: the handler's own connection and Surehook's setting database must name the same database"
            ) from error

    async def complete(self, settlement: Settlement) -> None:
        """UnitOfWork.complete."""
        if self._state is _State.NEW:
            self._state = _State.ENDED
            await self._shared.settle(settlement)
            return
        await self._end(settlement)

    async def commit(self) -> None:
        """Keep what was written; a no-op when nothing was opened."""
        if self._state is _State.NEW:
            self._state = _State.ENDED
            return
        await self._end(None)

    async def rollback(self) -> bool:
        """UnitOfWork.rollback; it shares with nobody."""
        with self._deciding:
            self._state = _State.ENDED
        loan, self._loan = self._loan, None
        if loan is not None:
            await self._shared.ending.end(loan)
        return True

    async def lock(self, name: str) -> None:
        """Hold a name until the end, so that others who ask for it wait."""
        loan = await self._open()
        await PostgresStatements(loan.connection, self._shared.texts).lock([name])

    async def _open(self) -> Loan:
        async with self._opening:
            if self._state is not _State.OPEN:
                loan = await self._begin()
                with faults("PostgreSQL cannot begin a transaction"):
                    async with loan.connection.pipeline():
                        await self._send_begin(loan)
        return self._require_open()

    async def _lend_blocking(self) -> BorrowedConnection:
        return (await self._open()).blocking_face()

    async def _run(self, sql: str, parameters: Parameters) -> PromptCursor[DictRow]:
        refuse(sql)
        bound = bind(sql, bool(parameters) and not isinstance(parameters, Mapping))
        values = bound.values(parameters)
        try:
            with faults("PostgreSQL cannot run the statement"):
                async with self._opening:
                    if self._state is not _State.OPEN:
                        return await self._first(bound.sql, values)
                return await self._next(bound.sql, values)
        except UNDONE as error:
            raise TurnLost(
                f"PostgreSQL undid the transaction because of another one: {brief(error)}"
            ) from error

    async def _first(self, sql: str, values: Any) -> PromptCursor[DictRow]:
        """BEGIN and the statement in one round trip. When it fails, the transaction is as it was: empty."""
        loan = await self._begin()
        connection = loan.connection
        cursor = PromptCursor(connection, row_factory=dict_row)
        try:
            async with connection.pipeline():
                await self._send_begin(loan)
                await cursor.execute(sql, values)
        except psycopg.Error:
            again = [self._shared.settings] if self._shared.settings else []
            await _recover(connection, "ROLLBACK", BEGIN, *again)
            raise
        return cursor

    async def _next(self, sql: str, values: Any) -> PromptCursor[DictRow]:
        """A statement that fails undoes nothing but itself, as on SQLite; PostgreSQL needs a savepoint for that.

        The savepoint goes with the next statement: after one that has failed nothing may stand in the pipeline.
        """
        connection = self._require_open().connection
        cursor = PromptCursor(connection, row_factory=dict_row)
        try:
            async with connection.pipeline():
                if self._saved:
                    await PromptCursor(connection).execute("RELEASE surehook")
                await PromptCursor(connection).execute("SAVEPOINT surehook")
                self._saved = True
                await cursor.execute(sql, values)
        except psycopg.Error:
            await _recover(connection, "ROLLBACK TO surehook")
            raise
        return cursor

    async def _begin(self) -> Loan:
        if self._ended():
            raise TransactionError(f"the transaction {self._state.value}")
        try:
            loan = self._loan = Loan(await take(self._shared.pool, self._shared.patience))
        except Unavailable as error:
            # the handler has done nothing yet, and is not to blame that others do much
            raise TurnLost(f"the handler's transaction could not begin: {error}") from error
        if self._ended():  # while it waited for the connection
            await self.rollback()
            raise TransactionError(f"the transaction {self._state.value}")
        self._state = _State.OPEN
        return loan

    def _ended(self) -> bool:
        return self._state is _State.ENDED

    async def _send_begin(self, loan: Loan) -> None:
        await loan.connection.execute(BEGIN)
        if self._shared.settings:
            await loan.connection.execute(self._shared.settings)

    def _require_open(self) -> Loan:
        if self._state is not _State.OPEN or self._loan is None:
            raise TransactionError(f"the transaction {self._state.value}")
        return self._loan

    async def _end(self, settlement: Settlement | None) -> None:
        loan = self._require_open()
        connection = loan.connection
        guard = self._shared.loop.call_later(self._shared.patience, sever, connection)
        committing = False
        try:
            self._require_sound(loan)
            loan.recall()
            with faults("PostgreSQL cannot write the completion"):
                if settlement is not None:
                    await attempts.complete(PostgresStatements(connection, self._shared.texts), settlement)
                committing = True
                await connection.execute("COMMIT")
        except TRY_AGAIN as error:
            raise TurnLost(
                f"PostgreSQL undid the transaction because of another one: {brief(error)}"
            ) from error
        except Unavailable as error:
            if (
                committing
                and isinstance(error.__cause__, psycopg.Error)
                and is_lost(error.__cause__, connection)
            ):
                raise CommitUnknown(f"PostgreSQL did not confirm the commit: {error}") from error
            raise
        finally:
            guard.cancel()
            await self.rollback()

    def _require_sound(self, loan: Loan) -> None:
        """What the handler has done with its own tools must have left the transaction as it was: open."""
        status = loan.connection.pgconn.transaction_status
        if loan.busy or status == TransactionStatus.ACTIVE:
            raise TransactionError(
                "a statement of this handler still runs: await it before the handler returns"
            )
        if status == TransactionStatus.INERROR:
            raise TransactionError(
                "a statement failed on tx.connection() or tx.session() and its error was caught: PostgreSQL undoes the "
                "whole transaction then. Put what may fail into a savepoint: 'with connection.transaction()' or 'with "
                "session.begin_nested()', in an async handler 'async with'"
            )
        if status == TransactionStatus.IDLE:
            raise TransactionError(
                "the handler has ended its transaction (COMMIT or ROLLBACK on tx.connection()): what it committed stays, "
                "and the event runs again. Leave the end to Surehook"
            )


async def _recover(connection: AsyncConnection[Any], *commands: str) -> None:
    """Go on after a failed statement, unless the connection itself is gone."""
    if connection.closed:
        return
    async with connection.pipeline():
        for command in commands:
            await connection.execute(command)
