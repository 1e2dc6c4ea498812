"""The database as the queue, with PostgreSQL's LISTEN/NOTIFY to wake other processes as well.

One connection of its own both listens and notifies. It must be a direct one: behind a pooler that hands out connections
by the transaction, LISTEN looks as if it worked and hears nothing. NOTIFY is never part of the transaction that stores
events, since notifying transactions commit one after the other, database-wide; it follows the commit, gathered: at most
about a hundred a second from each process.

Channels belong to the database, not to a schema: two installations in one database wake each other, which costs each a
look at its own tables and nothing else. Give them different prefixes to avoid even that.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from surehook.errors import ConfigurationError
from surehook.ids import EventId
from surehook.queue.database import DatabaseQueue
from surehook.queue.outage import Outage
from surehook.service import pause
from surehook.storage.postgres.connection import KEEPALIVE, sever

#: Seconds from one NOTIFY to the next. Each takes a transaction id and the database-wide lock.
_GAP: Final = 0.01
#: Seconds that ``close`` waits before it hangs up.
_GRACE: Final = 1.0
#: PostgreSQL refuses payloads of 8000 bytes and more.
_MAX_PAYLOAD: Final = 7_999

#: Unless the URL says otherwise. A peer that vanishes without a word is found by the kernel and, above it, by the probe.
_DEFAULTS: Final[dict[str, Any]] = {
    "application_name": "surehook queue",
    "connect_timeout": 5,
    **KEEPALIVE,
}

_Connection = psycopg.AsyncConnection[tuple[Any, ...]]


class NotifyingQueue:
    """Wakes this process at once and the others by NOTIFY. While the connection is down, ``next`` still ends by itself."""

    def __init__(
        self, url: str, *, prefix: str = "surehook", probe: float = 10.0, patience: float = 5.0
    ) -> None:
        """``url`` leads to PostgreSQL directly; ``probe``: seconds of silence before it is asked whether it still lives.

        ``patience``: seconds that a statement may take; none of them does any work. Raises ConfigurationError for a URL
        or prefix that cannot work.
        """
        if not re.fullmatch(r"[a-z0-9_]{1,50}", prefix):
            raise ConfigurationError(f"the queue's prefix {prefix!r}: give at most 50 of a-z, 0-9 and _")
        self._conninfo = _conninfo(url)
        self._events = f"{prefix}_events"
        self._messages = f"{prefix}_messages"
        self._probe = probe
        self._patience = patience
        self._local = DatabaseQueue()
        self._outage = Outage("waking other processes by NOTIFY")
        #: What the others are to be told: that there are events, and the destinations of messages (None: none of them).
        self._fresh = False
        self._destinations: frozenset[str] | None = None
        self._stir = asyncio.Event()
        self._stop = asyncio.Event()
        self._pid = 0
        self._connection: _Connection | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to connect, in the background."""
        self._task = asyncio.create_task(self._keep_connected(), name="surehook-notify")

    async def close(self) -> None:
        """Send what is to be told if the connection is up, and end it."""
        self._stop.set()
        self._stir.set()
        await self._local.close()
        if self._task is None:
            return
        await asyncio.wait([self._task], timeout=_GRACE)
        if self._connection is not None:
            sever(self._connection)
        elif not self._task.done():
            self._task.cancel()
        await asyncio.wait([self._task])

    def announce(self, ids: Sequence[EventId], *, again: bool = False) -> None:
        """Wake the workers of this process, and soon those of others."""
        self._local.announce(ids, again=again)
        if ids and not self._fresh:
            self._fresh = True
            self._stir.set()

    async def next(self, limit: int, wait: float) -> None:
        """Wait up to ``wait`` seconds for an announcement by any process. The answer is always None."""
        return await self._local.next(limit, wait)

    def announce_messages(self, destinations: frozenset[str]) -> None:
        """Wake the publishers of this process, and soon those of others."""
        self._local.announce_messages(destinations)
        if self._destinations is None:
            self._stir.set()
        self._destinations = _joined(self._destinations, destinations)

    def on_messages(self, callback: Callable[[frozenset[str]], None]) -> None:
        """Call this for announcements of messages by any process."""
        self._local.on_messages(callback)

    async def depth(self) -> None:
        """The database knows."""
        return

    async def _keep_connected(self) -> None:
        while not self._stop.is_set():
            try:
                await self._connect_and_serve()
            except Exception as error:  # noqa: BLE001 - whatever it is, polling goes on and so do the tries
                self._outage.failed(error)
                await pause(self._stop, self._outage.rest * 1000)

    async def _connect_and_serve(self) -> None:
        connection = await psycopg.AsyncConnection.connect(
            self._conninfo, autocommit=True, prepare_threshold=None
        )
        self._connection = connection
        try:
            await self._listen(connection)
            self._outage.worked()
            # whatever was announced while nobody listened
            self._local.wake()
            self._local.announce_messages(frozenset())
            await self._serve(connection)
        finally:
            self._connection = None
            await connection.close()

    async def _listen(self, connection: _Connection) -> None:
        connection.add_notify_handler(self._received)
        with _hung_up_after(connection, self._patience):
            [(self._pid,)] = await (await connection.execute("SELECT pg_backend_pid()")).fetchall()
            if self._pid != connection.info.backend_pid:
                raise ConfigurationError(
                    "the URL leads to a connection pooler, through which LISTEN is not heard: give the queue the "
                    "address of PostgreSQL itself"
                )
            # silence is its trade: an end of idle sessions that was set for the user or the database is for others
            await connection.execute("SET idle_session_timeout = 0")
            for channel in (self._events, self._messages):
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))

    async def _serve(self, connection: _Connection) -> None:
        """Send and receive until the connection fails, which raises, or the queue is closed."""
        loop = asyncio.get_running_loop()
        send_at, probe_at = 0.0, loop.time() + self._probe
        while not self._stop.is_set():
            _read(connection, self._received)
            now = loop.time()
            if self._has_to_tell and now >= send_at:
                await self._tell(connection)
                send_at, probe_at = loop.time() + _GAP, loop.time() + self._probe
            elif now >= probe_at:
                with _hung_up_after(connection, self._patience):
                    await connection.execute("SELECT 1")
                probe_at = loop.time() + self._probe
            else:
                await self._until_stirred(connection, (send_at if self._has_to_tell else probe_at) - now)
        if self._has_to_tell:
            await self._tell(connection)

    async def _until_stirred(self, connection: _Connection, seconds: float) -> None:
        """Wait for something to read or to tell."""
        loop, fileno = asyncio.get_running_loop(), connection.fileno()
        # only here: psycopg watches the same descriptor while a statement runs, and a loop keeps one reader for each
        loop.add_reader(fileno, self._stir.set)
        try:
            await pause(self._stir, seconds * 1000)
        finally:
            loop.remove_reader(fileno)
            self._stir.clear()

    @property
    def _has_to_tell(self) -> bool:
        return self._fresh or self._destinations is not None

    async def _tell(self, connection: _Connection) -> None:
        fresh, destinations = self._fresh, self._destinations
        self._fresh, self._destinations = False, None
        told = [(self._events, "")] if fresh else []
        if destinations is not None:
            told.append((self._messages, _payload(destinations)))
        calls = ", ".join(["pg_notify(%s, %s)"] * len(told))
        try:
            with _hung_up_after(connection, self._patience):
                await connection.execute(f"SELECT {calls}", [value for pair in told for value in pair])
        except psycopg.Error:
            self._fresh = self._fresh or fresh
            if destinations is not None:
                self._destinations = _joined(self._destinations, destinations)
            raise

    def _received(self, notification: psycopg.Notify) -> None:
        if notification.pid == self._pid:
            return  # our own: this process was woken before it was sent
        if notification.channel == self._events:
            self._local.wake()
        else:
            self._local.announce_messages(frozenset(notification.payload.split("\n")) - {""})


