"""The SQLite adapter: one file, one write connection taken in turns, readers on their own connections."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import apsw

from surehook.clock import Clock, Millis
from surehook.errors import LeaseLost, Unavailable
from surehook.ids import EventId, MessageId, PayloadId
from surehook.model import (
    Accepted,
    Action,
    ActionResult,
    Arrival,
    AuditEntry,
    Claim,
    Counts,
    EventRow,
    FailureRow,
    MessageClaim,
    MessageRow,
    MessageSettlement,
    Payload,
    Rejection,
    Rescued,
    RowFilter,
    Settlement,
)
from surehook.storage import SetupFunction, migrate, reading, sql
from surehook.storage.dialect import SQLITE, load_statements
from surehook.storage.sqlite.connection import Location, connect, faults, parse_location
from surehook.storage.sqlite.gate import Gate
from surehook.storage.sqlite.guard import Guard
from surehook.storage.sqlite.habits import Habits
from surehook.storage.sqlite.turns import Turns
from surehook.storage.sqlite.unit import SqliteUnit, Surroundings

Result = TypeVar("Result")
#: Proves that a commit reaches the disk: SQLite writes the page although the row stays as it is.
_TOUCH = "UPDATE schema_migrations SET applied_at = applied_at WHERE version = 1"

Verb = Callable[[sql.Statements], Coroutine[Any, Any, Result]]

logger = logging.getLogger(__name__)


class _Statements:
    """Named statements on one connection."""

    def __init__(self, connection: apsw.Connection, texts: Mapping[str, str]) -> None:
        self._connection = connection
        self._texts = texts

    async def run(self, name: str, parameters: Mapping[str, Any]) -> int:
        self._connection.execute(self._texts[name], parameters)
        return self._connection.changes()

    async def rows(self, name: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        return self._connection.execute(self._texts[name], parameters).fetchall()


class SqliteStorage:
    """The write verbs; each is a job of the next turn."""

    def __init__(self, turns: Turns, texts: Mapping[str, str], guard: Guard, budget: int) -> None:
        self._turns = turns
        self._texts = texts
        self._budget = budget
        self._shared = Surroundings(
            turns=turns,
            guard=guard,
            habits=Habits(),
            loop=asyncio.get_running_loop(),
            complete=self._complete,
            settle=self._settle_one,
        )

    async def accept(self, arrivals: Sequence[Arrival], now: Millis) -> list[list[Accepted]]:
        """Storage.accept."""
        del now
        return await self._write(lambda db: sql.accept(db, arrivals))

    async def reject(self, rejections: Sequence[Rejection], *, keep: int) -> None:
        """Storage.reject."""
        await self._write(lambda db: sql.reject(db, rejections, keep))

    async def claim(
        self, limit: int, now: Millis, lease_until: Millis, only: Sequence[EventId] | None = None
    ) -> list[Claim]:
        """Storage.claim."""
        return await self._write(lambda db: sql.claim(db, limit, now, lease_until, only))

    async def extend(self, claims: Sequence[Claim], lease_until: Millis) -> list[EventId]:
        """Storage.extend."""
        return await self._write(lambda db: sql.extend(db, claims, lease_until))

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Storage.settle."""
        return await self._write(lambda db: sql.settle(db, settlements))

    def begin(self, claim: Claim) -> SqliteUnit:
        """Storage.begin."""
        return SqliteUnit(self._shared, f"{claim.provider} {claim.type}", budget=self._budget)

    async def claim_messages(
        self, destination: str, limit: int, now: Millis, lease_until: Millis
    ) -> list[MessageClaim]:
        """Storage.claim_messages."""
        return await self._write(lambda db: sql.claim_messages(db, destination, limit, now, lease_until))

    async def extend_messages(self, claims: Sequence[MessageClaim], lease_until: Millis) -> list[MessageId]:
        """Storage.extend_messages."""
        return await self._write(lambda db: sql.extend_messages(db, claims, lease_until))

    async def settle_messages(self, settlements: Sequence[MessageSettlement]) -> list[bool]:
        """Storage.settle_messages."""
        return await self._write(lambda db: sql.settle_messages(db, settlements))

    async def rescue(self, now: Millis, *, poison_after: int, limit: int = 1000) -> Rescued:
        """Storage.rescue."""
        return await self._write(lambda db: sql.rescue(db, now, poison_after, limit))

    async def take_back(self, ids: Sequence[EventId], now: Millis) -> int:
        """Storage.take_back."""
        return await self._write(lambda db: sql.take_back(db, ids, now))

    async def replay_events(self, ids: Sequence[EventId], action: Action) -> list[ActionResult]:
        """Storage.replay_events."""
        return await self._write(lambda db: sql.replay_events(db, ids, action))

    async def discard_events(self, ids: Sequence[EventId], action: Action) -> list[ActionResult]:
        """Storage.discard_events."""
        return await self._write(lambda db: sql.discard_events(db, ids, action))

    async def replay_messages(self, ids: Sequence[MessageId], action: Action) -> list[ActionResult]:
        """Storage.replay_messages."""
        return await self._write(lambda db: sql.replay_messages(db, ids, action))

    async def discard_messages(self, ids: Sequence[MessageId], action: Action) -> list[ActionResult]:
        """Storage.discard_messages."""
        return await self._write(lambda db: sql.discard_messages(db, ids, action))

    def setup_unit(self) -> SqliteUnit:
        """The transaction of the application's set-up, which completes no event."""
        return SqliteUnit(self._shared, "set-up", budget=None)

    async def _write(self, verb: Verb[Result]) -> Result:
        return await self._turns.write(
            lambda connection: sql.drive(verb(_Statements(connection, self._texts)))
        )

    def _complete(self, connection: apsw.Connection, settlement: Settlement) -> None:
        sql.drive(sql.complete(_Statements(connection, self._texts), settlement))

    async def _settle_one(self, settlement: Settlement) -> None:
        [settled] = await self.settle([settlement])
        if not settled:
            raise LeaseLost("the event is no longer held by this worker; nothing was written")


