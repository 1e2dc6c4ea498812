"""The connections of one process, in pools: one purpose never waits for another's."""

from __future__ import annotations

import asyncio
import random
import select
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

import psycopg
from psycopg import AsyncConnection, IsolationLevel
from psycopg import errors as pg
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from surehook.errors import CommitUnknown, TurnLost, Unavailable
from surehook.storage.postgres.adapting import PromptCursor
from surehook.storage.postgres.connection import (
    OWN_FAULTS,
    TRY_AGAIN,
    PostgresOptions,
    brief,
    faults,
    is_lost,
    sever,
)
from surehook.storage.postgres.statements import PostgresStatements, Texts

Result = TypeVar("Result")
Pool = AsyncConnectionPool[AsyncConnection[Any]]
Verb = Callable[[PostgresStatements], Coroutine[Any, Any, Result]]
Work = Callable[[AsyncConnection[Any]], Awaitable[Result]]

#: Connections for arrivals, claims and settlements; for heartbeats, which must not wait for them; for reading.
STATEMENTS: Final = 4
HEARTBEATS: Final = 1
READERS: Final = 2

#: How often a transaction that the server undid, or that lost its connection before its commit, is tried.
ATTEMPTS: Final = 5

#: How long a pool tries to connect before it asks whether anybody still waits, in seconds.
_RECONNECT: Final = 1.0

_CLOSED: Final = "the database is closed: this process is stopping"

#: The level is named because a server, a database or a user can have another default, in which a lock by name would not
#: let its holder see what the one before has written.
BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"


def make_pool(
    url: str, name: str, size: int, *, settings: str, prepare: bool, connect_timeout: float
) -> Pool:
    """A pool that is not opened yet. Its connections are in autocommit, so that every BEGIN is written where it is meant.

    ``settings`` are statements that each new connection runs; with ``prepare`` statements are prepared by name.
    """

    async def configure(connection: AsyncConnection[Any]) -> None:
        # for transactions that psycopg begins: migrations, and handlers', whose event a heartbeat updates meanwhile
        await connection.set_isolation_level(IsolationLevel.READ_COMMITTED)
        if not settings:
            return
        guard = asyncio.get_running_loop().call_later(connect_timeout, sever, connection)
        try:
            await connection.execute(settings.encode())
        finally:
            guard.cancel()

    return AsyncConnectionPool(
        url,
        kwargs={"autocommit": True, **({} if prepare else {"prepare_threshold": None})},
        min_size=0,
        max_size=size,
        open=False,
        name=f"surehook-{name}",
        configure=configure,
        max_idle=300,
        reconnect_timeout=_RECONNECT,
        reconnect_failed=_try_again,
    )


async def _try_again(pool: Pool) -> None:
    """The pool's own patience would double with every failure, and an outage of a minute would last two.

    It is told to give up after a second instead, and asked again at once while somebody waits.
    """
    if pool.get_stats().get("requests_waiting"):
        with suppress(PoolTimeout, PoolClosed):
            await give_back(pool, await pool.getconn(timeout=0.001))


