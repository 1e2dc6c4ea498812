"""One transaction that several events' handlers share, one after another; see ``turns.py``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Protocol

import psycopg
from psycopg import AsyncConnection
from psycopg import errors as pg
from psycopg.pq.abc import PGresult

from surehook.errors import SurehookError, TurnLost
from surehook.ids import EventId
from surehook.model import Settlement
from surehook.storage.postgres.connection import TRY_AGAIN, brief, faults, sever
from surehook.storage.postgres.habits import Habits
from surehook.storage.postgres.sharedcommit import LIMITS, LOST, Served, SharedCommit
from surehook.storage.postgres.unit import Surroundings
from surehook.storage.postgres.wire import Command, Wire, error_of, first_failure, own

#: Savepoints of a turn. Above 64 every snapshot that the server takes, anybody's, has to look further.
SAVEPOINTS: Final = 50
#: How long guests may enter, in seconds: the first one waits for its commit as long.
LONGEST: Final = 0.05

#: A guest's time is counted in pieces, so that a loop that is late by many of them has counted one. Seconds.
PIECE: Final = 0.01
#: Pieces that a guest may spend between its statements, and in all. Then it is expelled if somebody waits for the commit; if
#: nobody does, others begin another turn.
HELD: Final = 5
LONG: Final = 25

_ENTER: Final = own("SAVEPOINT surehook_guest")
_LEAVE: Final = own("RELEASE surehook_guest")
_UNDO: Final = own("ROLLBACK TO surehook_guest")
_ENTER_STATEMENT: Final = own("SAVEPOINT surehook")
_LEAVE_STATEMENT: Final = own("RELEASE surehook")
_UNDO_STATEMENT: Final = own("ROLLBACK TO surehook")


class Guest(Protocol):
    """A handler's transaction, as the turns see it."""

    @property
    def kind(self) -> str:
        """What is remembered of it: provider and type of its event."""
        ...

    @property
    def id(self) -> EventId:
        """Its event."""
        ...

    def admit(self, turn: Turn) -> Command | None:
        """The turn is its own until it leaves; its first statement, or None when it does not want it any more."""
        ...

    def answer(self, outcome: PGresult | Exception) -> bool:
        """What became of its statement; False when it does not wait for that any more: the statement is undone."""
        ...

    def expel(self, why: Exception) -> None:
        """Its place is lost, and what it did is undone."""
        ...


class Host(Protocol):
    """Where a turn belongs to."""

    @property
    def shared(self) -> Surroundings:
        """What every transaction of the database shares."""
        ...

    @property
    def habits(self) -> Habits:
        """What is remembered of guests."""
        ...

    def next(self) -> Guest | None:
        """Who waits longest."""
        ...

    def end(self, turn: Turn) -> None:
        """The turn comes to its end: ``Turn.end`` is to be run, and its connection taken back."""
        ...

    def set_aside(self, turn: Turn) -> None:
        """Nobody else enters it: there may be another one."""
        ...

    def stop(self, turn: Turn) -> None:
        """Have the server cancel what runs in it, which one guest only had wanted."""
        ...

    def give_up(self, turn: Turn) -> None:
        """Its connection is not its own any more."""
        ...


