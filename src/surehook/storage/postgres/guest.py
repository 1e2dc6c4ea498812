"""The transaction of one attempt on PostgreSQL, in a turn that it shares with others as long as it can."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Coroutine, Mapping
from enum import Enum
from typing import Any, Final, TypeVar

from psycopg import AsyncConnection, Connection
from psycopg.adapt import Transformer
from psycopg.pq.abc import PGresult

from surehook.errors import TransactionError, TurnLost
from surehook.model import Claim, Settlement
from surehook.storage import Parameters
from surehook.storage.placeholders import bind
from surehook.storage.postgres.connection import brief, faults
from surehook.storage.postgres.guard import refuse
from surehook.storage.postgres.lending import BorrowedAsyncConnection, BorrowedConnection
from surehook.storage.postgres.sharing import may_share
from surehook.storage.postgres.turn import Turn
from surehook.storage.postgres.turns import Turns
from surehook.storage.postgres.unit import UNDONE, WRITTEN, PostgresUnit
from surehook.storage.postgres.wire import Command, of_handler

Result = TypeVar("Result")

#: What is prepared: nothing is looked for, so that its plan is good at any time, and no row comes back in another shape.
_PREPARED: Final = re.compile(
    r"\s*INSERT\b(?!.*\b(?:SELECT|TABLE|RETURNING|WITH)\b)", re.IGNORECASE | re.DOTALL
)


class _State(Enum):
    NEW = "was not opened yet"
    WAITING = "is being opened"
    INSIDE = "is open"
    ENDED = "has ended: a handler must not use it after it has returned"


class SharedUnit:
    """A UnitOfWork. Everything but the ``_blocking`` methods is called on the loop.

    What cannot be shared (a connection that is lent, a handler in a thread, SET LOCAL) makes it a PostgresUnit.
    """

    def __init__(self, turns: Turns, claim: Claim, kind: str) -> None:
        self._turns = turns
        self.kind = kind
        self.id = claim.id
        self._state = _State.NEW
        self._turn: Turn | None = None
        self._connection: AsyncConnection[Any] | None = None
        #: One statement after another.
        self._lock = asyncio.Lock()
        self._command: Command | None = None
        self._answer: asyncio.Future[PGresult] | None = None
        #: Why it has lost its place.
        self._lost: Exception | None = None
        self._expelled: Callable[[], object] | None = None
        self._alone: PostgresUnit | None = None
        # the end of the attempt on the loop, and a completion in a thread: whichever comes first takes place
        self._deciding = threading.Lock()

    @property
    def opened(self) -> bool:
        """Whether a statement was run, or waits for its turn."""
        if self._alone is not None:
            return self._alone.opened
        return self._turn is not None or self._state is _State.WAITING or self._lost is not None

    def on_expired(self, callback: Callable[[], object]) -> None:
        """Called when it has lost its place in its turn."""
        self._expelled = callback

    async def execute(self, sql: str, parameters: Parameters = ()) -> int:
        """UnitOfWork.execute."""
        result = await self._run(sql, parameters)
        if result is None:
            return await (await self._go_alone()).execute(sql, parameters)
        written = WRITTEN.match((result.command_status or b"").decode())
        return result.command_tuples or 0 if written else 0

    async def fetch(self, sql: str, parameters: Parameters = ()) -> list[dict[str, Any]]:
        """UnitOfWork.fetch."""
        result = await self._run(sql, parameters)
        if result is None:
            return await (await self._go_alone()).fetch(sql, parameters)
        return _rows(result, self._connection)

    def execute_blocking(self, sql: str, parameters: Parameters = ()) -> int:
        """UnitOfWork.execute_blocking."""
        return self._wait_for(lambda: self.execute(sql, parameters))

    def fetch_blocking(self, sql: str, parameters: Parameters = ()) -> list[dict[str, Any]]:
        """UnitOfWork.fetch_blocking."""
        return self._wait_for(lambda: self.fetch(sql, parameters))

    async def connection(self) -> BorrowedAsyncConnection:
        """Lending.connection."""
        return await (await self._go_alone()).connection()

    def connection_blocking(self) -> BorrowedConnection:
        """Lending.connection_blocking."""
        loop = self._turns.shared.loop
        return asyncio.run_coroutine_threadsafe(self._go_alone(), loop).result().connection_blocking()

    def complete_on(self, connection: Connection[Any], settlement: Settlement) -> None:
        """Lending.complete_on."""
        with self._deciding:
            if self._alone is None and self._state is _State.NEW:
                self._alone = PostgresUnit(self._turns.shared)
        if self._alone is None:
            raise TransactionError(
                f"the event cannot be completed on another connection: its own transaction {self._state.value}"
            )
        self._alone.complete_on(connection, settlement)

    async def complete(self, settlement: Settlement) -> None:
        """UnitOfWork.complete."""
        if self._alone is not None:
            await self._alone.complete(settlement)
        elif self._state is _State.NEW and self._lost is None:
            self._state = _State.ENDED
            await self._turns.shared.settle(settlement)
        else:
            await self._leave(settlement)

    async def commit(self) -> None:
        """Keep what was written; a no-op when nothing was opened."""
        if self._alone is not None:
            await self._alone.commit()
        elif self._state is _State.NEW and self._lost is None:
            self._state = _State.ENDED
        else:
            await self._leave(None)

    async def rollback(self) -> bool:
        """UnitOfWork.rollback."""
        with self._deciding:
            state, self._state = self._state, _State.ENDED
        if self._alone is not None:
            await self._alone.rollback()
        if state is _State.INSIDE and self._turn is not None:
            turn, self._turn = self._turn, None
            busy = turn.wire.busy
            turn.withdraw()
            if not busy:
                await asyncio.shield(turn.ended)
            return not turn.undone
        if state is _State.WAITING:
            self._turns.drop(self)
            self.answer(TransactionError(f"the transaction {self._state.value}"))
        return True

    # as a guest of turns

    def admit(self, turn: Turn) -> Command | None:
        """Guest.admit."""
        if self._state is not _State.WAITING:
            return None
        self._state = _State.INSIDE
        self._turn = turn
        self._connection = turn.wire.connection
        return self._command

    def answer(self, outcome: PGresult | Exception) -> bool:
        """Guest.answer."""
        if self._answer is None or self._answer.done():
            return False
        if isinstance(outcome, Exception):
            self._answer.set_exception(outcome)
        else:
            self._answer.set_result(outcome)
        return True

    def expel(self, why: Exception) -> None:
        """Guest.expel."""
        self._lost = why
        if self._state is not _State.ENDED:
            self._state = _State.NEW
        self._turn = None
        if not self.answer(why) and self._expelled is not None:
            self._expelled()

    # statements

    async def _run(self, sql: str, parameters: Parameters) -> PGresult | None:
        """What the statement yields; None: it is to be run alone."""
        refuse(sql)
        if self._alone is not None or not may_share(sql):
            return None
        async with self._lock:
            return None if self._alone is not None else await self._ask(sql, parameters)

    async def _ask(self, sql: str, parameters: Parameters) -> PGresult:
        bound = bind(sql, bool(parameters) and not isinstance(parameters, Mapping))
        command = of_handler(bound.sql, bound.values(parameters), prepare=bool(_PREPARED.match(sql)))
        turn = await self._inside()
        self._answer = asyncio.get_running_loop().create_future()
        try:
            with faults("PostgreSQL cannot run the statement"):
                if turn is None:
                    self._state = _State.WAITING
                    self._command = command
                    self._turns.enter(self)
                else:
                    turn.ask(command)
                return await self._answer
        except UNDONE as error:
            raise TurnLost(
                f"PostgreSQL undid the transaction because of another one: {brief(error)}"
            ) from error
        except asyncio.CancelledError:
            self._give_up()
            raise

    async def _inside(self) -> Turn | None:
        """The turn, when nothing runs in it; None when it is still to be entered."""
        if self._turn is not None:
            await self._turn.wire.quiet()  # a statement that was not waited for
        if self._lost is not None:
            raise self._lost
        if self._state is _State.ENDED:
            raise TransactionError(f"the transaction {self._state.value}")
        return self._turn

    def _give_up(self) -> None:
        """A handler that waits no longer may try again."""
        if self._state is _State.WAITING:
            self._state = _State.NEW
            self._turns.drop(self)
        elif self._turn is not None and self._turn.wire.busy:
            self._turn.interrupt()

    async def _leave(self, settlement: Settlement | None) -> None:
        try:
            turn = self._require_inside()
        except BaseException:
            await self.rollback()
            raise
        self._state = _State.ENDED
        self._turn = None
        await turn.leave(settlement)

    def _require_inside(self) -> Turn:
        if self._lost is not None:
            raise self._lost
        if self._turn is None or self._state is not _State.INSIDE:
            raise TransactionError(f"the transaction {self._state.value}")
        if self._turn.wire.busy or self._lock.locked():
            raise TransactionError(
                "a statement of this handler still runs: await it before the handler returns"
            )
        return self._turn

    # alone

    async def _go_alone(self) -> PostgresUnit:
        """Share no more: with the transaction that it has, if nobody else was in it. Raises TurnLost if somebody was."""
        if self._alone is not None:
            return self._alone
        async with self._lock:
            if self._alone is None:
                turn = await self._inside()
                self._alone = PostgresUnit(self._turns.shared) if turn is None else await self._part(turn)
            return self._alone

    async def _part(self, turn: Turn) -> PostgresUnit:
        self._turns.habits.saw_harm(self.kind)
        connection, saved = await turn.surrender()
        self._turn = None
        return PostgresUnit.adopt(self._turns.shared, connection, saved=saved)

    def _wait_for(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """In a thread, from its first statement alone: its thread may be slow to go on."""

        async def go() -> Result:
            if self._turn is None:
                await self._go_alone()
            return await work()

        return asyncio.run_coroutine_threadsafe(go(), self._turns.shared.loop).result()


def _rows(result: PGresult, connection: AsyncConnection[Any] | None) -> list[dict[str, Any]]:
    if not result.nfields:
        return []
    names = [(result.fname(column) or b"").decode() for column in range(result.nfields)]
    loading = Transformer(connection)
    loading.set_pgresult(result)
    return loading.load_rows(0, result.ntuples, lambda row: dict(zip(names, row, strict=True)))
