"""The schema on PostgreSQL: migrations under a lock that many processes race for, and the days' partitions made ahead."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg import errors as pg

from surehook.clock import Millis, isoformat
from surehook.errors import SchemaMismatch, Unavailable
from surehook.storage import migrate as migrations
from surehook.storage.dialect import POSTGRESQL
from surehook.storage.migrate import AppliedMigration
from surehook.storage.placeholders import bind
from surehook.storage.postgres.connection import OWN_FAULTS, TRY_AGAIN, brief, faults
from surehook.storage.postgres.pools import Lender
from surehook.storage.postgres.statements import PostgresStatements

logger = logging.getLogger(__name__)

#: Held by who makes or changes tables, until the end of the transaction: migrations and the application's set-up.
LOCK: Final = "schema"

#: How long a change of a table may keep others waiting before it steps back, in milliseconds.
LOCK_TIMEOUT: Final = 500

#: How long it may idle in between, in milliseconds: then its process has vanished, or stands still.
_IDLE: Final = 5_000

#: How many payloads at the most move out of the default partition when their day gets its own: in about a second.
MOVED: Final = 50_000

#: How long a migration goes on trying, in seconds; and how long one that has its locks may take (an index on much data).
PATIENCE: Final = 120.0
_MIGRATING: Final = 3_600.0

#: Days for which partitions are made ahead; and one back, for a clock that runs behind.
DAYS_AHEAD: Final = 7

_DAY: Final = 86_400_000

_SCHEMAS: Final = """
SELECT current_schema(),
    (SELECT nspname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
     WHERE pg_class.oid = to_regclass('schema_migrations'))
"""
_LEDGER_COLUMNS: Final = """
SELECT attname FROM pg_attribute
WHERE attrelid = to_regclass('schema_migrations') AND attnum > 0 AND NOT attisdropped
"""
_PARTITIONS: Final = """
SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
WHERE inhparent = to_regclass('inbox_payloads')
"""
_OLD_TRANSACTIONS: Final = """
SELECT pid, coalesce(application_name, ''), CAST(extract(epoch FROM clock_timestamp() - xact_start) AS bigint)
FROM pg_stat_activity
WHERE xact_start < clock_timestamp() - interval '5 minutes' AND backend_type = 'client backend'
    AND (datname = current_database()) AND pid <> pg_backend_pid()
