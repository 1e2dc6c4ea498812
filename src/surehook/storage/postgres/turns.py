"""Transactions that several events' handlers share, so that they share its commit.

A turn is one transaction of PostgreSQL. Handlers' transactions, its guests, enter strictly one after another, each behind a
savepoint of its own that travels with its first statement. When nobody waits any more, or it has lasted long enough, the
turn ends: every completion, every message and the COMMIT, for all of them at once. A turn that fails is undone as a whole;
its guests run again, each in a transaction of its own, so that the one who is to blame fails alone.

Who is alone in a turn is waited for by nobody, and may take its time, as in a transaction of its own; others begin another
turn. Who is not, and keeps the others from their commit or waits for a lock while they hold theirs, loses its place.
The figures are in docs/adr/0033-shared-transactions.md.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

import psycopg

from surehook.errors import TurnLost, Unavailable
from surehook.storage.postgres.connection import sever
from surehook.storage.postgres.habits import Habits
from surehook.storage.postgres.pools import BEGIN, give_back, take
from surehook.storage.postgres.turn import Guest, Turn
from surehook.storage.postgres.unit import Surroundings
from surehook.storage.postgres.wire import Wire, own

#: Turns at once: while the server works for one, the loop works for the other.
AT_ONCE: Final = 2

#: How long the server may take to hear that a statement is to be cancelled, in seconds.
_CANCEL: Final = 3.0

_BEGIN: Final = own(BEGIN)


class Turns:
    """The turns of one process, and who waits for one."""

    def __init__(self, shared: Surroundings, habits: Habits, *, prepare: bool) -> None:
        """``prepare``: whether statements are prepared by name, which a transaction pooler does not allow."""
        self.shared = shared
        self.habits = habits
        self._prepare = prepare
        self._begin = [_BEGIN, own(shared.settings)] if shared.settings else [_BEGIN]
        self._waiting: deque[Guest] = deque()
        #: Those that guests may enter, or that are about to make room for another one; and all that have a connection.
        self._turns: set[Turn] = set()
        self._live: set[Turn] = set()
        self._opening = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def enter(self, guest: Guest) -> None:
        """Put it into the queue; it is admitted, or expelled with TurnLost when there is no connection for it in time."""
        self._waiting.append(guest)
        for turn in self._turns:
            if turn.idle:
                turn.admit()
                return
        self._open()

    def next(self) -> Guest | None:
        """Who is admitted next."""
        return self._waiting.popleft() if self._waiting else None

    def drop(self, guest: Guest) -> None:
        """It waits no longer."""
        with suppress(ValueError):
            self._waiting.remove(guest)

    def set_aside(self, turn: Turn) -> None:
        """It is one guest's alone: it counts no more."""
        self._turns.discard(turn)
        self._open()

    def give_up(self, turn: Turn) -> None:
        """Its connection is somebody's now, or in the pool."""
        self._live.discard(turn)
        self.set_aside(turn)
        turn.ended.set_result(None)

    def end(self, turn: Turn) -> None:
        """Let it come to its end."""
        self._start(self._end(turn))

    def stop(self, turn: Turn) -> None:
        """Have the server cancel what runs in it. The guest is alone in it."""
        self.set_aside(turn)
        self._start(self._stop(turn))

    async def close(self) -> None:
        """Finish what was begun; let go of the rest."""
        closed = Unavailable("the database is closed: this process is stopping")
        while guest := self.next():
            guest.expel(closed)
        for turn in list(self._live):
            turn.shut(closed)
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    def _open(self) -> None:
        if self._waiting and len(self._turns) + self._opening < AT_ONCE:
            self._opening += 1
            self._start(self._connect())

    async def _connect(self) -> None:
        try:
            connection = await take(self.shared.pool, self.shared.patience)
        except Unavailable as error:
            self._refuse(error)
            return
        finally:
            self._opening -= 1
        wire = Wire(connection, prepare=self._prepare)
        try:
            wire.open()
        except psycopg.Error:  # it has just ended
            await connection.close()
            await give_back(self.shared.pool, connection)
            self._open()
            return
        turn = Turn(self, wire, self._begin)
        self._turns.add(turn)
        self._live.add(turn)
        turn.admit()

    def _refuse(self, error: Unavailable) -> None:
        """They have done nothing yet, and are not to blame that others do much."""
        if self._turns:
            return  # there is one that they can enter
        while guest := self.next():
            guest.expel(TurnLost(f"the handler's transaction could not begin: {error}"))

    async def _end(self, turn: Turn) -> None:
        connection = turn.wire.connection
        guard = asyncio.get_running_loop().call_later(self.shared.patience, sever, connection)
        try:
            if turn.wire.busy:
                sever(connection)
                await turn.wire.quiet()
            await turn.end()
        finally:
            clean = turn.wire.close()
            if turn.tainted or not clean:
                await connection.close()
            await give_back(self.shared.pool, connection)
            guard.cancel()
            self.give_up(turn)

    async def _stop(self, turn: Turn) -> None:
        with suppress(psycopg.Error):
            await turn.wire.connection.cancel_safe(timeout=_CANCEL)
        try:
            async with asyncio.timeout(_CANCEL):
                await turn.wire.quiet()
        except TimeoutError:
            sever(turn.wire.connection)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
