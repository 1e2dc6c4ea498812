"""The SQLite adapter: one file, one write connection taken in turns, readers on their own connections."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

import apsw
import msgspec

from surehook.clock import Clock, Millis
from surehook.errors import LeaseLost, Unavailable
from surehook.model import Accepted, Arrival, Claim, Settlement
from surehook.storage import SetupFunction, arrivals, attempts, migrate
from surehook.storage.dialect import SQLITE, load_statements
from surehook.storage.named import Call, drive
from surehook.storage.placeholders import bind
from surehook.storage.sqlite.connection import Location, connect, faults, parse_location
from surehook.storage.sqlite.gate import Gate
from surehook.storage.sqlite.guard import Guard
from surehook.storage.sqlite.habits import Habits
from surehook.storage.sqlite.turns import Turns
from surehook.storage.sqlite.unit import SqliteUnit, Surroundings
from surehook.storage.verbs import ReadingVerbs, Verb, WritingVerbs

Result = TypeVar("Result")
#: Proves that a commit reaches the disk: SQLite writes the page although the row stays as it is.
_TOUCH = "UPDATE schema_migrations SET applied_at = applied_at WHERE version = 1"

logger = logging.getLogger(__name__)


class _Text(NamedTuple):
    """A named statement."""

    sql: str
    #: Its parameters in the order of their first place: so bound, they are not looked up by name one by one.
    values: Callable[[Mapping[str, Any]], Sequence[Any]]

    def bound(self, parameters: Mapping[str, Any]) -> list[Any]:
        """Its parameters, of which some may be lists."""
        return [_as_json(each) if isinstance(each, list) else each for each in self.values(parameters)]


Texts = Mapping[str, _Text]


def load_texts() -> Texts:
    """Every statement of the package, in SQLite's words."""
    return {name: _Text(sql, _values_of(sql)) for name, sql in load_statements(SQLITE).items()}


def _values_of(sql: str) -> Callable[[Mapping[str, Any]], Sequence[Any]]:
    names = bind(sql, False).names
    if len(names) > 1:
        return itemgetter(*names)
    return lambda parameters: [parameters[name] for name in names]


class _Statements:
    """Named statements on one connection. Every method is a coroutine that never suspends."""

    def __init__(self, connection: apsw.Connection, texts: Texts) -> None:
        self._connection = connection
        self._texts = texts

    async def run(self, calls: Sequence[Call]) -> list[int]:
        connection, texts = self._connection, self._texts
        changes: list[int] = []
        for name, parameters in calls:
            sql, values = texts[name]
            connection.execute(sql, values(parameters))
            changes.append(connection.changes())
        return changes

    async def rows(self, calls: Sequence[Call]) -> list[list[tuple[Any, ...]]]:
        texts = [(self._texts[name], parameters) for name, parameters in calls]
        return [self._connection.execute(text.sql, text.bound(each)).fetchall() for text, each in texts]

    async def lock(self, names: Collection[str]) -> None:
        """Nobody else writes meanwhile."""


def _as_json(values: Sequence[Any]) -> str:
    """Ids, or ids each with its token, as the text that a statement can look through."""
    return msgspec.json.encode(
        [each.hex() if isinstance(each, bytes) else (each[0].hex(), each[1]) for each in values]
    ).decode()


class SqliteStorage(WritingVerbs):
    """The write verbs; each is a job of the next turn."""

    def __init__(self, turns: Turns, texts: Texts, guard: Guard, budget: int) -> None:
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

    def begin(self, claim: Claim) -> SqliteUnit:
        """Storage.begin."""
        return SqliteUnit(self._shared, f"{claim.provider} {claim.type}", budget=self._budget)

    def setup_unit(self) -> SqliteUnit:
        """The transaction of the application's set-up, which completes no event."""
        return SqliteUnit(self._shared, "set-up", budget=None)

    async def accept(self, batch: Sequence[Arrival]) -> list[list[Accepted]]:
        """Storage.accept; providers wait for it."""
        return await self._turns.write(self._job(lambda db: arrivals.accept(db, batch)), urgent=True)

    async def _write(self, verb: Verb[Result]) -> Result:
        return await self._turns.write(self._job(verb))

    def _job(self, verb: Verb[Result]) -> Callable[[apsw.Connection], Result]:
        return lambda connection: drive(verb(_Statements(connection, self._texts)))

    def _complete(self, connection: apsw.Connection, settlement: Settlement) -> None:
        drive(attempts.complete(_Statements(connection, self._texts), settlement))

    async def _settle_one(self, settlement: Settlement) -> None:
        [settled] = await self.settle([settlement])
        if not settled:
            raise LeaseLost("the event is no longer held by this worker; nothing was written")


class SqliteReader(ReadingVerbs):
    """The reading verbs, on connections of their own, in threads of their own."""

    def __init__(self, location: Location, texts: Texts) -> None:
        self._location = location
        self._texts = texts
        self._local = threading.local()
        self._opened: list[apsw.Connection] = []
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="surehook-read")

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
            return drive(verb(_Statements(connection, self._texts)))


class SqliteDatabase:
    """An open SQLite file."""

    def __init__(self, location: Location, turns: Turns, guard: Guard, budget: int) -> None:
        texts = load_texts()
        self._turns = turns
        self.path = location.path
        #: Nobody stands between us and a file.
        self.pooled = False
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

    async def maintain(self, now: Millis) -> None:
        """Database.maintain: a file needs nothing."""

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
    columns = {row[1] for row in connection.execute("PRAGMA table_info(schema_migrations)")}
    rows: list[tuple[Any, ...]] = []
    if columns:
        text = migrate.READ_LEDGER if "needs" in columns else migrate.READ_FIRST_LEDGER
        rows = connection.execute(text).fetchall()
    known = migrate.load_migrations(SQLITE.name)
    return migrate.compare(known, [migrate.AppliedMigration(*row) for row in rows])


def _migrate(connection: apsw.Connection, now: Millis) -> list[migrate.AppliedMigration]:
    missing = [each for each in _migration_status(connection) if each.applied_at is None]
    texts = {each.version: each.sql for each in migrate.load_migrations(SQLITE.name)}
    connection.execute(migrate.LEDGER)
    for each in missing:
        for statement in migrate.split_script(SQLITE.render(texts[each.version])):
            connection.execute(statement)
    for each in missing:
        connection.execute(migrate.RECORD, _record(each, now))
    return [msgspec.structs.replace(each, applied_at=now) for each in missing]


def _record(migration: migrate.AppliedMigration, now: Millis) -> dict[str, Any]:
    return {**msgspec.structs.asdict(migration), "applied_at": now}
