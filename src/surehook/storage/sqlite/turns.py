"""The one write connection, taken in short turns by arrivals and by handlers' transactions.

A turn is one transaction of SQLite: BEGIN IMMEDIATE, the jobs that wait (arrivals, claims, settlements), each under its own
savepoint, then a slice of a few milliseconds in which handlers' transactions enter one after another, each under its own
savepoint, then one COMMIT for all of them, in a thread. Statements run where the loop runs: a hop to a thread would cost six
to fifty times a statement. The lengths are those measured in docs/adr/0004-turns.md.

A guest that is known to be slow, or to have cost others their turn, gets a turn of its own, and afterwards the others have
the connection for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import apsw

from surehook.errors import CommitUnknown, SurehookError, TransactionError, TurnLost, Unavailable
from surehook.storage.sqlite.connection import faults
from surehook.storage.sqlite.entrance import Entrance
from surehook.storage.sqlite.gate import Gate
from surehook.storage.sqlite.thread import WaitingThread

Result = TypeVar("Result")
Job = Callable[[apsw.Connection], Any]
Waiting = tuple[Job, asyncio.Future[Any]]

logger = logging.getLogger(__name__)

#: How long handlers may enter in one turn while arrivals or another process wait (twice that doubles ingest's 99th
#: percentile), and while nobody does.
SLICE = 0.002
LONGEST_SLICE = 0.02

#: While others wait, the next slice starts only after this share of the last slice's length has passed.
REST = 0.5

#: A slice of quick guests that took longer than this had a slow one among them.
HELD = 0.1

# Nobody can write these texts by hand: a handler's "COMMIT" must not meet ours in the statement cache, unseen by the guard.
_MARK = f"/* {secrets.token_hex(8)} */"
BEGIN = f"BEGIN IMMEDIATE {_MARK}"
COMMIT = f"COMMIT {_MARK}"
SAVEPOINT = f"SAVEPOINT part {_MARK}"
RELEASE = f"RELEASE part {_MARK}"
UNDO = f"ROLLBACK TO part {_MARK}"


class Guest(Protocol):
    """A handler's transaction, as the turns see it."""

    @property
    def slow(self) -> bool:
        """It is better not to share a turn with it."""
        ...

    def open(self, connection: apsw.Connection) -> None:
        """The connection is its own until it leaves. Raises TransactionError when it wants it no more."""
        ...


