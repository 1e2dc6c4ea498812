"""The one write connection, taken in short turns by arrivals and by handlers' transactions.

A turn is one transaction of SQLite: BEGIN IMMEDIATE, the jobs that wait (arrivals, claims, settlements), each under its own
savepoint, then a slice of a few milliseconds in which handlers' transactions enter one after another, each under its own
savepoint, then one COMMIT for all of them, in a thread. Statements run where the loop runs: a hop to a thread would cost six
to fifty times a statement. The lengths are those measured in docs/adr/0004-turns.md.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import apsw

from surehook.errors import CommitUnknown, TransactionError, Unavailable
from surehook.storage.sqlite.connection import faults
from surehook.storage.sqlite.gate import Gate
from surehook.storage.sqlite.thread import WaitingThread

Result = TypeVar("Result")
Job = Callable[[apsw.Connection], Any]

#: How long handlers may enter in one turn while jobs wait (twice that doubles ingest's 99th percentile), and while none do.
SLICE = 0.002
LONGEST_SLICE = 0.02

#: While arrivals wait, the next slice starts only after this share of the last slice's length has passed.
REST = 0.5

# The comments keep these texts apart from a handler's "COMMIT" in the statement cache, which the authorizer must see.
BEGIN = "BEGIN IMMEDIATE /* turn */"
COMMIT = "COMMIT /* turn */"
SAVEPOINT = "SAVEPOINT part /* turn */"
RELEASE = "RELEASE part /* turn */"
UNDO = "ROLLBACK TO part /* turn */"


class Guest(Protocol):
    """A handler's transaction, as the turns see it."""

    @property
    def slow(self) -> bool:
        """It is known to hold its turn for long, so arrivals do not share a commit with it."""
        ...

    def open(self, connection: apsw.Connection) -> None:
        """The connection is its own until it leaves."""
        ...


