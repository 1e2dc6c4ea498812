"""The connections of one process, in pools: one purpose never waits for another's."""

from __future__ import annotations

import asyncio
import logging
import random
import select
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from surehook.errors import CommitUnknown, Unavailable
from surehook.storage.postgres.connection import OWN_FAULTS, TRY_AGAIN, PostgresOptions, brief, faults, sever
from surehook.storage.postgres.statements import PostgresStatements, Texts

Result = TypeVar("Result")
Pool = AsyncConnectionPool[AsyncConnection[Any]]
Verb = Callable[[PostgresStatements], Coroutine[Any, Any, Result]]

logger = logging.getLogger(__name__)

#: Connections for arrivals, claims and settlements; for heartbeats, which must not wait for them; for reading.
STATEMENTS: Final = 4
HEARTBEATS: Final = 1
READERS: Final = 2

#: How often a transaction that the server undid, or that lost its connection before its commit, is tried.
ATTEMPTS: Final = 5

#: How long a page of the console or the CLI may take to read, in seconds.
READING: Final = 30.0


class _Again(Exception):
    """Nothing was written, and the next try can succeed at once."""


class Transactions:
    """Runs verbs, each in a transaction of its own, within a deadline, and knows what a failure means."""

    def __init__(self, pool: Pool, texts: Texts, options: PostgresOptions) -> None:
        self._pool = pool
        self._texts = texts
        self._timeout = options.timeout / 1000
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, verb: Verb[Result]) -> Result:
        """The verb's result, when it is durable.

        It goes on when the caller is cancelled. Raises Unavailable when nothing was written, CommitUnknown when nobody can
        tell, and what the verb itself raises.
        """
        task = asyncio.create_task(self._repeat(verb))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # somebody has looked at it
        return await asyncio.shield(task)

    async def read(self, verb: Verb[Result]) -> Result:
        """The verb's result from what is committed; each of its statements sees the newest."""
        deadline = asyncio.get_running_loop().time() + READING
        connection = await take(self._pool, self._timeout)
        guard = asyncio.get_running_loop().call_at(deadline, sever, connection)
        try:
            with faults("PostgreSQL cannot read", *OWN_FAULTS):
                return await verb(PostgresStatements(connection, self._texts))
        finally:
            await give_back(self._pool, connection)
            guard.cancel()

    async def drain(self) -> None:
        """Wait until what was begun has ended."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    async def _repeat(self, verb: Verb[Result]) -> Result:
        deadline = asyncio.get_running_loop().time() + self._timeout
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._attempt(verb, deadline)
            except _Again as error:
                late = asyncio.get_running_loop().time() >= deadline
                if attempt == ATTEMPTS or late:
                    why = brief(error.__cause__ or error)
                    raise Unavailable(f"PostgreSQL cannot write: {why}") from error.__cause__
                await asyncio.sleep(random.uniform(0, 0.01 * 2**attempt))
        raise AssertionError("unreachable")

    async def _attempt(self, verb: Verb[Result], deadline: float) -> Result:
        loop = asyncio.get_running_loop()
        connection = await take(self._pool, max(0.001, deadline - loop.time()))
        guard = loop.call_at(deadline, sever, connection)
        try:
            return await self._transact(connection, verb)
        finally:
            await give_back(self._pool, connection)
            guard.cancel()

    async def _transact(self, connection: AsyncConnection[Any], verb: Verb[Result]) -> Result:
        committing = False
        try:
            async with connection.pipeline():  # BEGIN travels with the first statements
                await connection.execute("BEGIN")
                result = await verb(PostgresStatements(connection, self._texts))
                committing = True
                commit = await connection.execute("COMMIT")
        except psycopg.Error as error:
            raise _meaning(error, connection, committing) from error
        if commit.statusmessage != "COMMIT":
            raise Unavailable("PostgreSQL has rolled the transaction back instead of committing it")
        return result


def _meaning(error: psycopg.Error, connection: AsyncConnection[Any], committing: bool) -> Exception:
    """What a failed transaction means for who waits for it."""
    if isinstance(error, TRY_AGAIN):
        return _Again()
    if error.sqlstate is None or connection.broken or connection.closed:
        if committing:
            return CommitUnknown(f"PostgreSQL did not confirm the commit: {brief(error)}")
        return _Again()
    try:
        with faults("PostgreSQL cannot write", *OWN_FAULTS):
            raise error
    except Unavailable as unavailable:
        return unavailable
    except psycopg.Error as theirs:
        return theirs


async def take(pool: Pool, patience: float) -> AsyncConnection[Any]:
    """A connection of the pool. Raises Unavailable when there is none within so many seconds."""
    deadline = asyncio.get_running_loop().time() + patience
    while True:
        left = max(0.001, deadline - asyncio.get_running_loop().time())
        try:
            connection = await pool.getconn(timeout=left)
        except PoolTimeout:
            raise Unavailable(
                f"no connection to PostgreSQL within {patience:.1f} s: it is down, or all its connections are taken"
            ) from None
        except PoolClosed:
            raise Unavailable("the database is closed: this process is stopping") from None
        if not _has_news(connection):
            return connection
        await connection.close()
        await give_back(pool, connection)


def _has_news(connection: AsyncConnection[Any]) -> bool:
    """Whether the server has sent something while nobody asked: that it ends the connection."""
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN | select.POLLHUP)
    return bool(poll.poll(0))


async def give_back(pool: Pool, connection: AsyncConnection[Any]) -> None:
    """Return a connection, clean; one that cannot be cleaned is closed, and the pool makes another one."""
    status = connection.pgconn.transaction_status
    if status in {TransactionStatus.INTRANS, TransactionStatus.INERROR}:
        with suppress(psycopg.Error):
            await connection.execute("ROLLBACK")
    if connection.pgconn.transaction_status != TransactionStatus.IDLE:
        await connection.close()
    with suppress(psycopg.Error):
        await pool.putconn(connection)
