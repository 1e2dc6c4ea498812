"""A worker on PostgreSQL whose handlers bring their own tools, and what they have left in the database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
from psycopg.rows import dict_row

from surehook.clock import ManualClock
from surehook.config import ForwardRule, HandlerSettings
from surehook.handlers import Registry
from surehook.ids import EventId
from surehook.inbox import Inbox
from surehook.model import EventRow, Failure
from surehook.outbox import Outbox
from surehook.queue.database import DatabaseQueue
from surehook.states import EventState
from surehook.storage.postgres import PostgresDatabase
from surehook.work.worker import Tools, Worker
from tests.builders import arrival

SETTINGS = HandlerSettings(retries=(10_000, 60_000), timeout=10_000, concurrency=40, threads=10, poll=10)
TABLES = """
CREATE TABLE effects (name text PRIMARY KEY, tool text);
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE children (parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
"""


class Workshop:
    """Time stands still unless a test moves it."""

    def __init__(self, database: PostgresDatabase, url: str, clock: ManualClock) -> None:
        self.database = database
        self.url = url
        self.clock = clock
        self.app = Registry()
        self.queue = DatabaseQueue()
        self.inbox = Inbox(database.storage, self.queue, clock)
        self.announced: list[frozenset[str]] = []
        self.queue.on_messages(self.announced.append)
        self.forwards: tuple[ForwardRule, ...] = ()
        self.worker: Worker | None = None
        #: What handlers that wait in a thread are released by, at the latest at the end of the test.
        self.gate = threading.Event()

    async def start(self, settings: HandlerSettings = SETTINGS) -> Worker:
        await self.database.run_setup(self.app.setup_functions)
        tools = Tools(
            storage=self.database.storage,
            reader=self.database.reader,
            queue=self.queue,
            registry=self.app,
            outbox=Outbox(["ledger"], self.clock),
            forwards=self.forwards,
            clock=self.clock,
            settings=settings,
            name="here",
        )
        self.worker = Worker(tools)
        self.worker.start()
        return self.worker

    async def post(self, external_id: str = "a", **changes: Any) -> EventId:
        [accepted] = await self.inbox.accept(arrival(external_id, now=self.clock.now(), **changes))
        return accepted.id

    async def becomes(self, id: EventId, state: EventState) -> EventRow:
        """Wait until the event is in that state."""
        found: list[EventRow] = []

        async def there() -> bool:
            row = await self.database.reader.event(id)
            assert row is not None
            found.append(row)
            return row.state is state

        await until(there)
        return found[-1]

    async def processed(self, external_id: str = "a") -> EventRow:
        """Post an event and wait for its end."""
        return await self.becomes(await self.post(external_id), EventState.PROCESSED)

    async def fails(self, external_id: str = "a") -> Failure:
        """Post an event and wait until its first attempt has failed; why it did."""
        id = await self.post(external_id)
        await self.becomes(id, EventState.RETRYING)
        [row] = await self.database.reader.failures(id)
        return row.failure

    async def rows(self, sql: str) -> list[dict[str, Any]]:
        """What is committed, seen from outside."""
        async with await psycopg.AsyncConnection.connect(self.url, row_factory=dict_row) as connection:
            cursor = await connection.execute(sql.encode())
            return await cursor.fetchall()

    async def effects(self) -> list[str]:
        return [row["name"] for row in await self.rows("SELECT name FROM effects ORDER BY name")]

    async def messages(self) -> int:
        [row] = await self.rows("SELECT count(*) AS number FROM outbox_messages")
        return int(row["number"])

    async def resting(self) -> None:
        """Wait until every connection is back in the pool of handlers, and none of them has anything open."""

        async def back() -> bool:
            stats = self.database._pools["handlers"].get_stats()
            return stats["pool_available"] == stats["pool_size"] and not stats["requests_waiting"]

        await until(back)
        open_ones = (
            "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND state LIKE '%trans%'"
        )

        async def nothing_open() -> bool:  # a claim of the worker's may be, for a moment
            return await self.rows(open_ones) == []

        await until(nothing_open)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.005)