ORDER BY xact_start LIMIT 3
"""


class Schema:
    """Looks at the schema of one database and changes it. ``timeout`` is in seconds."""

    def __init__(self, connections: Lender, timeout: float) -> None:
        self._connections = connections
        self._timeout = timeout

    async def status(self) -> list[AppliedMigration]:
        """Every migration and whether it is applied. Raises SchemaMismatch, Unavailable."""
        with faults("PostgreSQL cannot read the schema", *OWN_FAULTS):
            return await self._connections.lend(_status, self._timeout)

    async def migrate(self, now: Millis) -> list[AppliedMigration]:
        """Apply what is missing, all of it in one transaction; returns what was applied here.

        Of several migrators one does it, and the others find it done. A table that is in use is waited for half a second
        at a time, so that those who use it are not kept waiting behind us. Raises SchemaMismatch, Unavailable.
        """
        applied: list[AppliedMigration] = []
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while any(each.applied_at is None for each in await self.status()):
            try:
                with faults("PostgreSQL cannot migrate", *OWN_FAULTS):
                    applied += await self._connections.lend(lambda each: _apply(each, now), _MIGRATING)
            except TRY_AGAIN as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise Unavailable(
                        f"the schema could not be changed for {PATIENCE:.0f} s: a long transaction uses its tables, or "
                        f"another migrator hangs ({brief(error)}). End it and try again; 'surehook doctor' names old ones"
                    ) from error
                await asyncio.sleep(random.uniform(0.5, 1.5))
        try:
            await self.make_partitions(now)
        except Unavailable as error:  # a later call makes them, and until then there is the default one
            logger.warning("the partitions are made later: %s", error, extra={"event": "database.partition"})
        return applied

    async def make_partitions(self, now: Millis) -> list[str]:
        """Make the payloads' partitions of the coming days; returns the names of those made here.

        A partition that cannot be made now is made by a later call: there is a week for it, and the default partition after
        that.
        """

        async def make(connection: AsyncConnection[Any]) -> list[str]:
            cursor = await connection.execute(_PARTITIONS)
            known = {name for (name,) in await cursor.fetchall()}
            first = now // _DAY - 1
            missing = [day for day in range(first, first + DAYS_AHEAD + 2) if _partition(day) not in known]
            return [_partition(day) for day in missing if await _make_partition(connection, day)]

        with faults("PostgreSQL cannot make partitions", *OWN_FAULTS):
            return await self._connections.lend(make, self._timeout)

    async def touch(self, statement: str) -> None:
        """Prove that a commit succeeds."""
        try:
            with faults("PostgreSQL cannot write", *OWN_FAULTS):
                await self._connections.lend(lambda each: each.execute(statement.encode()), self._timeout)
        except TRY_AGAIN as error:
            raise Unavailable(f"PostgreSQL cannot write: {brief(error)}") from error

    async def old_transactions(self) -> list[str]:
        """What keeps dead rows from being removed."""

        async def look(connection: AsyncConnection[Any]) -> list[tuple[Any, ...]]:
            return await (await connection.execute(_OLD_TRANSACTIONS)).fetchall()

        with faults("PostgreSQL cannot tell who is connected"):
            rows = await self._connections.lend(look, self._timeout)
        return [
            f"a transaction of {name or 'somebody'} (process {pid}) has been open for {seconds // 60} minutes: nothing that "
            f"was deleted or updated since can be removed. End it: SELECT pg_terminate_backend({pid})"
            for pid, name, seconds in rows
        ]


@asynccontextmanager
async def _change(connection: AsyncConnection[Any]) -> AsyncIterator[None]:
    """A transaction that changes tables; it keeps nobody waiting for long, also where nothing can be set on a connection."""
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT}")
        await connection.execute(f"SET LOCAL idle_in_transaction_session_timeout = {_IDLE}")
        yield


async def _apply(connection: AsyncConnection[Any], now: Millis) -> list[AppliedMigration]:
    """In one transaction; empty when somebody else has done it meanwhile."""
    async with _change(connection):
        await PostgresStatements(connection, {}).lock([LOCK])
        still = [each for each in await _status(connection) if each.applied_at is None]
        await _run_scripts(connection, still)
        return [await _record(connection, each, now) for each in still]


async def _require_one_schema(connection: AsyncConnection[Any]) -> None:
    """Raises SchemaMismatch where tables would be made in one schema and are found in another."""
    [(first, found)] = await (await connection.execute(_SCHEMAS)).fetchall()
    if first is None:
        raise SchemaMismatch(
            "no schema of the user's search_path exists, so there is no place for tables: make one, or change the "
            "search_path (ALTER ROLE ... SET search_path, or ?options=-csearch_path%3DNAME in the URL)"
        )
    if found not in {None, first}:
        raise SchemaMismatch(
            f"Surehook's tables are in the schema {found!r}, and the first of the user's search_path is {first!r}: name "
            "the one that is meant first. Two installations never share one"
        )


async def _status(connection: AsyncConnection[Any]) -> list[AppliedMigration]:
    await _require_one_schema(connection)
    cursor = await connection.execute(_LEDGER_COLUMNS)
    columns = {name for (name,) in await cursor.fetchall()}
    rows: list[tuple[Any, ...]] = []
    if columns:
        text = migrations.READ_LEDGER if "needs" in columns else migrations.READ_FIRST_LEDGER
        rows = await (await connection.execute(text)).fetchall()
    known = migrations.load_migrations(POSTGRESQL.name)
    return migrations.compare(known, [AppliedMigration(*row) for row in rows])


async def _run_scripts(connection: AsyncConnection[Any], missing: Sequence[AppliedMigration]) -> None:
    texts = {each.version: each.sql for each in migrations.load_migrations(POSTGRESQL.name)}
    await connection.execute(migrations.LEDGER)
    for each in missing:
        for statement in migrations.split_script(POSTGRESQL.render(texts[each.version])):
            await connection.execute(statement.encode())


async def _record(
    connection: AsyncConnection[Any], migration: AppliedMigration, now: Millis
) -> AppliedMigration:
    applied = msgspec.structs.replace(migration, applied_at=now)
    record = bind(migrations.RECORD, False)
    async with psycopg.AsyncRawCursor(connection) as cursor:
        await cursor.execute(record.sql, record.values(msgspec.structs.asdict(applied)))
    return applied


def _partition(day: int) -> str:
    return f"inbox_payloads_{isoformat(day * _DAY)[:10].replace('-', '')}"


def _bound(day: int) -> str:
    """The smallest UUIDv7 of a day: its first 48 bits are milliseconds (RFC 9562, section 5.7)."""
    return str(UUID(int=(day * _DAY) << 80))


async def _has_many(connection: AsyncConnection[Any], begin: str, end: str) -> bool:
    """Whether the default partition holds more than can be moved while others wait."""
    ids = f"SELECT 1 FROM inbox_payloads_default WHERE id >= '{begin}' AND id < '{end}' LIMIT {MOVED + 1}"
    cursor = await connection.execute(f"SELECT count(*) FROM ({ids}) AS there".encode())
    return await cursor.fetchone() == (MOVED + 1,)


async def _make_partition(connection: AsyncConnection[Any], day: int) -> bool:
    """Made beside the table and attached afterwards, which keeps nobody from writing; rows of the day that wait in the
    default partition move with it."""
    name, begin, end = _partition(day), _bound(day), _bound(day + 1)
    try:
        async with _change(connection):
            if not await PostgresStatements(connection, {}).try_lock(LOCK):
                return False
            if await _has_many(connection, begin, end):
                logger.info(
                    "the payloads of %s stay in the default partition: they are too many to move", name
                )
                return False
            for statement in (
                f"CREATE TABLE {name} (LIKE inbox_payloads INCLUDING ALL)",
                f"WITH moved AS (DELETE FROM inbox_payloads_default WHERE id >= '{begin}' AND id < '{end}' RETURNING *) "
                f"INSERT INTO {name} SELECT * FROM moved",
                f"ALTER TABLE inbox_payloads ATTACH PARTITION {name} FOR VALUES FROM ('{begin}') TO ('{end}')",
            ):
                await connection.execute(statement.encode())
    except (pg.DuplicateTable, pg.DuplicateObject):
        return False  # another process was faster
    except (pg.LockNotAvailable, pg.CheckViolation, pg.DeadlockDetected) as error:
        logger.warning(
            "the partition %s is made later: %s", name, brief(error), extra={"event": "database.partition"}
        )
        return False
    return True
