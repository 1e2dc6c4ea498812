"""The PostgreSQL adapter: pooled connections, a transaction for every verb, one for every handler that writes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, TypeVar

import psycopg
from psycopg import AsyncConnection

from surehook.clock import Clock, Millis
from surehook.errors import LeaseLost, Unavailable
from surehook.ids import EventId, MessageId
from surehook.model import Claim, MessageClaim, Settlement
from surehook.storage import SetupFunction, attempts
from surehook.storage.migrate import AppliedMigration
from surehook.storage.postgres import pools
from surehook.storage.postgres.connection import (
    PostgresOptions,
    Server,
    brief,
    connection_string,
    durability_warnings,
    hosts,
    inspect,
    is_pooled,
    require_able,
)
from surehook.storage.postgres.floors import Floor
from surehook.storage.postgres.guest import SharedUnit
from surehook.storage.postgres.habits import Habits
from surehook.storage.postgres.lending import Ending
from surehook.storage.postgres.pools import Lender, Pool, Transactions
from surehook.storage.postgres.schema import LOCK, Schema
from surehook.storage.postgres.session import (
    NOTICE_IN_STATEMENTS,
    NOTICE_THE_END,
    PLANS_FOR_VALUES,
    SIMPLE_PLANS,
    for_session,
    for_transaction,
    idle_end,
    lock_end,
)
from surehook.storage.postgres.statements import Texts, load_texts
from surehook.storage.postgres.turns import Turns
from surehook.storage.postgres.unit import PostgresUnit, Surroundings
from surehook.storage.verbs import ReadingVerbs, Verb, WritingVerbs

__all__ = ["PostgresDatabase", "PostgresOptions", "PostgresReader", "PostgresStorage", "open_postgres"]

Result = TypeVar("Result")

logger = logging.getLogger(__name__)

_TOUCH: Final = "UPDATE schema_migrations SET applied_at = applied_at WHERE version = 1"


class PostgresStorage(WritingVerbs):
    """The write verbs, each a transaction."""

    def __init__(
        self, writing: Transactions, heartbeats: Transactions, surroundings: Surroundings, turns: Turns | None
    ) -> None:
        self._writing = writing
        self._heartbeats = heartbeats
        self._shared = surroundings
        self._turns = turns
        self._events = self._floor()
        self._messages: dict[str, Floor] = {}

    def begin(self, claim: Claim) -> PostgresUnit | SharedUnit:
        """Storage.begin."""
        turns, kind = self._turns, f"{claim.provider} {claim.type}"
        if turns is None or turns.habits.is_alone(kind, claim.id):
            return PostgresUnit(self._shared)
        return SharedUnit(turns, claim, kind)

    async def claim(
        self, limit: int, now: Millis, lease_until: Millis, only: Sequence[EventId] | None = None
    ) -> list[Claim]:
        """Storage.claim."""
        if only is not None:
            return await super().claim(limit, now, lease_until, only)
        return await self._events.search(
            lambda since: self._write(lambda db: attempts.claim_due(db, limit, now, lease_until, since))
        )

    async def claim_messages(
        self, destination: str, limit: int, now: Millis, lease_until: Millis
    ) -> list[MessageClaim]:
        """Storage.claim_messages."""
        floor = self._messages.setdefault(destination, self._floor())
        return await floor.search(
            lambda since: self._write(
                lambda db: attempts.claim_messages(db, destination, limit, now, lease_until, since)
            )
        )

    async def extend(self, claims: Sequence[Claim], lease_until: Millis) -> list[EventId]:
        """Storage.extend, on a connection that nothing else keeps."""
        return await self._heartbeats.run(lambda db: attempts.extend(db, claims, lease_until))

    async def extend_messages(self, claims: Sequence[MessageClaim], lease_until: Millis) -> list[MessageId]:
        """Storage.extend_messages, on a connection that nothing else keeps."""
        return await self._heartbeats.run(lambda db: attempts.extend_messages(db, claims, lease_until))

    def _floor(self) -> Floor:
        return Floor(self._shared.loop.time)

    async def _write(self, verb: Verb[Result]) -> Result:
        return await self._writing.run(verb)


class PostgresReader(ReadingVerbs):
    """The reading verbs."""

    def __init__(self, reading: Transactions) -> None:
        self._reading = reading

    async def _read(self, verb: Verb[Result]) -> Result:
        return await self._reading.read(verb)


class PostgresDatabase:
    """An open PostgreSQL database."""

    def __init__(self, url: str, options: PostgresOptions, server: Server, *, pooled: bool) -> None:
        texts = load_texts()
        #: What the server said of itself.
        self.server = server
        #: A transaction pooler such as pgbouncer stands in between.
        self.pooled = pooled
        self._pools = _make_pools(url, options, pooled=pooled)
        own = {**NOTICE_IN_STATEMENTS, **_of_statements(options)}
        settings = for_transaction(own) if pooled else ""
        self._writing = Transactions(self._pools["statements"], texts, options, settings)
        self._heartbeats = Transactions(self._pools["heartbeats"], texts, options, settings)
        self._reading = Transactions(self._pools["readers"], texts, options)
        self._ending = Ending(self._pools["handlers"], options.timeout / 1000)
        self._shared = self._surroundings(texts, options)
        self._turns = self._make_turns() if options.shared_turns else None
        self.storage = PostgresStorage(self._writing, self._heartbeats, self._shared, self._turns)
        self.reader = PostgresReader(self._reading)
        self._lender = Lender(self._pools["statements"])
        self._schema = Schema(self._lender, options.timeout / 1000)

    async def start(self) -> None:
        """Let the pools connect; they do it when a connection is wanted."""
        for pool in self._pools.values():
            await pool.open()

    async def migrations(self) -> list[AppliedMigration]:
        """Every migration and whether it is applied. Raises SchemaMismatch as ``migrate.compare`` does."""
        return await self._schema.status()

    async def migrate(self, clock: Clock) -> list[AppliedMigration]:
        """Apply what is missing, in one transaction; returns what was applied. Of several migrators, one does it."""
        return await self._schema.migrate(clock.now())

    async def maintain(self, now: Millis) -> None:
        """Database.maintain: the partitions of the coming days."""
        await self._schema.make_partitions(now)

    async def run_setup(self, functions: Sequence[SetupFunction]) -> None:
        """Database.run_setup; of several processes, one after the other."""
        if not functions:
            return
        unit = PostgresUnit(self._shared)
        try:
            await unit.lock(LOCK)
            for function in functions:
                await function(unit)
            await unit.commit()
        finally:
            await unit.rollback()

    async def check(self) -> None:
        """Database.check: a row is written and committed, though nothing in it changes."""
        await self._schema.touch(_TOUCH)

    async def warnings(self) -> list[str]:
        """What weakens a promise, or the speed, without breaking it."""
        return [*durability_warnings(self.server), *await self._schema.old_transactions()]

    async def close(self) -> None:
        """Database.close."""
        self._reading.end()  # who reads can read again; who writes would not know what became of it
        for lender in (self._writing, self._heartbeats, self._reading, self._lender):
            await lender.drain()
        if self._turns is not None:
            await self._turns.close()
        await self._ending.drain()
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))

    def _surroundings(self, texts: Texts, options: PostgresOptions) -> Surroundings:
        return Surroundings(
            pool=self._pools["handlers"],
            texts=texts,
            ending=self._ending,
            settings=for_transaction({**NOTICE_IN_STATEMENTS, **idle_end(options.idle_timeout)})
            if self.pooled
            else "",
            patience=options.timeout / 1000,
            loop=asyncio.get_running_loop(),
            settle=self._settle_one,
        )

    def _make_turns(self) -> Turns:
        habits = Habits(self._shared.loop.time)
        return Turns(self._shared, habits, prepare=not self.pooled)

    async def _settle_one(self, settlement: Settlement) -> None:
        [settled] = await self.storage.settle([settlement])
        if not settled:
            raise LeaseLost("the event is no longer held by this worker; nothing was written")


async def open_postgres(url: str, options: PostgresOptions | None = None) -> PostgresDatabase:
    """Open ``postgresql://...``; migrations are the caller's.

    Raises ConfigurationError for a bad URL and for a server that cannot keep what Surehook promises (fsync=off, too old, not
    UTF-8), Unavailable when it cannot be reached.
    """
    options = options or PostgresOptions()
    target = connection_string(url, options)
    try:
        async with asyncio.timeout(2 * hosts(target) * options.connect_timeout / 1000):
            async with await AsyncConnection.connect(target, autocommit=True) as connection:
                server = await inspect(connection)
                pooled = is_pooled(connection, server)
    except (psycopg.Error, TimeoutError, OSError) as error:
        raise Unavailable(f"cannot connect to PostgreSQL: {brief(error)}") from error
    require_able(server)
    for warning in durability_warnings(server):
        logger.warning("%s", warning, extra={"event": "database.weak"})
    database = PostgresDatabase(target, options, server, pooled=pooled)
    await database.start()
    return database


def _of_statements(options: PostgresOptions) -> dict[str, str]:
    return {**SIMPLE_PLANS, **idle_end(options.timeout), **lock_end(options.timeout // 5)}


def _make_pools(url: str, options: PostgresOptions, *, pooled: bool) -> dict[str, Pool]:
    """Behind a pooler nothing can be set on a connection, nor prepared by name: it is another one for each transaction."""
    sizes = {
        "statements": pools.STATEMENTS,
        "heartbeats": pools.HEARTBEATS,
        "readers": pools.READERS,
        "handlers": options.connections,
    }
    settings = {
        "statements": _of_statements(options),
        "heartbeats": _of_statements(options),
        "readers": PLANS_FOR_VALUES,
        "handlers": idle_end(options.idle_timeout),
    }
    return {
        name: pools.make_pool(
            url,
            name,
            size,
            settings="" if pooled else for_session({**NOTICE_THE_END, **settings[name]}),
            # after a statement that fails in a pipeline, psycopg's list of what is prepared is no longer the server's
            prepare=not pooled and name != "handlers",
            connect_timeout=options.connect_timeout / 1000,
        )
        for name, size in sizes.items()
    }