class Lender:
    """Lends a pool's connections to work that has a deadline, and takes them back whatever becomes of the caller."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._tasks: set[asyncio.Task[Any]] = set()
        self._lent: set[AsyncConnection[Any]] = set()
        self._ended = False

    async def lend(self, work: Work[Result], seconds: float) -> Result:
        """What the work makes of a connection, which is severed when the time is up.

        A caller who is cancelled does not wait for the server: the work is cancelled behind it. Raises Unavailable when
        there is no connection, and what the work raises.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        task = self._start(self._lend(work, deadline))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.cancel()
            raise
        except Unavailable as error:
            if loop.time() >= deadline and isinstance(error.__cause__, psycopg.Error):
                raise Unavailable(f"PostgreSQL did not answer within {seconds:g} s") from error.__cause__
            raise

    def end(self) -> None:
        """Let nothing begin, and break off what was begun."""
        self._ended = True
        for connection in self._lent:
            sever(connection)

    async def drain(self) -> None:
        """Wait until what was begun has ended."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    def _start(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # somebody has looked at it
        return task

    async def _lend(self, work: Work[Result], deadline: float) -> Result:
        loop = asyncio.get_running_loop()
        connection = await take(self._pool, max(0.001, deadline - loop.time()))
        guard = loop.call_at(deadline, sever, connection)
        self._lent.add(connection)
        try:
            if self._ended:
                raise Unavailable(_CLOSED)
            return await work(connection)
        finally:
            self._lent.discard(connection)
            await give_back(self._pool, connection)
            guard.cancel()


class Transactions(Lender):
    """Runs verbs, each in a transaction of its own, within a deadline, and knows what a failure means."""

    def __init__(self, pool: Pool, texts: Texts, options: PostgresOptions, settings: str = "") -> None:
        """``settings``: the statement that each transaction begins with, where nothing can be set on a connection."""
        super().__init__(pool)
        self._texts = texts
        self._settings = settings
        self._timeout = options.timeout / 1000
        self._reading = options.read_timeout / 1000

    async def run(self, verb: Verb[Result]) -> Result:
        """The verb's result, when it is durable.

        It goes on when the caller is cancelled. Raises Unavailable when nothing was written, CommitUnknown when nobody can
        tell, and what the verb itself raises.
        """
        return await asyncio.shield(self._start(self._repeat(verb)))

    async def read(self, verb: Verb[Result]) -> Result:
        """The verb's result from what is committed; each of its statements sees the newest."""

        async def read_on(connection: AsyncConnection[Any]) -> Result:
            with faults("PostgreSQL cannot read", *OWN_FAULTS):
                return await verb(PostgresStatements(connection, self._texts))

        return await self.lend(read_on, self._reading)

    async def _repeat(self, verb: Verb[Result]) -> Result:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._lend(lambda connection: self._transact(connection, verb), deadline)
            except _Again as error:
                if loop.time() >= deadline:
                    raise Unavailable(
                        f"PostgreSQL did not answer within {self._timeout:g} s; nothing was written"
                    ) from error.__cause__
                if attempt == ATTEMPTS:
                    why = brief(error.__cause__ or error)
                    raise Unavailable(f"PostgreSQL cannot write: {why}") from error.__cause__
                await asyncio.sleep(random.uniform(0, 0.01 * 2**attempt))
        raise AssertionError("unreachable")

    async def _transact(self, connection: AsyncConnection[Any], verb: Verb[Result]) -> Result:
        committing = False
        try:
            async with connection.pipeline():  # BEGIN travels with the first statements
                await PromptCursor(connection).execute(BEGIN, prepare=False)
                if self._settings:
                    await PromptCursor(connection).execute(self._settings.encode(), prepare=False)
                result = await verb(PostgresStatements(connection, self._texts))
                committing = True
                commit = await PromptCursor(connection).execute("COMMIT", prepare=False)
        except psycopg.Error as error:
            raise _meaning(error, connection, committing) from error
        if commit.statusmessage != "COMMIT":
            raise Unavailable("PostgreSQL has rolled the transaction back instead of committing it")
        return result


class _Again(Exception):
    """Nothing was written, and the next try can succeed at once."""


def _meaning(error: psycopg.Error, connection: AsyncConnection[Any], committing: bool) -> Exception:
    """What a failed transaction means for who waits for it."""
    if isinstance(error, pg.LockNotAvailable):
        return TurnLost(f"somebody has locked what was to be written: {brief(error)}")
    if isinstance(error, TRY_AGAIN) or _is_outrun(error):
        return _Again()
    if is_lost(error, connection):
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


def _is_outrun(error: psycopg.Error) -> bool:
    """Whether somebody else was faster, so that the next try sees what he has made.

    The same arrival is being stored already, by a try whose connection was lost; or a payload was on its way into the
    default partition when its day got one, which PostgreSQL tells by a constraint without a name (all of ours have one).
    """
    if isinstance(error, pg.CheckViolation):
        return error.diag.constraint_name is None
    return isinstance(error, pg.UniqueViolation)


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
            raise Unavailable(_CLOSED) from None
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
    """Return a connection, clean; one that cannot be cleaned is closed, and the pool makes another one.

    It is done also when the caller is cancelled meanwhile, or the pool would count the connection for ever.
    """
    await asyncio.shield(_give_back(pool, connection))


async def _give_back(pool: Pool, connection: AsyncConnection[Any]) -> None:
    status = connection.pgconn.transaction_status
    if status in {TransactionStatus.INTRANS, TransactionStatus.INERROR}:
        with suppress(psycopg.Error):
            await connection.execute("ROLLBACK", prepare=False)
    if connection.pgconn.transaction_status != TransactionStatus.IDLE:
        await connection.close()
    with suppress(psycopg.Error):
        await pool.putconn(connection)
