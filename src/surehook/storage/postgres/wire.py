"""A connection for many short statements: what is sent together leaves in one piece, and one callback tells the answers.

psycopg's cursors wait for every statement on their own and cost more of our time than the server needs for it. This speaks
to its connection (libpq in pipeline mode) directly. As with PromptCursor a Sync ends what is sent, before the socket can cut
it into pieces: a process that stands still must leave the server waiting for a next statement and never for the rest of
one, or no timeout of its own counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias
from weakref import WeakKeyDictionary

import msgspec
import psycopg
from psycopg import AsyncConnection, pq
from psycopg.adapt import Buffer, PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.pq.abc import PGresult

from surehook.storage.postgres.adapting import encoded

_SYNC: Final = pq.ExecStatus.PIPELINE_SYNC
#: What has failed or was skipped behind a failure.
_FAILED: Final = frozenset({pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.PIPELINE_ABORTED})

#: libpq hands what it has queued to the socket when it is this long; bytes, with room for what frames a statement.
_PIECE: Final = 6_000
_FRAME: Final = 100

#: How long a connection may be dead before somebody looks, in seconds.
_LOOK: Final = 0.2

#: Statements that a connection keeps prepared; a handler's when it has come so often: with values in its text it never does.
_PREPARED: Final = 200
_OFTEN: Final = 5
_COUNTED: Final = 1_000

#: A prepared statement is not there any more: somebody has said DEALLOCATE ALL.
_GONE: Final = b"26000"

Done: TypeAlias = Callable[["list[PGresult]", "psycopg.Error | None"], None]


class Command(msgspec.Struct, frozen=True):
    """A statement and its parameters as they travel."""

    sql: bytes
    values: Sequence[Buffer | None] = ()
    types: tuple[int, ...] = ()
    formats: Sequence[pq.Format] = ()
    #: How often it must have come to be prepared by name; 0: at once, None: never.
    prepare: int | None = 0

    @property
    def size(self) -> int:
        """About so many bytes."""
        return _FRAME + len(self.sql) + sum(len(value) for value in self.values if value is not None)


def of_handler(sql: str, values: Sequence[Any], *, prepare: bool) -> Command:
    """A handler's statement, its parameters adapted as psycopg does. Raises what its adapters raise."""
    adapting = Transformer()
    dumped = adapting.dump_sequence(values, [PyFormat.AUTO] * len(values))
    types, formats = adapting.types or (), adapting.formats or ()
    return Command(sql.encode(), dumped, types, formats, _OFTEN if prepare else None)


def own(sql: str, values: Sequence[Any] = ()) -> Command:
    """One of Surehook's own: ids and bodies as bytes, everything else for the server to type by its place."""
    formats = [pq.Format.BINARY if isinstance(value, bytes) else pq.Format.TEXT for value in values]
    return Command(sql.encode(), [_dump(value) for value in values], (0,) * len(values), formats)


def _dump(value: Any) -> bytes | None:
    match value:
        case None | bytes():
            return value
        case int():
            return b"%d" % value
        case _:
            return encoded(str(value))


class Prepared:
    """What one connection of the server has prepared."""

    def __init__(self) -> None:
        self._names: dict[tuple[bytes, tuple[int, ...]], bytes] = {}
        self._seen: dict[tuple[bytes, tuple[int, ...]], int] = {}
        self._count = 0

    def find(self, command: Command) -> bytes | None:
        """The name of a statement."""
        return self._names.get((command.sql, command.types))

    def next_name(self, command: Command) -> bytes | None:
        """The name to prepare it by; None: it is not worth it."""
        if command.prepare is None or len(self._names) >= _PREPARED:
            return None
        if command.prepare and not self._is_frequent(command, command.prepare):
            return None
        self._count += 1
        return b"surehook_%d" % self._count

    def _is_frequent(self, command: Command, times: int) -> bool:
        if len(self._seen) >= _COUNTED:
            self._seen.clear()
        key = (command.sql, command.types)
        self._seen[key] = seen = self._seen.get(key, 0) + 1
        return seen > times

    def add(self, command: Command, name: bytes) -> None:
        """The server has done it."""
        self._names[command.sql, command.types] = name

    def clear(self) -> None:
        """They are gone. No name is ever used again."""
        self._names.clear()


_PREPARED_ON: WeakKeyDictionary[AsyncConnection[Any], Prepared] = WeakKeyDictionary()