class SqliteReader:
    """The reading verbs, on connections of their own, in threads of their own."""

    def __init__(self, location: Location, texts: Mapping[str, str]) -> None:
        self._location = location
        self._texts = texts
        self._local = threading.local()
        self._opened: list[apsw.Connection] = []
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="surehook-read")

    async def event(self, id: EventId) -> EventRow | None:
        """Reader.event."""
        return await self._read(lambda db: reading.event(db, id))

    async def events(self, wanted: RowFilter) -> list[EventRow]:
        """Reader.events."""
        return await self._read(lambda db: reading.events(db, wanted))

    async def payload(self, id: PayloadId) -> Payload | None:
        """Reader.payload."""
        return await self._read(lambda db: reading.payload(db, id))

    async def message(self, id: MessageId) -> MessageRow | None:
        """Reader.message."""
        return await self._read(lambda db: reading.message(db, id))

    async def message_body(self, id: MessageId) -> bytes | None:
        """Reader.message_body."""
        return await self._read(lambda db: reading.message_body(db, id))

    async def messages(self, wanted: RowFilter) -> list[MessageRow]:
        """Reader.messages."""
        return await self._read(lambda db: reading.messages(db, wanted))

    async def failures(self, id: EventId | MessageId) -> list[FailureRow]:
        """Reader.failures."""
        return await self._read(lambda db: reading.failures(db, id))

    async def rejections(self, limit: int) -> list[Rejection]:
        """Reader.rejections."""
        return await self._read(lambda db: reading.rejections(db, limit))

    async def audit(self, limit: int, subject: str | None = None) -> list[AuditEntry]:
        """Reader.audit."""
        return await self._read(lambda db: reading.audit(db, limit, subject))

    async def counts(self) -> Counts:
        """Reader.counts."""
        return await self._read(reading.counts)

    async def ignored_since(
        self, since: Millis, after: EventId | None, limit: int
    ) -> list[tuple[EventId, str, str, str]]:
        """Reader.ignored_since."""
        return await self._read(lambda db: reading.ignored_since(db, since, after, limit))

    async def due(self, before: Millis, limit: int) -> list[EventId]:
        """Reader.due."""
        return await self._read(lambda db: reading.due(db, before, limit))

    async def database_time(self) -> Millis:
        """Reader.database_time."""
        return await self._read(reading.database_time)

    async def close(self) -> None:
        """End the threads and their connections."""
        await asyncio.to_thread(self._threads.shutdown)
        for connection in self._opened:
            connection.close()

    async def _read(self, verb: Verb[Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, verb)

    def _run(self, verb: Verb[Result]) -> Result:
        with faults("the database cannot read"):
            connection = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = connect(self._location, writable=False)
                self._opened.append(connection)
            return sql.drive(verb(_Statements(connection, self._texts)))


class SqliteDatabase:
    """An open SQLite file."""

    def __init__(self, location: Location, turns: Turns, guard: Guard, budget: int) -> None:
        texts = load_statements(SQLITE)
        self._turns = turns
        self.path = location.path
        self.storage = SqliteStorage(turns, texts, guard, budget)
        self.reader = SqliteReader(location, texts)

    async def migrations(self) -> list[migrate.AppliedMigration]:
        """Every migration and whether it is applied. Raises SchemaMismatch as ``migrate.compare`` does."""
        return await self._turns.write(_migration_status)

    async def migrate(self, clock: Clock) -> list[migrate.AppliedMigration]:
        """Apply what is missing, in one transaction; returns what was applied. Of several migrators, one does it."""
        return await self._turns.write(lambda connection: _migrate(connection, clock.now()))

    async def run_setup(self, functions: Sequence[SetupFunction]) -> None:
        """Database.run_setup."""
        unit = self.storage.setup_unit()
        try:
            for function in functions:
                await function(unit)
            await unit.commit()
        finally:
            await unit.rollback()

    async def check(self) -> None:
        """Database.check: a row is written and committed, though nothing in it changes."""
        await self._turns.write(lambda connection: connection.execute(_TOUCH))

    async def close(self) -> None:
        """Database.close."""
        await self.reader.close()
        await self._turns.close()


async def open_sqlite(url: str, *, transaction_budget: int = 2_000) -> SqliteDatabase:
    """Open ``sqlite:///PATH``, making the file when it is missing; migrations are the caller's.

    Raises ConfigurationError for a bad URL, Unavailable when the file cannot be opened.
    """
    location = parse_location(url)
    if location.synchronous not in {"FULL", "EXTRA"}:
        logger.warning("synchronous=%s: a power cut loses acknowledged events", location.synchronous)
    if not location.path.parent.is_dir():
        raise Unavailable(
            f"cannot open {location.path}: the folder {location.path.parent} does not exist; make it first"
        )
    guard = Guard()

    def connect_guarded() -> apsw.Connection:
        connection = connect(location, writable=True, create=turns.fresh)
        # set once: setting it again would make SQLite prepare every cached statement anew
        connection.authorizer = guard.authorize
        return connection

    turns = Turns(connect_guarded, await asyncio.to_thread(Gate, location.path), location.path)
    await turns.start()
    return SqliteDatabase(location, turns, guard, transaction_budget)


def _migration_status(connection: apsw.Connection) -> list[migrate.AppliedMigration]:
    there = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_migrations'").fetchall()
    rows: list[tuple[Any, ...]] = []
    if there:
        rows = connection.execute(
            "SELECT version, name, checksum, applied_at FROM schema_migrations"
        ).fetchall()
    return migrate.compare(migrate.load_migrations(), [migrate.AppliedMigration(*row) for row in rows])


def _migrate(connection: apsw.Connection, now: Millis) -> list[migrate.AppliedMigration]:
    missing = [each for each in _migration_status(connection) if each.applied_at is None]
    texts = {each.version: each.sql for each in migrate.load_migrations()}
    connection.execute(migrate.LEDGER)
    applied = []
    for each in missing:
        for statement in migrate.split_script(SQLITE.render(texts[each.version])):
            connection.execute(statement)
        connection.execute(
            "INSERT INTO schema_migrations (version, name, checksum, applied_at) VALUES (?, ?, ?, ?)",
            (each.version, each.name, each.checksum, now),
        )
        applied.append(migrate.AppliedMigration(each.version, each.name, each.checksum, now))
    return applied
