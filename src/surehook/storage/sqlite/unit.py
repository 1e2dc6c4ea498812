"""The transaction of one attempt on SQLite: a savepoint inside a turn, entered at the first statement."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar

import apsw
import msgspec

from surehook.errors import TransactionError, Unavailable
from surehook.model import Settlement
from surehook.storage import Parameters
from surehook.storage.sqlite.connection import faults
from surehook.storage.sqlite.guard import Guard
from surehook.storage.sqlite.turns import RELEASE, SAVEPOINT, Turns, undo

Result = TypeVar("Result")

logger = logging.getLogger(__name__)

#: A transaction that held its turn longer than this is slow; a statement of this length blocks the loop noticeably.
SLOW_TURN = 0.02
SLOW_STATEMENT = 0.05

#: How long to wait for an interrupted statement before it is interrupted again, in seconds.
_INTERRUPT_AGAIN = 0.002


class _State(Enum):
    NEW = "was not opened yet"
    OPEN = "is open"
    ENDED = "has ended: a handler must not use it after it has returned"
    EXPIRED = "was rolled back"


class Habits:
    """Which kinds of events have handlers that hold the turn for long, or run long statements, as last seen."""

    def __init__(self) -> None:
        self._slow: set[str] = set()
        self._heavy: set[str] = set()

    def is_slow(self, kind: str) -> bool:
        """Its last transaction held the turn for long."""
        return kind in self._slow

    def is_heavy(self, kind: str) -> bool:
        """It has run a statement long enough to be kept off the event loop."""
        return kind in self._heavy

    def saw_turn(self, kind: str, seconds: float) -> None:
        """Remember how long a transaction took."""
        if seconds > SLOW_TURN:
            self._slow.add(kind)
        else:
            self._slow.discard(kind)

    def saw_statement(self, kind: str, seconds: float, sql: str) -> None:
        """Remember a long statement, and say it once."""
        if seconds > SLOW_STATEMENT and kind not in self._heavy:
            self._heavy.add(kind)
            logger.warning(
                "a statement took %d ms while everyone else waited: %s", seconds * 1000, sql.strip()[:200]
            )


class Surroundings(msgspec.Struct, frozen=True):
    """What every unit of one database shares."""

    turns: Turns
    guard: Guard
    habits: Habits
    loop: asyncio.AbstractEventLoop
    #: How long a transaction may hold its turn, in milliseconds.
    budget: int
    #: Writes a completion inside the unit's savepoint, and one without a transaction.
    complete: Callable[[apsw.Connection, Settlement], None]
    settle: Callable[[Settlement], Any]


class SqliteUnit:
    """A UnitOfWork. Everything but the ``_blocking`` methods is called on the loop."""

    def __init__(self, shared: Surroundings, kind: str) -> None:
        self._shared = shared
        self._kind = kind
        self._state = _State.NEW
        self._connection: apsw.Connection | None = None
        # a statement in a handler's thread and the end of the budget on the loop exclude each other
        self._lock = threading.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._opened_at = 0.0
        self._expired_callback: Callable[[], object] | None = None

    @property
    def opened(self) -> bool:
        """Whether a statement was run."""
        return self._opened_at > 0

    @property
    def slow(self) -> bool:
        """Whether arrivals are better not kept waiting for it."""
        return self._shared.habits.is_slow(self._kind)

    def on_expired(self, callback: Callable[[], object]) -> None:
        """Called when the budget is used up."""
        self._expired_callback = callback

    def open(self, connection: apsw.Connection) -> None:
        """The turn is ours (called by Turns). Raises TransactionError when the attempt has ended while it waited."""
        if self._state is not _State.NEW:
            raise TransactionError(f"the transaction {self._state.value}")
        connection.execute(SAVEPOINT)
        self._connection = connection
        self._state = _State.OPEN
        self._opened_at = time.monotonic()
        self._timer = self._shared.loop.call_later(self._shared.budget / 1000, self._expire)

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

    async def complete(self, settlement: Settlement) -> None:
        """UnitOfWork.complete."""
        if self._state is _State.NEW:
            self._state = _State.ENDED
            await self._shared.settle(settlement)
            return
        connection = self._require_open()
        try:
            with faults("the database cannot write the completion"):
                self._shared.complete(connection, settlement)
            await self.commit()
        except BaseException:
            await self.rollback()
            raise

    async def commit(self) -> None:
        """Keep what was written; returns when it is durable. A no-op when nothing was opened."""
        if self._state is _State.NEW:
            self._state = _State.ENDED
            return
        connection = self._require_open()
        if connection.status(apsw.SQLITE_DBSTATUS_DEFERRED_FKS)[0]:
            # SQLite would find it at COMMIT and fail everyone who shares the turn
            raise TransactionError(
                "a deferred foreign key is violated: write the row that it refers to as well"
            )
        with faults("the database cannot write"):
            connection.execute(RELEASE)
        await self._leave(commit=True)

    async def rollback(self) -> None:
        """UnitOfWork.rollback."""
        if self._state is _State.OPEN:
            self._undo(_State.ENDED)
        elif self._state is _State.NEW:
            self._state = _State.ENDED

    async def _run(
        self,
        statement: Callable[[apsw.Connection, str, Parameters], Result],
        sql: str,
        parameters: Parameters,
    ) -> Result:
        if self._state is _State.NEW:
            await self._shared.turns.enter(self)
        if self._shared.habits.is_heavy(self._kind):
            return await asyncio.to_thread(self._step, statement, sql, parameters)
        return self._step(statement, sql, parameters)

    def _run_blocking(
        self,
        statement: Callable[[apsw.Connection, str, Parameters], Result],
        sql: str,
        parameters: Parameters,
    ) -> Result:
        if self._state is _State.NEW:
            asyncio.run_coroutine_threadsafe(self._shared.turns.enter(self), self._shared.loop).result()
        return self._step(statement, sql, parameters)

    def _step(
        self,
        statement: Callable[[apsw.Connection, str, Parameters], Result],
        sql: str,
        parameters: Parameters,
    ) -> Result:
        with self._lock:
            connection = self._require_open()
            begun = time.monotonic()
            with faults("the database cannot run the statement"), self._shared.guard.watching(sql):
                result = statement(connection, sql, parameters)
        self._shared.habits.saw_statement(self._kind, time.monotonic() - begun, sql)
        return result

    def _require_open(self) -> apsw.Connection:
        if self._state is _State.EXPIRED:
            raise TransactionError(
                f"the transaction was rolled back: it was held longer than its budget of {self._shared.budget} ms, while "
                "everyone else waits. Do slow work, such as HTTP calls, before the first statement"
            )
        if self._state is not _State.OPEN or self._connection is None:
            raise TransactionError(f"the transaction {self._state.value}")
        if not self._connection.in_transaction:
            raise Unavailable("SQLite has rolled the transaction back, probably because the disk is full")
        return self._connection

    def _expire(self) -> None:
        if self._state is not _State.OPEN:
            return
        self._undo(_State.EXPIRED)
        if self._expired_callback is not None:
            self._expired_callback()

    def _undo(self, end: _State) -> None:
        """Roll back and leave. A statement that still runs in a thread is interrupted first."""
        if self._connection is not None:
            while not self._lock.acquire(timeout=_INTERRUPT_AGAIN):
                self._connection.interrupt()  # again and again: it only stops what has begun
            try:
                undo(self._connection)
            except apsw.Error:  # the turn's commit then fails, and with it everything in it
                logger.exception("a handler's transaction could not be rolled back")
            finally:
                self._state = end  # before the thread can take the lock for its next statement
                self._lock.release()
        self._leave(commit=False, end=end)

    def _leave(self, *, commit: bool, end: _State = _State.ENDED) -> asyncio.Future[None]:
        self._state = end
        self._connection = None
        if self._timer is not None:
            self._timer.cancel()
        self._shared.habits.saw_turn(self._kind, time.monotonic() - self._opened_at)
        return self._shared.turns.leave(commit=commit)


def _write(connection: apsw.Connection, sql: str, parameters: Parameters) -> int:
    before = connection.total_changes()
    for _ in connection.execute(sql, parameters):
        pass  # a RETURNING clause; the statement ends with its last row
    return connection.changes() if connection.total_changes() != before else 0


def _read(connection: apsw.Connection, sql: str, parameters: Parameters) -> list[dict[str, Any]]:
    cursor = connection.execute(sql, parameters)
    names: list[str] = []
    rows = []
    for row in cursor:
        if not names:
            names = [column[0] for column in cursor.get_description()]
        rows.append(dict(zip(names, row, strict=True)))
    return rows