class Wire:
    """A connection while it is used so, from ``open`` to ``close``. One burst of statements is under way at a time."""

    def __init__(self, connection: AsyncConnection[Any], *, prepare: bool) -> None:
        """``prepare``: whether statements are prepared by name, which a transaction pooler does not allow."""
        self.connection = connection
        self._pgconn = connection.pgconn
        self._prepared = _PREPARED_ON.setdefault(connection, Prepared()) if prepare else None
        self._loop = asyncio.get_running_loop()
        self._handle = self._pgconn.socket
        #: The loop watches the socket, and looks at it now and then by itself.
        self._watched = False
        self._timer: asyncio.TimerHandle | None = None
        #: The socket takes no more for now.
        self._full = False
        self._done: Done | None = None
        self._results: list[PGresult] = []
        #: Syncs that are not answered yet, and what is prepared by the burst, with its place in the results.
        self._syncs = 0
        self._preparing: list[tuple[int, Command, bytes]] = []
        self._error: psycopg.Error | None = None
        self._quiet: asyncio.Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether an answer is waited for."""
        return self._done is not None

    def open(self) -> None:
        """Take the connection over; nothing else may use it until ``close``."""
        self._pgconn.enter_pipeline_mode()
        self._loop.add_reader(self._handle, self._read)
        self._watched = True
        self._timer = self._loop.call_later(_LOOK, self._look)

    def close(self) -> bool:
        """Leave the connection as it was; False: it is of no use any more."""
        self._let_go()
        try:
            self._pgconn.exit_pipeline_mode()
        except psycopg.Error:
            return False
        return self._error is None

    def send(self, commands: Sequence[Command], done: Done, *, whole: bool = False) -> None:
        """Send statements; ``done`` gets a result for each, or the error that ended the connection.

        It may be called at once. After one that fails those behind it are skipped, or fail too because the transaction
        has; with ``whole`` they are skipped for sure.
        """
        if self._error is not None:
            done([], self._error)
            return
        self._done, self._results = done, []
        try:
            self._write(commands, whole)
            self._flush()
        except psycopg.Error as error:
            self._lose(error)

    async def run(self, commands: Sequence[Command]) -> list[PGresult]:
        """``send``, awaited. Raises the error of the first statement that fails."""
        answered: asyncio.Future[list[PGresult]] = self._loop.create_future()

        def done(results: list[PGresult], error: psycopg.Error | None) -> None:
            error = error or error_of(results)
            if answered.done():
                return
            if error is not None:
                answered.set_exception(error)
            else:
                answered.set_result(results)

        self.send(commands, done)
        return await answered

    async def quiet(self) -> None:
        """Wait until no answer is waited for."""
        while self._done is not None:
            self._quiet = self._quiet or self._loop.create_future()
            await asyncio.shield(self._quiet)

    def _write(self, commands: Sequence[Command], whole: bool) -> None:
        queued = 0
        for place, command in enumerate(commands):
            size = command.size
            if not whole and queued and queued + size > _PIECE:
                self._sync()
                queued = 0
            self._queue(command, place)
            queued += size
        self._sync()

    def _queue(self, command: Command, place: int) -> None:
        name = self._name(command, place)
        if name is None:
            self._pgconn.send_query_params(command.sql, command.values, command.types, command.formats)
        else:
            self._pgconn.send_query_prepared(name, command.values, command.formats)

    def _name(self, command: Command, place: int) -> bytes | None:
        """What it is prepared by, now if it is worth it."""
        if self._prepared is None:
            return None
        if name := self._prepared.find(command):
            return name
        for _, same, name in self._preparing:
            if (same.sql, same.types) == (command.sql, command.types):
                return name
        if name := self._prepared.next_name(command):
            self._pgconn.send_prepare(name, command.sql, command.types)
            self._preparing.append((place, command, name))
        return name

    def _sync(self) -> None:
        self._pgconn.pipeline_sync()
        self._syncs += 1

    def _flush(self) -> None:
        """On and on when the socket can take more."""
        full = bool(self._pgconn.flush())
        if full and not self._full:
            self._loop.add_writer(self._handle, self._go_on)
        elif self._full and not full:
            self._loop.remove_writer(self._handle)
        self._full = full

    def _go_on(self) -> None:
        try:
            self._flush()
        except psycopg.Error as error:
            self._lose(error)

    def _read(self) -> None:
        try:
            self._pgconn.consume_input()
            self._collect()
        except psycopg.Error as error:
            self._lose(error)
            return
        if self._pgconn.status == pq.ConnStatus.BAD:
            self._lose(psycopg.OperationalError("the connection is lost"))
        elif self._done is not None and not self._syncs:
            self._answer(None)

    def _look(self) -> None:
        """libuv stops to watch a socket with an error, such as a reset, and tells nobody who reads from it."""
        if self._done is not None:
            self._read()
        if self._watched:
            self._timer = self._loop.call_later(_LOOK, self._look)

    def _collect(self) -> None:
        between = False
        while self._syncs and not self._pgconn.is_busy():
            result = self._pgconn.get_result()
            if result is None:
                if between:  # nothing is there
                    return
                between = True
                continue
            between = False
            if result.status == _SYNC:
                self._syncs -= 1
            else:
                self._results.append(result)

    def _answer(self, error: psycopg.Error | None) -> None:
        done, self._done = self._done, None
        results, self._results = self._without_preparing(), []
        quiet, self._quiet = self._quiet, None
        if quiet is not None:
            quiet.set_result(None)
        if done is not None:
            done(results, error)

    def _without_preparing(self) -> list[PGresult]:
        """A statement and its preparation count as one: what failed first of them."""
        results = self._results
        if self._prepared is None:
            return results
        for place, command, name in self._preparing:
            if place + 1 >= len(results):
                break  # the connection is lost
            first = results.pop(place)
            if first.status == pq.ExecStatus.COMMAND_OK:
                self._prepared.add(command, name)
            else:
                results[place] = first
        self._preparing = []
        if any(map(_is_gone, results)):
            self._prepared.clear()
        return results

    def _lose(self, error: psycopg.Error) -> None:
        """Nothing comes any more. What the server has said at last explains it best."""
        self._let_go()
        self._error = error_of(self._results) or error
        self._syncs = 0
        self._answer(self._error)

    def _let_go(self) -> None:
        """Once: libpq closes the socket of a lost connection, and another connection may get its number next."""
        if not self._watched:
            return
        self._watched = False
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._handle)
        if self._full:
            self._loop.remove_writer(self._handle)
            self._full = False


def _is_gone(result: PGresult) -> bool:
    return result.status in _FAILED and result.error_field(pq.DiagnosticField.SQLSTATE) == _GONE


def error_of(results: Sequence[PGresult]) -> psycopg.Error | None:
    """Why the first one that has failed did."""
    failed = first_failure(results)
    return None if failed is None else error_from_result(results[failed], encoding="utf-8")


def first_failure(results: Sequence[PGresult]) -> int | None:
    """The place of the first statement that has failed."""
    return next((place for place, each in enumerate(results) if each.status in _FAILED), None)