class Turns:
    """Owns the write connection and the order in which it is used."""

    def __init__(self, connect: Callable[[], apsw.Connection], gate: Gate) -> None:
        self._connect = connect
        self._gate = gate
        self._thread = WaitingThread("surehook-commit")
        self._connection: apsw.Connection | None = None
        self._jobs: list[tuple[Job, asyncio.Future[Any]]] = []
        self._guests: deque[tuple[Guest, asyncio.Future[None]]] = deque()
        self._settled: list[tuple[asyncio.Future[Any], Any]] = []
        self._slice_end: asyncio.Future[None] | None = None
        self._slice_begun = 0.0
        self._rest_until = 0.0
        self._guests_first = False
        self._running: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """Open the connection."""
        self._connection = await self._thread.run(self._connect)

    async def write(self, job: Callable[[apsw.Connection], Result]) -> Result:
        """Run ``job`` in the next turn; returns after its commit. It is short and never waits.

        Raises what the job raises (its writes are undone, others' stay), Unavailable or CommitUnknown.
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._wake()
        self._jobs.append((job, future))
        return await future

    async def enter(self, guest: Guest) -> None:
        """Wait until the connection is the guest's own. It must leave()."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wake()
        self._guests.append((guest, future))
        await future

    def leave(self, *, commit: bool) -> asyncio.Future[None]:
        """Give the connection back; with ``commit``, the future tells when the guest's writes are durable."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if commit:
            self._settled.append((future, None))
        else:
            future.set_result(None)
        self._admit()
        return future

    async def close(self) -> None:
        """Finish the turn and what waits, then close the connection."""
        while self._running is not None:
            await asyncio.wait([self._running])
        self._closed = True
        if self._connection is not None:
            await self._thread.run(self._connection.close)
        self._thread.stop()
        self._gate.close()

    def _wake(self) -> None:
        if self._closed:
            raise Unavailable("the database is closed: this process is stopping")
        if self._running is None:
            self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._jobs or self._guests:
                await self._turn()
        finally:
            self._running = None

    async def _turn(self) -> None:
        try:
            connection = await self._begin()
        except Exception as error:  # noqa: BLE001 - it belongs to everyone who waits
            self._refuse(error)
            return
        fault: Exception | None = None
        try:
            await self._serve(connection)
        except Exception as error:  # noqa: BLE001 - the turn must end whatever happened in it
            fault = error
        await self._end(connection, fault)

    async def _serve(self, connection: apsw.Connection) -> None:
        jobs = self._take_jobs()
        before = connection.total_changes()
        for job, future in jobs:
            self._attempt(connection, job, future)
        if self._guests and self._may_slice(bool(jobs)):
            await self._slice()
        if connection.total_changes() != before:
            await self._thread.run(lambda: connection.execute(COMMIT))
        else:
            connection.execute(COMMIT)

    async def _begin(self) -> apsw.Connection:
        if not self._gate.try_enter():
            await self._thread.run(self._gate.enter)
        try:
            if self._connection is None:
                self._connection = await self._thread.run(self._connect)
            await self._begin_on(self._connection)
        except BaseException:
            self._gate.leave()
            raise
        return self._connection

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

    def _take_jobs(self) -> list[tuple[Job, asyncio.Future[Any]]]:
        if self._guests_first and self._guests:
            return []  # the turn before was the arrivals' alone
        jobs, self._jobs = self._jobs, []
        return jobs

    def _attempt(self, connection: apsw.Connection, job: Job, future: asyncio.Future[Any]) -> None:
        if future.cancelled():
            return
        try:
            with faults("the database cannot write"):
                _require_transaction(connection)
                connection.execute(SAVEPOINT)
                result = job(connection)
                connection.execute(RELEASE)
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for the job
            future.set_exception(error)
            undo(connection)
        else:
            self._settled.append((future, result))

    def _may_slice(self, arrivals: bool) -> bool:
        if not arrivals:
            self._guests_first = False
            return True
        if self._guests[0][0].slow:
            self._guests_first = True
            return False
        return time.monotonic() >= self._rest_until

    async def _slice(self) -> None:
        begun = self._slice_begun = time.monotonic()
        self._slice_end = asyncio.get_running_loop().create_future()
        self._admit()
        await self._slice_end
        ended = time.monotonic()
        self._rest_until = ended + REST * (ended - begun)

    def _slice_end_at(self) -> float:
        return self._slice_begun + (SLICE if self._jobs else LONGEST_SLICE)

    def _admit(self) -> None:
        """Let the next guest in, or end the slice."""
        connection, end = self._connection, self._slice_end
        if connection is None or end is None or end.done():
            return
        while self._guests and connection.in_transaction and time.monotonic() < self._slice_end_at():
            guest, future = self._guests.popleft()
            if future.cancelled():
                continue
            try:
                guest.open(connection)
            except TransactionError as error:  # its attempt has ended meanwhile
                future.set_exception(error)
                continue
            except apsw.Error as error:
                future.set_exception(Unavailable(f"the database cannot open a transaction: {error}"))
                continue
            future.set_result(None)
            return
        end.set_result(None)

    async def _end(self, connection: apsw.Connection, fault: Exception | None) -> None:
        settled, self._settled = self._settled, []
        try:
            if fault is not None:
                await self._renew(connection)
        finally:
            self._gate.leave()
        for future, result in settled:
            if future.done():
                continue
            if fault is None:
                future.set_result(result)
            else:
                future.set_exception(CommitUnknown(f"the database did not confirm the commit: {fault}"))

    async def _renew(self, connection: apsw.Connection) -> None:
        """After a failed commit the old connection's view cannot be trusted; the next turn opens another one."""
        self._connection = None
        await self._thread.run(lambda: connection.close(True))

    def _refuse(self, error: Exception) -> None:
        jobs, self._jobs = self._jobs, []
        guests, self._guests = self._guests, deque()
        for _, future in [*jobs, *guests]:
            if not future.done():
                future.set_exception(error if isinstance(error, Unavailable) else Unavailable(str(error)))


def undo(connection: apsw.Connection) -> None:
    """Undo what came since the savepoint, if SQLite has not undone everything by itself (disk full does)."""
    if connection.in_transaction:
        connection.execute(UNDO)
        connection.execute(RELEASE)


def _require_transaction(connection: apsw.Connection) -> None:
    # A statement outside of a transaction would commit by itself, unfenced.
    if not connection.in_transaction:
        raise Unavailable("SQLite has rolled the transaction back, probably because the disk is full")