def _conninfo(url: str) -> str:
    try:
        return make_conninfo("", **(_DEFAULTS | conninfo_to_dict(url)))
    except psycopg.Error:
        # not the reason, which quotes the URL and the password in it
        raise ConfigurationError(
            "the queue's URL of PostgreSQL cannot be read. Example: postgresql://user:password@host:5432/database"
        ) from None


def _joined(some: frozenset[str] | None, more: frozenset[str]) -> frozenset[str]:
    """Both together; the empty set stands for all destinations and swallows any other."""
    return more if some is None else some | more if some and more else frozenset()


def _payload(destinations: frozenset[str]) -> str:
    payload = "\n".join(sorted(destinations))
    return payload if len(payload.encode()) <= _MAX_PAYLOAD else ""


def _read(connection: _Connection, received: Callable[[psycopg.Notify], None]) -> None:
    """Take what has arrived. Notifications that arrive with a statement's result reach the handler by themselves."""
    connection.pgconn.consume_input()
    while note := connection.pgconn.notifies():
        received(psycopg.Notify(note.relname.decode(), note.extra.decode(errors="replace"), note.be_pid))


@contextlib.contextmanager
def _hung_up_after(connection: _Connection, seconds: float) -> Iterator[None]:
    """Bounds what runs inside: afterwards the connection is lost, and the statement fails with psycopg's error.

    A cancellation would not do: psycopg then asks the server to cancel, and waits for one that hangs.
    """
    timer = asyncio.get_running_loop().call_later(seconds, sever, connection)
    try:
        yield
    finally:
        timer.cancel()
