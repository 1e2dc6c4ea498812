"""The transaction of one attempt on SQLite: a savepoint inside a turn, entered at the first statement."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any, NoReturn, TypeVar

import apsw
import msgspec

from surehook.errors import TransactionError, Unavailable
from surehook.model import Settlement
from surehook.storage import Parameters
from surehook.storage.sqlite.connection import faults
from surehook.storage.sqlite.guard import Guard
from surehook.storage.sqlite.habits import SLOW_STATEMENT, Habits
from surehook.storage.sqlite.turns import RELEASE, SAVEPOINT, Turns, undo

Result = TypeVar("Result")
Statement = Callable[[apsw.Connection, str, Parameters], Result]

logger = logging.getLogger(__name__)

_RUNNING = faults("the database cannot run the statement")
_COMPLETING = faults("the database cannot write the completion")
_WRITING = faults("the database cannot write")

#: How long to wait for an interrupted statement before it is interrupted again, in seconds.
_INTERRUPT_AGAIN = 0.002

_NOT_LENT = (
    "handlers write to SQLite by tx.execute and tx.fetch only: a second SQLite library in the process loses rows. "
    "tx.connection(), tx.session() and surehook.contrib.django need the setting database = 'postgresql://...'"
)


class _State(Enum):
    NEW = "was not opened yet"
    WAITING = "is being opened"
    OPEN = "is open"
    ENDED = "has ended: a handler must not use it after it has returned"
    EXPIRED = "was rolled back"


class Surroundings(msgspec.Struct, frozen=True):
    """What every unit of one database shares."""

    turns: Turns
    guard: Guard
    habits: Habits
    loop: asyncio.AbstractEventLoop
    #: Writes a completion inside the unit's savepoint, and one without a transaction.
    complete: Callable[[apsw.Connection, Settlement], None]
    settle: Callable[[Settlement], Any]


class SqliteUnit:
    """A UnitOfWork. Everything but the ``_blocking`` methods is called on the loop."""

    def __init__(self, shared: Surroundings, kind: str, *, budget: int | None) -> None:
        """``budget`` is how long it may hold its turn, in milliseconds; None: as long as it wants."""
        self._shared = shared
        self._kind = kind
        self._budget = budget
        self._state = _State.NEW
        self._connection: apsw.Connection | None = None
        # held while a statement runs: one in a thread, and the end of the attempt on the loop, exclude each other
        self._lock = threading.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._opened_at = 0.0
        #: The last statement failed because of the disk, not because of what it said.
        self._blameless = False
        #: What it did made SQLite roll everything back: that it has failed is its own affair.
        self._culprit = False
        #: Its statements are better kept off the loop.
        self._heavy = False
        self._expired_callback: Callable[[], object] | None = None

    @property
    def opened(self) -> bool:
        """Whether a statement was run, or waits for its turn."""
        return self._opened_at > 0 or self._state is _State.WAITING

    @property
    def slow(self) -> bool:
        """Whether it is better not to share a turn with it."""
        return self._shared.habits.is_slow(self._kind)

    def on_expired(self, callback: Callable[[], object]) -> None:
        """Called when the budget is used up."""
        self._expired_callback = callback

    def open(self, connection: apsw.Connection) -> None:
        """The turn is ours (called by Turns). Raises TransactionError when the attempt has ended meanwhile."""
        if self._state is not _State.WAITING:
            raise TransactionError(f"the transaction {self._state.value}")
        connection.execute(SAVEPOINT)
        self._connection = connection
        self._state = _State.OPEN
        self._opened_at = time.monotonic()
        self._heavy = self._shared.habits.is_heavy(self._kind)
        if self._budget is not None:
            self._timer = self._shared.loop.call_later(self._budget / 1000, self._expire)

    async def execute(self, sql: str, parameters: Parameters = ()) -> int:
        """UnitOfWork.execute."""
        return await self._run(_write, sql, parameters)

    async def fetch(self, sql: str, parameters: Parameters = ()) -> list[dict[str, Any]]:
        """UnitOfWork.fetch."""
        return await self._run(_read, sql, parameters)

    def execute_blocking(self, sql: str, parameters: Parameters = ()) -> int:
        """UnitOfWork.execute_blocking."""
        return self._run_blocking(_write, sql, parameters)

    def fetch_blocking(self, sql: str, parameters: Parameters = ()) -> list[dict[str, Any]]:
        """UnitOfWork.fetch_blocking."""
        return self._run_blocking(_read, sql, parameters)

    async def connection(self) -> NoReturn:
        """Lending.connection: there is none to lend."""
        raise TransactionError(_NOT_LENT)

    def connection_blocking(self) -> NoReturn:
        """Lending.connection_blocking: there is none to lend."""
        raise TransactionError(_NOT_LENT)

    def complete_on(self, connection: Any, settlement: Settlement) -> NoReturn:
        """Lending.complete_on: no other connection can write what this database holds."""
        raise TransactionError(_NOT_LENT)

    async def complete(self, settlement: Settlement) -> None:
        """UnitOfWork.complete."""
        if self._state is _State.NEW:
            self._state = _State.ENDED
            await self._shared.settle(settlement)
            return
        try:
            await self._end(settlement)
        except BaseException:
            await self.rollback()
            raise

    async def commit(self) -> None:
        """Keep what was written; returns when it is durable. A no-op when nothing was opened."""
        if self._state is _State.NEW:
            self._state = _State.ENDED
            return
        await self._end(None)

    def _end(self, settlement: Settlement | None) -> asyncio.Future[None]:
        """Leave the turn with all that was written; the future tells when it is durable."""
        connection = self._hold()
        try:
            if settlement is not None:
                with _COMPLETING:
                    self._shared.complete(connection, settlement)
            with _WRITING:
                self._release(connection)
        finally:
            self._lock.release()
        self._part()
        return self._shared.turns.leave()

    def _release(self, connection: apsw.Connection) -> None:
        if connection.status(apsw.SQLITE_DBSTATUS_DEFERRED_FKS)[0]:
            # SQLite would find it at COMMIT and fail everyone who shares the turn
            raise TransactionError("a deferred foreign key is violated: write the row that it refers to, too")
        connection.execute(RELEASE)
        self._state = _State.ENDED

    async def rollback(self) -> bool:
        """UnitOfWork.rollback."""
        if self._state is _State.OPEN:
            return await self._undo(_State.ENDED) or self._culprit
        if self._state in {_State.NEW, _State.WAITING}:
            self._state = _State.ENDED
        return True

    async def _run(self, statement: Statement[Result], sql: str, parameters: Parameters) -> Result:
        if self._state is not _State.OPEN or self._lock.locked():
            await self._enter()
        if self._heavy:
            return await self._shared.turns.aside(partial(self._step, statement, sql, parameters))
        return self._step(statement, sql, parameters)

    def _run_blocking(self, statement: Statement[Result], sql: str, parameters: Parameters) -> Result:
        if self._state is _State.NEW:
            asyncio.run_coroutine_threadsafe(self._enter(), self._shared.loop).result()
        return self._step(statement, sql, parameters)

    async def _enter(self) -> None:
        if self._state is _State.WAITING or self._lock.locked():
            raise TransactionError(
                "one statement at a time: await each tx.execute or tx.fetch before the next (no asyncio.gather)"
            )
        if self._state is not _State.NEW:
            return  # the statement says what it has become
        self._state = _State.WAITING
        try:
            await self._shared.turns.enter(self)
        except BaseException:
            if self._state is _State.WAITING:  # a handler may give up waiting and try again
                self._state = _State.NEW
            raise

    def _step(self, statement: Statement[Result], sql: str, parameters: Parameters) -> Result:
        with self._lock:
            connection = self._require_open()
            self._blameless = False
            begun = time.monotonic()
            try:
                with _RUNNING:
                    return self._shared.guard.run(statement, connection, sql, parameters)
            except BaseException as error:
                self._blameless = _is_the_disks_fault(error)
                raise
            finally:
                seconds = time.monotonic() - begun
                if self._heavy or seconds > SLOW_STATEMENT or not connection.in_transaction:
                    self._note(connection, sql, seconds)

    def _note(self, connection: apsw.Connection, sql: str, seconds: float) -> None:
        """Remember what the statement did to the others."""
        self._note_harm(connection)
        self._shared.habits.saw_statement(self._kind, seconds, sql)
        self._heavy = self._shared.habits.is_heavy(self._kind)

    def _note_harm(self, connection: apsw.Connection) -> None:
        if not connection.in_transaction and not self._blameless:
            self._shared.habits.saw_harm(self._kind)

    def _hold(self) -> apsw.Connection:
        """The connection, unless a statement that the handler has not awaited still runs on it in a thread.

        The lock must be released afterwards.
        """
        if not self._lock.acquire(blocking=False):
            raise TransactionError(
                "a statement of this handler still runs: await it before the handler returns"
            )
        try:
            return self._require_open()
        except BaseException:
            self._lock.release()
            raise

    def _require_open(self) -> apsw.Connection:
        if self._state is _State.EXPIRED:
            raise TransactionError(
                f"the transaction was rolled back: it was held longer than its budget of {self._budget} ms, while "
                "everyone else waits. Do slow work, such as HTTP calls, before the first statement"
            )
        if self._state is not _State.OPEN or self._connection is None:
            raise TransactionError(f"the transaction {self._state.value}")
        if not self._connection.in_transaction:
            raise Unavailable(
                "SQLite has rolled everything back: the disk is full, or a statement says ROLLBACK"
            )
        return self._connection

    def _expire(self) -> None:
        if self._state is not _State.OPEN:
            return
        self._undo(_State.EXPIRED)
        if self._expired_callback is not None:
            self._expired_callback()

    def _undo(self, end: _State) -> asyncio.Future[bool]:
        """Roll back and leave. A statement that still runs in a thread is interrupted first."""
        if self._connection is not None:
            while not self._lock.acquire(timeout=_INTERRUPT_AGAIN):
                self._connection.interrupt()  # again and again: it only stops what has begun
            try:
                self._culprit = not self._connection.in_transaction
                self._note_harm(self._connection)
                undo(self._connection)
            except apsw.Error:  # the turn's commit then fails, and with it everything in it
                logger.exception("a handler's transaction could not be rolled back")
            finally:
                self._state = end  # before the thread can take the lock for its next statement
                self._lock.release()
        self._state = end
        self._part()
        return self._shared.turns.withdraw()

    def _part(self) -> None:
        """Nothing binds it to the turn any more."""
        self._connection = None
        if self._timer is not None:
            self._timer.cancel()
        self._shared.habits.saw_turn(self._kind, time.monotonic() - self._opened_at)


def _is_the_disks_fault(error: BaseException) -> bool:
    return isinstance(error.__cause__, apsw.FullError | apsw.IOError | apsw.NoMemError)


# Whatever happens, a statement is not left in progress: somebody might keep the exception, and with it the cursor.


def _write(connection: apsw.Connection, sql: str, parameters: Parameters) -> int:
    before = connection.total_changes()
    cursor = connection.cursor()
    try:
        for _ in cursor.execute(sql, parameters):
            pass  # a RETURNING clause; the statement ends with its last row
    finally:
        cursor.close(True)
    return connection.changes() if connection.total_changes() != before else 0


def _read(connection: apsw.Connection, sql: str, parameters: Parameters) -> list[dict[str, Any]]:
    names: list[str] = []
    rows = []
    cursor = connection.cursor()
    try:
        for row in cursor.execute(sql, parameters):
            if not names:
                names = [column[0] for column in cursor.get_description()]
            rows.append(dict(zip(names, row, strict=True)))
    finally:
        cursor.close(True)
    return rows