class Turn:
    """One transaction, from its first guest to its end."""

    def __init__(self, host: Host, wire: Wire, begin: Sequence[Command]) -> None:
        self._host = host
        self.wire = wire
        self._loop = asyncio.get_running_loop()
        self._guest: Guest | None = None
        self._served = SharedCommit(wire, host.shared.texts, host.habits)
        #: What must be sent before anything else: how it begins, what undoes a statement that has failed.
        self._owed: list[Command] = list(begin)
        self._begun = self._loop.time()
        self._savepoints = 0
        #: Which savepoints stand: the guest's, its statement's. Whether the limits are set.
        self._entered = self._saved = self._limited = False
        #: The guest has left while its statement ran; nobody else may enter; the end has begun.
        self._leaving = self._full = self._ending = False
        #: Nothing of it is left to be committed.
        self._broken = False
        self._asked = b""
        #: A cancellation may still be on its way to the server.
        self.tainted = False
        #: Of the guest's time: with a statement under way, and without.
        self._pieces = {True: 0, False: 0}
        self._timer: asyncio.TimerHandle | None = None
        #: Told when all is over.
        self.ended: asyncio.Future[None] = self._loop.create_future()

    @property
    def idle(self) -> bool:
        """Whether the next guest may enter at once."""
        return self._guest is None and not self._ending

    @property
    def undone(self) -> bool:
        """Whether what its guests have done is not durable, as far as anybody knows."""
        return self._served.undone

    def admit(self) -> None:
        """Let the next guest in; or end, unless one comes before the loop's next round."""
        while not self._is_full() and (guest := self._host.next()):
            if command := guest.admit(self):
                self._enter(guest, command)
                return
        if self._is_full():
            self._finish()
        else:
            self._loop.call_soon(self._finish_if_idle)

    def ask(self, command: Command) -> None:
        """Run another statement of the guest's; one that fails undoes nothing but itself."""
        savepoint = [_LEAVE_STATEMENT, _ENTER_STATEMENT] if self._saved else [_ENTER_STATEMENT]
        self._saved = True
        self._send(savepoint, command)

    def leave(self, settlement: Settlement | None) -> asyncio.Future[None]:
        """The guest is done; the future tells when that is durable, with its completion."""
        guest = self._part()
        assert guest is not None  # noqa: S101 - only a guest leaves
        done = self._served.add(Served(guest.kind, guest.id, settlement))
        self.admit()
        return done

    def withdraw(self) -> None:
        """The guest wants nothing of what it did to be kept."""
        if self.wire.busy:
            self._leaving = True
            self.interrupt()
        else:
            self._owed = [_UNDO]
            self._part()
            self.admit()

    def interrupt(self) -> None:
        """Nobody waits for the statement that runs. Where others wait for their commit, the server ends it soon itself."""
        if not self._served and not self.tainted:
            self._full = self.tainted = True
            self._host.stop(self)

    async def surrender(self) -> tuple[AsyncConnection[Any], bool]:
        """Give all of it to the guest that is alone in it, with whether a statement's savepoint stands.

        Raises TurnLost when it is not alone.
        """
        guest = self._guest
        if guest is None or self._served:
            raise self._expel("the handler did what cannot be shared, such as SET LOCAL or tx.connection(),")
        self._full = self._ending = True
        self._stop_timer()
        try:
            with faults("PostgreSQL cannot go on with the transaction"):
                if self._owed:
                    await self.wire.run(self._owed)
        except BaseException:
            self._guest, self._broken = None, True
            self._host.end(self)
            raise
        self.wire.close()
        self._host.give_up(self)
        return self.wire.connection, self._saved

    # guests

    def _is_full(self) -> bool:
        if self._full or self._savepoints >= SAVEPOINTS:
            return True
        return bool(self._served) and self._loop.time() - self._begun > LONGEST

    def _enter(self, guest: Guest, command: Command) -> None:
        self._guest = guest
        self._pieces = {True: 0, False: 0}
        if self._timer is None:
            self._timer = self._loop.call_later(PIECE, self._count)
        prefix = [_LEAVE] if self._entered else []
        if self._served and not self._limited:
            prefix.append(LIMITS)
            self._limited = True
        prefix.append(_ENTER)
        self._entered = True
        self._send(prefix, command)

    def _part(self) -> Guest | None:
        guest, self._guest = self._guest, None
        self._saved = self._leaving = False
        return guest

    def _send(self, prefix: Sequence[Command], command: Command) -> None:
        commands = [*self._owed, *prefix, command]
        self._owed = []
        self._savepoints += 1
        self._asked = command.sql
        self.wire.send(commands, self._answered, whole=True)

    def _answered(self, results: list[PGresult], lost: psycopg.Error | None) -> None:
        guest, error = self._guest, lost or error_of(results)
        if guest is None:
            return
        if lost is not None or (error is not None and first_failure(results) != len(results) - 1):
            self._break(guest, error or psycopg.OperationalError("the connection is lost"))
            return
        undo = _UNDO_STATEMENT if self._saved else _UNDO
        if self._leaving:
            self._owed = [_UNDO]
            self._part()
            guest.answer(error or results[-1])
            self.admit()
        elif error is not None and self._served and _is_others(error, self._asked):
            self._owed = [undo]
            self._expel(f"a statement had to wait ({brief(error)})")
        elif self._served and sum(self._pieces.values()) >= LONG:
            self._expel("the handler's statements took too long")
        elif not guest.answer(error or results[-1]) or error is not None:
            self._owed = [undo]

    def _expel(self, why: str) -> TurnLost:
        """The guest has cost the others enough. The turn ends with those who were served."""
        lost = TurnLost(
            f"{why} while others waited for their commit: the attempt runs again, not with others"
        )
        self._owed = [_UNDO]
        guest = self._part()
        if guest is not None:
            self._host.habits.saw_harm(guest.kind)
            guest.expel(lost)
        self._finish()
        return lost

    def _break(self, guest: Guest, error: psycopg.Error) -> None:
        """The transaction is lost, or the connection is."""
        self._part()
        self._broken = True
        if self._served:
            self._host.habits.saw_loss(guest.id)
        guest.answer(TurnLost(LOST) if self._served else error)
        self._served.lose()
        self._finish()

    def _count(self) -> None:
        """Another piece of the guest's time is over."""
        self._timer = None
        if self._guest is None or (self._full and not self._served):
            return
        self._timer = self._loop.call_later(PIECE, self._count)
        busy = self.wire.busy
        self._pieces[busy] += 1
        if self._pieces[busy] < (LONG if busy else HELD):
            return
        if not self._served:
            if not busy:
                self._host.habits.saw_harm(self._guest.kind)
            self._set_aside()
        elif not busy:
            self._expel("the handler did something else for too long between its statements")
        elif self._pieces[busy] * PIECE > self._host.shared.patience:
            sever(self.wire.connection)  # the server bounds every statement, if it still lives

    def _set_aside(self) -> None:
        """Others begin another turn, and this one is its guest's. Next time somebody might wait for it."""
        self._full = True
        self._host.set_aside(self)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # the end

    async def end(self) -> None:
        """Make durable what was served, and tell everybody."""
        if self._served and not self._broken:
            await self._served.run(self._owed, limited=self._limited)

    def _finish_if_idle(self) -> None:
        if self.idle:
            self._finish()

    def shut(self, error: SurehookError) -> None:
        """The database is closed while a guest is inside."""
        guest = self._part()
        if guest is not None:
            guest.expel(error)
            self._broken = True
            self._served.lose()
            self._finish()

    def _finish(self) -> None:
        if not self._ending:
            self._ending = True
            self._stop_timer()
            self._host.end(self)


def _is_others(error: psycopg.Error, sql: bytes) -> bool:
    """Whether a statement that shares its transaction has failed because it does, and would not alone.

    A lock that the handler did not want to wait for (NOWAIT) is its own affair.
    """
    if isinstance(error, pg.LockNotAvailable | pg.QueryCanceled):
        return error.diag.source_function == "ProcessInterrupts" or b"nowait" not in sql.lower()
    return isinstance(error, TRY_AGAIN)