class Turns:
    """Owns the write connection and the order in which it is used."""

    def __init__(self, connect: Callable[[], apsw.Connection], gate: Gate, path: Path) -> None:
        self._connect = connect
        self._path = path
        self._inode = -1
        self._thread = WaitingThread("surehook-commit")
        self._entrance = Entrance(gate, self._thread, path)
        self._connection: apsw.Connection | None = None
        self._jobs: list[Waiting] = []
        #: One of the waiting jobs is urgent; one of those that the present turn will commit is.
        self._urgent = False
        self._carries_urgent = False
        self._guests: deque[tuple[Guest, asyncio.Future[None]]] = deque()
        self._slow_guests: deque[tuple[Guest, asyncio.Future[None]]] = deque()
        #: Whom the present turn has served, with their results: answered after its commit.
        self._served: list[tuple[asyncio.Future[Any], Any]] = []
        #: Who was inside and has left nothing.
        self._witnesses: list[asyncio.Future[bool]] = []
        self._changes = 0
        self._admitting = self._guests
        self._slice_end: asyncio.Future[None] | None = None
        self._slice_begun = 0.0
        #: When it is asked next whether somebody outside waits.
        self._slice_end_at = 0.0
        self._rest_until = 0.0
        self._slow_rest_until = 0.0
        self._slow_is_next = True
        self._news = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def fresh(self) -> bool:
        """Nothing was opened yet: only now may the file be made."""
        return self._inode < 0

    async def start(self) -> None:
        """Open the connection."""
        self._connection = await self._thread.run(self._connect)
        self._inode = self._path.stat().st_ino

    async def write(self, job: Callable[[apsw.Connection], Result], *, urgent: bool = False) -> Result:
        """Run ``job`` in the next turn; returns after its commit. It is short and never waits.

        While an ``urgent`` one waits, no more than SLICE of the present turn is left to handlers. It runs again when
        another's statement has cost it its turn. Raises what the job raises (its writes are undone, others' stay),
        Unavailable or CommitUnknown.
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._wake()
        self._jobs.append((job, future))
        self._urgent = self._urgent or urgent
        return await future

    def enter(self, guest: Guest) -> asyncio.Future[None]:
        """The future tells when the connection is the guest's own. It must leave()."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wake()
        (self._slow_guests if guest.slow else self._guests).append((guest, future))
        return future

    def leave(self) -> asyncio.Future[None]:
        """Give the connection back; the future tells when the guest's writes are durable."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._served.append((future, None))
        self._admit()
        return future

    def withdraw(self) -> asyncio.Future[bool]:
        """Give the connection back, with nothing written; the future tells whether what the guest saw is durable."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._witnesses.append(future)
        self._admit()
        return future

    async def aside(self, work: Callable[[], Result]) -> Result:
        """Run a guest's long statement in the thread that will commit; the loop goes on."""
        return await self._thread.run(work)

    async def close(self) -> None:
        """Finish the turn and what waits, then close the connection."""
        while self._running is not None:
            await asyncio.wait([self._running])
        self._closed = True
        if self._connection is not None:
            self._connection.close()
        self._thread.stop(wait=not self._entrance.waiting)
        self._entrance.close()

    def _wake(self) -> None:
        if self._closed:
            raise Unavailable("the database is closed: this process is stopping")
        self._news.set()
        if self._running is None:
            self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._jobs or self._guests or self._slow_guests:
                await self._turn()
        finally:
            self._running = None

    async def _turn(self) -> None:
        rest = self._slow_rest_until - time.monotonic()
        alone = bool(self._slow_guests) and rest <= 0 and (self._slow_is_next or not self._guests)
        if not (alone or self._jobs or self._guests):
            await self._pause(rest)
            return
        try:
            connection = await self._begin()
        except Exception as error:  # noqa: BLE001 - it belongs to everyone who waits
            self._refuse(error)
            return
        urgent, jobs = (False, []) if alone else self._take_jobs()
        committed, fault = False, None
        try:
            await (self._serve_one() if alone else self._serve(connection, jobs, urgent))
            committed = await self._commit(connection)
        except Exception as error:  # noqa: BLE001 - the turn must end whatever happened in it
            fault = error
            await self._renew(connection)
        except asyncio.CancelledError:  # the loop is being torn down: leave no transaction behind
            self._connection = None
            with contextlib.suppress(apsw.Error):  # a thread may still be inside
                connection.close(True)
            raise
        finally:
            self._entrance.leave()
        self._answer(jobs, committed, fault)

    async def _pause(self, seconds: float) -> None:
        """Only slow guests wait: rest, unless somebody else comes."""
        self._news.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            pass

    async def _serve(self, connection: apsw.Connection, jobs: list[Waiting], urgent: bool) -> None:
        for job, future in jobs:
            self._attempt(connection, job, future)
        self._carries_urgent = urgent
        if self._guests and (not urgent or time.monotonic() >= self._rest_until):
            self._slow_is_next = True
            await self._slice(self._guests)

    async def _serve_one(self) -> None:
        """A slow guest's own turn; the quick ones have the next slice."""
        self._slow_is_next = self._carries_urgent = False
        guests = deque([self._slow_guests.popleft()])
        await self._slice(guests)
        self._slow_guests.extendleft(guests)  # the process was suspended before it could enter

    async def _begin(self) -> apsw.Connection:
        await self._entrance.enter()
        try:
            self._require_same_file()
            if self._connection is None:
                self._connection = await self._thread.run(self._connect)
                self._changes = 0
            await self._begin_on(self._connection)
        except BaseException:
            self._entrance.leave()
            raise
        return self._connection

    def _require_same_file(self) -> None:
        """A file that was removed or replaced would take acknowledged events with it; seen at once, it takes none."""
        try:
            inode = self._path.stat().st_ino
        except OSError as error:
            raise Unavailable(f"the database file is gone: {error}. Stop, restore it, start again") from error
        if inode != self._inode:
            raise Unavailable(f"{self._path} was replaced while it was open: stop and start again")

    async def _begin_on(self, connection: apsw.Connection) -> None:
        connection.set_busy_timeout(0)
        try:
            connection.execute(BEGIN)
            return
        except apsw.BusyError:
            pass  # a stranger writes, one that does not know the gate: a shell, a backup
        finally:
            connection.set_busy_timeout(5_000)
        with faults("another program has locked the database for 5 s"):
            await self._thread.run(lambda: connection.execute(BEGIN))

    def _take_jobs(self) -> tuple[bool, list[Waiting]]:
        """Whether one of them is urgent, and all that wait."""
        taken = self._urgent, self._jobs
        self._urgent, self._jobs = False, []
        return taken

    def _attempt(self, connection: apsw.Connection, job: Job, future: asyncio.Future[Any]) -> None:
        if future.cancelled() or not connection.in_transaction:
            return
        try:
            with faults("the database cannot write"):
                connection.execute(SAVEPOINT)
                result = job(connection)
                connection.execute(RELEASE)
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for the job
            future.set_exception(error)
            undo(connection)
        else:
            self._served.append((future, result))

    async def _slice(self, guests: deque[tuple[Guest, asyncio.Future[None]]]) -> None:
        """Let guests in, one after another; afterwards the others have the connection for a while."""
        self._admitting = guests
        self._slice_begun = time.monotonic()
        self._slice_end_at = self._slice_begun + SLICE
        self._slice_end = asyncio.get_running_loop().create_future()
        self._admit()
        await self._slice_end
        ended = time.monotonic()
        length = ended - self._slice_begun
        self._rest_until = max(self._rest_until, ended + REST * length)
        if guests is not self._guests or length > HELD:  # the next slow one waits, quick ones need not
            self._slow_rest_until = ended + REST * length

    def _slice_goes_on(self) -> bool:
        now = time.monotonic()
        if now < self._slice_end_at:
            return True
        hurried = self._urgent or self._carries_urgent
        if hurried or now - self._slice_begun >= LONGEST_SLICE or self._entrance.others_wait():
            return False
        self._slice_end_at = now + SLICE
        return True

    def _admit(self) -> None:
        """Let the next guest in, or end the slice."""
        connection, end = self._connection, self._slice_end
        if connection is None or end is None or end.done():
            return
        while self._admitting and connection.in_transaction and self._slice_goes_on():
            guest, future = self._admitting.popleft()
            if future.cancelled():
                continue
            if guest.slow and self._admitting is self._guests:  # found out while it waited
                self._slow_guests.append((guest, future))
                continue
            try:
                guest.open(connection)
            except Exception as error:  # noqa: BLE001 - it belongs to the guest, and the next one may enter
                known = isinstance(error, SurehookError)
                future.set_exception(error if known else TransactionError(f"no transaction: {error}"))
                continue
            future.set_result(None)
            return
        end.set_result(None)

    async def _commit(self, connection: apsw.Connection) -> bool:
        """Whether the turn is durable now. False: SQLite had rolled it back, and nothing of it is there."""
        if not connection.in_transaction:
            return False
        if connection.total_changes() == self._changes:
            connection.execute(COMMIT)  # nothing was written: no reason for the thread
        else:
            await self._thread.run(lambda: connection.execute(COMMIT))
            self._changes = connection.total_changes()
        return True

    def _answer(self, jobs: list[Waiting], committed: bool, fault: Exception | None) -> None:
        served, self._served = self._served, []
        self._tell_witnesses(committed)
        if committed:
            for future, result in served:
                if not future.done():
                    future.set_result(result)
            return
        if fault is None:
            # nothing was written, so the jobs can be done again; handlers must run again
            self._jobs[:0] = [(job, future) for job, future in jobs if not future.done()]
            theirs = {future for _, future in jobs}
            error: Exception = TurnLost(
                "another handler's statement made SQLite roll back what shared a commit with it"
            )
            _fail([future for future, _ in served if future not in theirs], error)
            return
        error = CommitUnknown(f"the database did not confirm the commit: {fault}")
        _fail([future for future, _ in served] + [future for _, future in jobs], error)

    def _tell_witnesses(self, committed: bool) -> None:
        witnesses, self._witnesses = self._witnesses, []
        for future in witnesses:
            if not future.done():
                future.set_result(committed)

    async def _renew(self, connection: apsw.Connection) -> None:
        """After a failed commit the old connection's view cannot be trusted; the next turn opens another one."""
        self._connection = None
        self._changes = 0
        try:
            await self._thread.run(lambda: connection.close(True))
        except apsw.Error:
            logger.exception("the connection of a failed turn could not be closed")

    def _refuse(self, error: Exception) -> None:
        waiting = [future for _, future in [*self._jobs, *self._guests, *self._slow_guests]]
        self._jobs = []
        self._guests.clear()
        self._slow_guests.clear()
        _fail(waiting, error if isinstance(error, Unavailable) else Unavailable(str(error)))


def _fail(futures: list[asyncio.Future[Any]], error: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)


def undo(connection: apsw.Connection) -> None:
    """Undo what came since the savepoint, if SQLite has not undone everything by itself (disk full does)."""
    if connection.in_transaction:
        connection.execute(UNDO)
        connection.execute(RELEASE)
